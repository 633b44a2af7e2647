"""karat reward eval, whole: any kind of reward, asked once, two side by side, and told in full."""

from __future__ import annotations

import base64
import io
import json
import math
import sys
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "rewards"))  # the servers of its tests

from judging import graded
from server import Server
from servers import VllmServer

from karat.errors import RecipeError, RunError
from karat.evaluating.evaluate import HTML, JSON, evaluate_reward
from karat.evaluating.folders import default_name
from karat.evaluating.items import EvalSet
from karat.evaluating.remembered import remembered
from karat.evaluating.sets import read_set
from karat.evaluating.shown import evaluation_text
from karat.inquiry import find
from karat.training._items import prompt_marks
from karat.training.finetune.record import note_prompts
from karat.training.ratings import HumanData, Pair

PAIRS = 40
QUICK = {"resamples": 400}


@pytest.fixture
def pairs(tmp_path):
    """The chosen response says good, and is the longer one of every other pair."""
    lines = []
    for number in range(PAIRS):
        more = " and that is all that can be said of it at some length" if number % 2 else ""
        less = "" if number % 2 else " and that is all that can be said of it at some length"
        lines.append({
            "prompt": f"What is number {number}?", "chosen": f"It is a good number{more}.",
            "rejected": f"It is a number{less}.",
        })  # fmt: skip
    return write(tmp_path / "mine.jsonl", lines)


def write(path, lines):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return str(path)


