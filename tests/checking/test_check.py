"""karat reward check: every trap of every server is caught, and a clean one passes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "rewards"))  # the servers of its tests

import judging
from server import Server
from servers import NimServer, SglangServer, VllmServer
from toy import OTHER, SMUGGLING, Toy, write_tokenizer

from karat import RecipeError
from karat.checking.check import check_reward, find
from karat.checking.checks import CHECKS
from karat.checking.probes import probes
from karat.checking.shown import verdict_text
from karat.cli import main

VLLM = "vllm/Skywork/Skywork-Reward-V2-Qwen3-0.6B"
SGLANG = "sglang/Skywork/Skywork-Reward-V2-Llama-3.1-8B"
FIVE, ONE = "nim/nvidia/nemotron-4-340b-reward", "nim/nvidia/llama-3.1-nemotron-70b-reward"


def oracle(question, answer):
    """Knows the probes, as a good reward model does."""
    for probe in probes():
        if question == probe.prompt:
            return {probe.good: 2.0, probe.bad: -1.5}.get(answer, -1.0)
    return 0.0


def toy(**more):
    return Toy(quality=oracle, **more)


def checked(server, reward, *overrides):
    with server:
        return check_reward(reward, overrides=[f"base_url={server.url}", *overrides])


def found(verdict):
    return {finding.check: finding for finding in verdict.findings}


@pytest.fixture
def template(tmp_path):
    return f"template={write_tokenizer(tmp_path / 'model')}"


# --- clean ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["classify", "pooling", "score"])
def test_a_clean_vllm_passes(shape):
    verdict = checked(VllmServer(toy=toy()), VLLM, f"shape={shape}")
    assert verdict.findings == []
    assert verdict.figures["good above bad ones"].startswith("12 of 12 (95%: 76% to 100%)")
    assert verdict.figures["longest text read to its end"] == "6,400 words"
    assert {*verdict.passed, *verdict.unchecked} == {*CHECKS}
    assert "length" in verdict.passed
    if shape != "score":
        assert {"bos", "system"} <= set(verdict.passed)


def test_a_clean_vllm_with_karats_template_passes(template):
    verdict = checked(VllmServer(toy=toy()), VLLM, template)
    assert verdict.findings == []
    assert verdict.unchecked == {}


def test_a_clean_sglang_passes(template):
    verdict = checked(SglangServer(toy=toy()), SGLANG, template)
    assert verdict.findings == []
    assert [*verdict.unchecked] == ["template"]


@pytest.mark.parametrize(("name", "attributes"), [(FIVE, None), (ONE, ["reward"])])
def test_a_clean_nim_passes(name, attributes):
    more = {"attributes": attributes} if attributes else {}
    verdict = checked(NimServer(toy=toy(), **more), name)
    assert verdict.findings == []
    assert "system" in verdict.passed  # by the tokens it counts
    assert set(verdict.unchecked) == {"bos", "template"}


def test_a_clean_head_of_several_outputs_passes():
    names = "attributes={helpfulness: [-20, 20], safety: [-20, 20]}"
    assert checked(VllmServer(toy=toy(labels=2)), VLLM, names).findings == []


# --- traps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unseen", [False, True])
def test_a_doubled_bos(unseen):
    verdict = checked(VllmServer(toy=toy(), doubles=True, unseen=unseen), VLLM)
    bos = found(verdict)["bos"]
    assert bos.severity == "error"
    assert ("was graded as" if unseen else "'<|begin|>' twice") in bos.seen
    assert "ranking" in found(verdict)  # and that is what it does


def test_a_doubled_bos_of_sglang(template):
    bos = found(checked(SglangServer(toy=toy()), SGLANG, template, "keep_bos=true"))["bos"]
    assert bos.severity == "error"
    assert "keep_bos" in bos.change


def test_a_sigmoid_that_cannot_be_switched_off():
    verdict = checked(VllmServer(toy=toy(), knows=""), VLLM)
    saturation = found(verdict)["saturation"]
    assert saturation.severity == "error"
    assert "within 0.02 of 0 or 1" in saturation.seen
    assert verdict.errors == 1


def test_a_sigmoid_that_does_not_saturate_is_a_warning():
    flat = Toy(quality=lambda question, answer: oracle(question, answer) / 6)
    saturation = found(checked(VllmServer(toy=flat, knows=""), VLLM))["saturation"]
    assert saturation.severity == "warning"
    assert "attributes: {reward: [0, 1]}" in saturation.change


def test_a_softmax_over_several_outputs():
    server = VllmServer(toy=toy(labels=2), knows="")
    saturation = found(checked(server, VLLM, "attributes=[good, bad]"))["saturation"]
    assert saturation.severity == "error"
    assert "add up to 1" in saturation.seen


@pytest.mark.parametrize("silent", [False, True])
def test_a_system_prompt_smuggled_in(silent):
    verdict = checked(VllmServer(toy=toy(), template=SMUGGLING, silent=silent), VLLM)
    system = found(verdict)["system"]
    assert system.severity == "warning"
    assert ("tokens without a system prompt" if silent else "You are a helpful assistant") in (
        system.seen
    )
    assert verdict.errors == 0


@pytest.mark.parametrize("usage", [True, False])
def test_a_system_prompt_smuggled_in_where_only_scores_are_seen(usage):
    verdict = checked(NimServer(toy=toy(), template=SMUGGLING, usage=usage), FIVE)
    assert [*found(verdict)] == ["system"]
    seen = found(verdict)["system"].seen
    assert ("something longer" if usage else 'exactly as with "You are a helpful') in seen


def test_a_system_prompt_of_karats_template(tmp_path):
    folder = write_tokenizer(tmp_path / "model", SMUGGLING)
    system = found(checked(SglangServer(toy=toy()), SGLANG, f"template={folder}"))["system"]
    assert "You are a helpful assistant." in system.seen


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_texts_that_are_cut(template, kind, side):
    if kind == "vllm":
        verdict = checked(VllmServer(toy=toy(), max_len=1000, cuts=side), VLLM)
    else:
        verdict = checked(SglangServer(toy=toy(), max_len=1000, cuts=side), SGLANG, template)
    length = found(verdict)["length"]
    assert length.severity == "error"
    what = "two endings" if side == "right" else "the answers to two questions"
    assert what in length.seen
    words = int(length.seen.split(" words")[0].removeprefix("from ").replace(",", ""))
    assert 400 < words < 1000 / 1.5  # a word and the space behind it are two tokens


def test_noise_of_half_precision_is_no_fault_and_hides_none():
    verdict = checked(VllmServer(toy=toy(), noise=0.001), VLLM)
    assert verdict.findings == []
    assert float(verdict.figures["moved when asked again"]) > 0
    cut = checked(VllmServer(toy=toy(), noise=0.001, max_len=1000, cuts="right"), VLLM)
    assert [*found(cut)] == ["length"]


def test_texts_that_are_refused_are_no_fault():
    verdict = checked(VllmServer(toy=toy(), max_len=1000), VLLM)
    assert verdict.findings == []
    assert "from 1,600 words on" in verdict.figures["refused, not cut"]
    assert verdict.figures["context"] == "1,000 tokens"


def test_scores_that_depend_on_their_place_in_a_batch(template):
    verdict = checked(VllmServer(toy=toy(), drifts=True), VLLM, template)
    assert found(verdict)["order"].severity == "error"


def test_the_same_score_for_everything():
    verdict = checked(VllmServer(toy=toy(flat=True)), VLLM)
    identical = found(verdict)["identical"]
    assert "is 0.7 for all of 36 answers" in identical.seen
    assert "ranking" not in found(verdict)  # one cause, one finding


def test_an_attribute_out_of_its_scale():
    verdict = checked(VllmServer(toy=toy()), VLLM, "attributes={reward: [0, 1]}")
    scale = found(verdict)["scale"]
    assert scale.severity == "error"
    assert "out of the scale 0 to 1" in scale.seen


def test_a_chat_template_that_is_not_the_models():
    verdict = checked(VllmServer(toy=toy(), template=OTHER), VLLM)
    ranking = found(verdict)["ranking"]
    assert ranking.severity == "error"
    assert "no better than chance" in ranking.why


def test_a_template_of_karats_that_is_not_the_servers(tmp_path):
    folder = write_tokenizer(tmp_path / "model", OTHER)
    verdict = checked(VllmServer(toy=toy()), VLLM, f"template={folder}")
    assert found(verdict)["template"].severity == "error"
    assert "they part at token 0" in found(verdict)["template"].seen


def test_a_reward_of_the_wrong_sign():
    wrong = Toy(quality=lambda question, answer: -oracle(question, answer))
    assert "prefers the worse" in found(checked(VllmServer(toy=wrong), VLLM))["ranking"].why


def test_more_outputs_than_named():
    answers = found(checked(VllmServer(toy=toy(labels=2)), VLLM))["answers"]
    assert "name all 2 in attributes" in answers.seen


def test_a_server_that_does_not_pool():
    answers = found(checked(VllmServer(generates=True), VLLM))["answers"]
    assert "--runner pooling" in answers.change


def test_a_server_of_chat(template):
    answers = found(checked(SglangServer(generates=True), SGLANG, template))["answers"]
    assert "--is-embedding" in answers.seen


def test_a_server_without_a_chat_template():
    answers = found(checked(VllmServer(template=""), VLLM))["answers"]
    assert "default chat template is no longer allowed" in answers.seen


@pytest.mark.parametrize("fault", ["prose", "null", "count"])
def test_replies_that_are_no_scores(fault):
    verdict = checked(VllmServer(toy=toy(), fault=lambda number, body: fault), VLLM)
    assert [*found(verdict)] == ["answers"]


# --- what it is asked for, and how it tells ------------------------------------------------------


def test_the_embedded_head_gets_a_truthful_verdict():
    verdict = check_reward("embedded/helpsteer2")
    assert verdict.errors == 0
    assert verdict.figures["moved when asked again"] == "0"
    assert {"bos", "template", "system"} == set(verdict.unchecked)
    assert verdict.cost_usd == 0


def judged(tmp_path, answer, **options):
    """The verdict on a judge whose model answers so."""
    with Server(answer=answer) as server:
        tree = {
            "models": {"m": server.model()}, "rewards": {"mine": {"reward": "judge/m", **options}},
            "steps": [],
        }  # fmt: skip
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(tree))
        return check_reward("mine", path)


def test_a_fair_judge_who_does_not_mind_the_question(tmp_path, monkeypatch):
    goods = {probe.good for probe in probes()}
    monkeypatch.setattr(judging, "quality", lambda text: 4 if text in goods else 1)
    verdict = judged(tmp_path, judging.graded)
    ranking = found(verdict)["ranking"]
    assert ranking.severity == "warning"
    assert "above answers to another question in only 0 of 12" in ranking.seen
    assert "too few values" in verdict.unchecked["length"]
    assert {"bos", "template", "system"} <= set(verdict.unchecked)
    assert verdict.asked > 60


def test_a_judge_who_always_takes_the_first(tmp_path):
    verdict = judged(
        tmp_path, lambda body, place: '{"reasoning": "x", "better": "A"}', ask="pairwise"
    )
    assert "identical" in found(verdict)  # asked in both orders, that is a draw
    assert "chat template" not in str(verdict.findings)  # it reads none of its own
    assert verdict.errors


def test_a_model_in_this_process_shows_its_tokens(tmp_path):
    pytest.importorskip("torch")
    import tiny

    tiny.save(tmp_path / "rm", tiny.QWEN)
    verdict = check_reward(f"transformers/{tmp_path / 'rm'}", overrides=["system=keep"])
    assert "You are Tiny. You help." in found(verdict)["system"].seen
    assert "system: drop" in found(verdict)["system"].change
    assert "no better than chance" in found(verdict)["ranking"].why  # its weights are noise
    assert "bos" in verdict.passed


def test_ratings_from_a_file_have_nothing_to_say_of_the_probes(tmp_path):
    line = {"prompt": "q", "response": "r", "helpfulness": 4}
    (tmp_path / "rated.jsonl").write_text(json.dumps(line))
    verdict = check_reward(f"human/{tmp_path / 'rated.jsonl'}")
    assert verdict.errors == 0
    assert "no score for any of" in found(verdict)["answers"].seen


def test_two_checks_say_the_same():
    first, second = (checked(VllmServer(toy=toy(), doubles=True), VLLM) for _ in range(2))
    assert first.findings == second.findings
    assert first.figures == second.figures


def test_the_cost_is_counted():
    price = "price={input: 1000.0, output: 0}"
    assert checked(VllmServer(toy=toy()), VLLM, price).cost_usd > 1
    assert checked(VllmServer(toy=toy()), VLLM).cost_usd in (None, 0)


def test_a_budget_that_ends_is_no_server_that_is_down():
    overrides = ["price={input: 1000.0, output: 0}", "budget_usd=0.000001"]
    answers = found(checked(VllmServer(toy=toy()), VLLM, *overrides))["answers"]
    assert "raise budget_usd" in answers.seen
    assert answers.change == "mend what it says"


def test_a_reward_of_a_recipe(tmp_path):
    with VllmServer(toy=toy()) as server:
        tree = {
            "rewards": {"mine": {"reward": VLLM, "base_url": server.url, "shape": "pooling"}},
            "steps": [{"read": {"path": "nowhere.jsonl"}}],
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(tree))
        verdict = check_reward("mine", path)
        assert server.requests[0]["path"] == "/pooling"
        assert verdict.findings == []
        other = find("mine", path, ["rewards.mine.shape=score"])
        assert other.reward.shape == find("mine", path, ["shape=score"]).reward.shape == "score"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine", "--recipe"),
        ("helpsteer2", "did you mean 'embedded/helpsteer2'"),
        ("vlm/x", "no reward"),
        ("nim/x", "attributes"),
    ],
)
def test_mistakes_in_words(name, words):
    with pytest.raises(RecipeError, match=words):
        check_reward(name)


def test_the_command_says_what_to_do_and_its_status(template):
    with VllmServer(toy=toy(), doubles=True) as server:
        args = ["reward", "check", VLLM, "--set", f"base_url={server.url}"]
        shown = CliRunner().invoke(main, args)
        told = CliRunner().invoke(main, [*args, "--json"])
    assert shown.exit_code == told.exit_code == 1
    assert "error  bos" in shown.stdout
    assert "let the template write the BOS" in " ".join(shown.stdout.split())
    assert "about 100 scores" in shown.stderr
    tree = json.loads(told.stdout)
    assert {finding["check"] for finding in tree["findings"]} == {"bos", "ranking"}
    with VllmServer(toy=toy()) as server:
        clean = CliRunner().invoke(main, [*args[:-1], f"base_url={server.url}"])
    assert clean.exit_code == 0
    assert "nothing found that is wrong" in clean.stdout


def test_a_key_is_not_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-1234567890-very-secret")
    server = VllmServer(fault=lambda number, body: "prose")
    with server:
        verdict = check_reward(VLLM, overrides=[f"base_url={server.url}", "key_env=MY_KEY"])
        sent = server.requests[0]["headers"]["Authorization"]
    assert sent == "Bearer sk-1234567890-very-secret"
    assert "very-secret" not in repr(verdict)
    assert verdict_text(verdict)


def test_probes_are_a_dozen_of_clear_cases():
    every = probes()
    assert len(every) == 12
    assert len({p.prompt for p in every}) == len({p.good for p in every} | set()) == 12
    assert all(p.good.strip() and p.bad.strip() and p.good != p.bad for p in every)