def read(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def recipe(tmp_path, server, **rewards):
    tree = {
        "name": "graders",
        "models": {"m": server.model(price={"input": 1.0, "output": 2.0})},
        "rewards": rewards,
        "steps": [],
    }
    path = tmp_path / "graders.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def shown(made, width=100):
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(evaluation_text(made))
    return out.getvalue()


def test_a_head_without_a_recipe(tmp_path, pairs):
    said = []
    made = evaluate_reward(
        "embedded/helpsteer2", [pairs], out=tmp_path / "out", html=tmp_path / "page.html",
        say=said.append, **QUICK,
    )  # fmt: skip
    assert said == ["embedded/helpsteer2: 40 items, 80 responses; free"]
    (found,) = made.sets
    row = found.rows[0]
    assert (row.n, row.random, row.longer, row.shorter) == (PAIRS, 0.5, 0.5, 0.5)
    assert row.value.low <= row.value.value <= row.value.high
    assert (found.items, found.responses, found.failed) == (40, 80, 0)
    held = json.loads((tmp_path / "out" / JSON).read_bytes())
    assert held["sets"][0]["rows"][0]["n"] == PAIRS
    page = (tmp_path / "out" / HTML).read_text(encoding="utf-8")
    assert page == (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "embedded/helpsteer2: evaluation" in page
    text = shown(made)
    assert "random  longer  shorter" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_judge_is_asked_once_and_paid_once(tmp_path, pairs):
    told = []
    with Server(answer=graded) as server:
        path = recipe(tmp_path, server, judge={"reward": "judge/m", "ask": "pairwise"})
        made = evaluate_reward(
            "judge", [pairs], recipe=path, out=tmp_path / "out", say=told.append, **QUICK
        )
        assert len(server.requests) == 2 * PAIRS  # both orders
        again = evaluate_reward("judge", [pairs], recipe=path, out=tmp_path / "out", **QUICK)
        assert len(server.requests) == 2 * PAIRS
    assert f"up to {2 * PAIRS} requests, about $" in told[0]
    assert made.by == "wins"
    assert made.sets[0].rows[0].value.value == 1.0
    assert made.sets[0].rows[0].value.low < 1.0  # Wilson's, not a draw that never varies
    assert made.bills[0].calls == 2 * PAIRS
    assert made.bills[0].cost_usd > 0
    assert (again.bills[0].calls, again.bills[0].cost_usd) == (0, 0.0)
    assert again.sets == made.sets


def test_a_judge_that_picks_the_first_is_wrong_on_judgebench_and_half_right_elsewhere(
    tmp_path, pairs
):
    lines = read(pairs)
    bench = write(tmp_path / "bench.jsonl", [
        {"question": line["prompt"], "response_A": line["chosen"], "response_B": line["rejected"],
         "label": "A>B", "source": "livebench-math"} for line in lines
    ])  # fmt: skip
    first = json.dumps({"reasoning": "", "better": "A"})
    with Server(answer=lambda body, place=0: first) as server:
        path = recipe(tmp_path, server, judge={"reward": "judge/m", "ask": "pairwise"})
        made = evaluate_reward("judge", [bench, pairs], recipe=path, out=tmp_path / "out", **QUICK)
        assert len(server.requests) == 2 * PAIRS  # the same pairs, bought once
    assert [found.rows[0].value.value for found in made.sets] == [0.0, 0.5]
    assert any("equal scores to 100%" in text for text in made.warnings)


def test_what_was_stopped_goes_on(tmp_path, pairs):
    def broken(number, body):
        return (401, b'{"error": {"message": "no key"}}', {}) if number > 30 else None

    with Server(answer=graded, script=broken) as server:
        path = recipe(tmp_path, server, judge={"reward": "judge/m", "ask": "pairwise"})
        with pytest.raises(RunError):
            evaluate_reward("judge", [pairs], recipe=path, out=tmp_path / "out", **QUICK)
        server.behaviour["script"] = None
        before = len(server.requests)
        made = evaluate_reward("judge", [pairs], recipe=path, out=tmp_path / "out", **QUICK)
        assert len(server.requests) - before == 2 * PAIRS - 30
    assert made.sets[0].rows[0].n == PAIRS


def test_rows_a_reward_fails_on_are_counted_and_never_zero(tmp_path, pairs):
    def refuse(number, body):
        asked = any("number 7?" in str(part) for part in body.values())
        return (400, b'{"error": {"message": "too long"}}', {}) if asked else None

    with Server(answer=graded, script=refuse) as server:
        path = recipe(tmp_path, server, judge={"reward": "judge/m", "ask": "pairwise"})
        made = evaluate_reward(
            "judge", [pairs], against="embedded/helpsteer2", recipe=path, out=tmp_path / "out",
            **QUICK,
        )  # fmt: skip
    (found,) = made.sets
    assert (found.failed, found.rows[0].n, found.rows[0].value.value) == (1, PAIRS - 1, 1.0)
    assert sum(found.refused.values()) == 1
    assert found.compared[0].n == PAIRS - 1  # only what both scored
    assert any("no score for 1 of 40 items of mine" in text for text in made.warnings)


def test_a_server_of_scores(tmp_path, pairs):
    with VllmServer() as server:
        made = evaluate_reward(
            "vllm/some/model", [pairs], out=tmp_path / "out",
            overrides=[f"base_url={server.url}"], **QUICK,
        )  # fmt: skip
        asked = len(server.requests)
        evaluate_reward("vllm/some/model", [pairs], out=tmp_path / "out",
                        overrides=[f"base_url={server.url}"], **QUICK)  # fmt: skip
        assert len(server.requests) == asked > 0
    (found,) = made.sets
    assert found.rows[0].n == PAIRS
    assert found.length.picks_longer.value.value > 0.9  # the toy likes length
    assert made.bills[0].cost_usd is None  # nobody knows its price


def test_two_rewards_side_by_side(tmp_path, pairs):
    with Server(answer=graded) as server:
        path = recipe(tmp_path, server, fair={"reward": "judge/m", "ask": "score"})
        made = evaluate_reward(
            "embedded/helpsteer2", [pairs, f"pairs={pairs}"], against="fair", recipe=path,
            out=tmp_path / "out", **QUICK,
        )  # fmt: skip
    one, whole = made.sets[0].compared[0], made.overall
    right = one.first
    assert one.second == 1.0
    assert one.difference.value == pytest.approx(right - 1)
    assert one.discordance.second == round(PAIRS * (1 - right))
    assert one.discordance.p == pytest.approx(min(1.0, 2 ** (1 - one.discordance.second)))
    assert (whole.n, whole.first) == (2 * PAIRS, pytest.approx(right))
    assert "all sets" in shown(made)
    assert "Beside judge/m" in (tmp_path / "out" / HTML).read_text(encoding="utf-8")


def test_ratings_beside_people(tmp_path):
    rows = [
        {"prompt": f"What is {n}?", "response": f"It is {'good, ' * k}a number.",
         "helpfulness": k, "correctness": k, "coherence": 4, "complexity": 1, "verbosity": 1}
        for n in range(20) for k in (n % 3, n % 3 + 2)
    ]  # fmt: skip
    path = write(tmp_path / "rated.jsonl", rows)
    made = evaluate_reward("embedded/helpsteer2", [path], out=tmp_path / "out", **QUICK)
    (found,) = made.sets
    assert [one.name for one in found.attributes][:2] == ["helpfulness", "correctness"]
    assert found.attributes[0].people == 0.791
    assert found.attributes[0].kappa is not None
    assert found.attributes[2].pearson is None  # people rated all alike
    human = evaluate_reward(f"human/{path}", [path], by="helpfulness", out=tmp_path / "h", **QUICK)
    assert human.sets[0].rows[0].value.value == 1.0
    assert human.sets[0].attributes[0].pearson.value == pytest.approx(1.0)


def trained_on(path, prompts):
    """The head of the package, with the marks of other prompts in its file."""
    with np.load(resources.files("karat.rewards") / "assets/helpsteer2.npz") as file:
        held = dict(file)
    meta = json.loads(bytes(held["meta"]))
    marks = prompt_marks([" ".join(text.lower().split()) for text in prompts])
    meta["prompts"] = base64.b64encode(marks.tobytes()).decode()
    held["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, **held)
    return f"embedded/{path}"


def test_a_set_it_was_trained_on_is_told_whatever_its_file_is_called(tmp_path, pairs):
    lines = read(pairs)
    fresh = [{**line, "prompt": f"Else, {line['prompt']}"} for line in lines]
    folder = tmp_path / "helpsteer2"  # as a file of the head's training
    folder.mkdir()
    write(folder / "ratings.jsonl", fresh)
    more = write(tmp_path / "more.jsonl", [{**f, "chosen": f["chosen"] + "!"} for f in fresh])
    head = trained_on(tmp_path / "mine.npz", [line["prompt"] for line in lines[: PAIRS // 2]])
    said = []
    made = evaluate_reward(
        head, [pairs, str(folder), more], against="embedded/helpsteer2", out=tmp_path / "out",
        say=said.append, **QUICK,
    )  # fmt: skip
    (warning,) = made.warnings
    assert "was trained on 50% of the prompts of mine: " in warning
    assert not any("trained on" in text for text in said)  # told once, with the figures
    assert [list(one.trained_on.values()) for one in made.sets] == [[0.5], [], []]
    assert (made.overall.label, made.overall.n) == ("all sets but mine", 2 * PAIRS)
    page = (tmp_path / "out" / HTML).read_text(encoding="utf-8")
    assert page.count("(trained on it).") == 1
    assert "was trained on it" in shown(made)
    two = evaluate_reward(
        head, [pairs, more], against="embedded/helpsteer2", out=tmp_path / "two", **QUICK
    )
    assert two.overall is None


def test_an_evaluation_on_other_sets_goes_elsewhere(tmp_path, pairs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = write(tmp_path / "ot her.jsonl", read(pairs)[:1])
    evaluate_reward("embedded/helpsteer2", [pairs], **QUICK)
    one = evaluate_reward("embedded/helpsteer2", [other], **QUICK)
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["eval-embedded-helpsteer2-on-mine", "eval-embedded-helpsteer2-on-ot-her"]
    assert "()" not in shown(one)  # no interval of one pair
    long = default_name("a/b", "c", [EvalSet(f"set number {n}", "pairs", []) for n in range(20)])
    assert len(long) <= 60 + len("eval-a-b-against-c-on-")


def test_a_model_that_karat_trained_says_on_what(tmp_path, pairs):
    folder = tmp_path / "rm"
    folder.mkdir()
    config = {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    chat = {"chat_template": "{% for m in messages %}{{ m.role }} {{ m.content }}{% endfor %}"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(chat), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    place = find(f"transformers/{folder}", overrides=["device=cpu"])
    asked = read_set(pairs)
    assert not [*remembered(place, [asked])]  # no record
    data = HumanData(pairs=[Pair(i.prompt, "a", "b", i.group) for i in asked.items[:10]])
    note_prompts(folder, data, HumanData())
    (known,) = remembered(place, [asked])
    assert known.share == 0.25


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"name": "helpsteer2"}, "did you mean 'embedded/helpsteer2'"),
        ({"by": "helpfulnes"}, "did you mean 'helpfulness'"),
        ({"against": "embedded/helpsteer2"}, "are the same reward"),
        ({"html": Path("/nowhere/page.html")}, "name a file in a folder that is there"),
        ({"on": ["nowhere.jsonl"]}, "no such file or folder"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(tmp_path, pairs, params, words):
    given = {"name": "embedded/helpsteer2", "on": [pairs], "out": tmp_path / "out", **params}
    with pytest.raises(RecipeError, match=words):
        evaluate_reward(**given)
    assert not (tmp_path / "out").exists()


def test_everything_is_json(tmp_path, pairs):
    lone = write(tmp_path / "one.jsonl", read(pairs)[:1])
    made = evaluate_reward("embedded/helpsteer2", [lone], out=tmp_path / "out", **QUICK)
    assert math.isinf(made.sets[0].rows[0].value.low) or made.sets[0].rows[0].value.low >= 0
    json.loads(msgspec.json.encode(made), parse_constant=lambda name: pytest.fail(name))
