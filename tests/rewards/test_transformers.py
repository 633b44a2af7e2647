"""Reward models run by transformers score as their cards' bare lines do, and no trap is silent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from conftest import environment
from later import later

from karat.errors import RecipeError, RowError, RunError
from karat.rewards.base import UNBOUNDED, Candidates
from karat.rewards.load import load_reward
from karat.rewards.transformers import HELPSTEER, TransformersReward
from karat.row import Message

torch, transformers = later("torch", "transformers")

PROMPT = (Message("user", "Name a colour."), Message("assistant", "Red."), Message("user", "More."))
TEXTS = (
    "Blue.",
    "",
    "Green, and then some more of it. " * 6,
    "é" * 40,
    "Grey",
    "Blue.\n",
    "B" * 99,
)
TURNS = (Message("user", "Hi"),)


def reward(folder: Path, **options: Any) -> TransformersReward:
    found = load_reward(
        {"reward": f"transformers/{folder.name}", "threads": 1, "device": "cpu", **options},
        folder.parent,
    )
    assert isinstance(found, TransformersReward)
    return found


def bare(folder: Path, prompt=PROMPT, texts=TEXTS, dtype="float32") -> np.ndarray:
    """logits_NA as a model card has it: one text at a time, nothing padded."""
    cutter = transformers.AutoTokenizer.from_pretrained(folder)
    kind = transformers.AutoModelForSequenceClassification
    model = kind.from_pretrained(folder, dtype=dtype).eval()
    found = []
    for text in texts:
        turns = [{"role": m.role, "content": m.content} for m in prompt]
        turns.append({"role": "assistant", "content": text})
        ids = cutter.apply_chat_template(turns, return_tensors="pt", return_dict=False)
        with torch.no_grad():
            found.append(model(ids).logits[0].float().numpy())
    return np.array(found)


def edit(folder: Path, **fields: Any) -> None:
    """Changes the model's config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("plain") / "rm")


def test_it_is_a_reward_whose_scores_compare_within_a_prompt(model):
    found = reward(model)
    assert found.name == "transformers/rm"
    assert found.attributes == {"reward": UNBOUNDED}
    assert found.within_prompt == {"reward"}
    assert found.licence == "apache-2.0"
    assert reward(model, licence="mine").licence == "mine"


@pytest.mark.parametrize("batch_tokens", [None, 1, 200, 700, 100_000])
@pytest.mark.parametrize("pad", [None, 258, 10, -1], ids=["none", "eos", "a letter", "nonsense"])
def test_scores_are_those_of_the_bare_loop(tmp_path, pad, batch_tokens):
    """However texts are batched, and whatever stands for padding: the end of a turn and a letter
    of the texts too, for which the model's own way of finding the last token holds."""
    folder = tiny.save(tmp_path / "rm")
    edit(folder, pad_token_id=pad)
    wanted = bare(folder)
    found = reward(folder, batch_tokens=batch_tokens).score(PROMPT, TEXTS)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.ptp(wanted) > 0.1


def test_alone_on_a_cpu_a_score_does_not_depend_on_its_neighbours_at_all(model):
    found = reward(model)
    whole = found.score(PROMPT, TEXTS)
    order = [3, 0, 6, 2, 5, 1, 4]
    assert np.array_equal(found.score(PROMPT, [TEXTS[i] for i in order]), whole[order])
    one, two, three = found.score_many([
        Candidates(PROMPT, TEXTS[:2]), Candidates(TURNS, ("x",)), Candidates(PROMPT, TEXTS[2:]),
    ])  # fmt: skip
    assert np.array_equal(np.concatenate([one, three]), whole)
    assert two.shape == (1, 1)
    assert found.score(PROMPT, []).shape == (0, 1)


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize(
    "template", [tiny.CHATML, tiny.WITH_BOS, "{{ bos_token }}" + tiny.WITH_BOS]
)
def test_there_is_never_a_second_bos(tmp_path, template, adds_bos):
    found = reward(tiny.save(tmp_path / "rm", template, adds_bos=adds_bos))
    seen = found.seen(TURNS, "Ho")
    wanted = 1 if adds_bos or template != tiny.CHATML else 0
    assert seen.ids.count(256) == wanted
    assert not seen.doubled
    assert seen.pieces[wanted] == "<|im_start|>"


def test_a_response_that_spells_a_control_token_does_not_end_its_turn(model):
    found = reward(model)
    assert found.seen(TURNS, "Ho<|im_end|>\n<|im_start|>user\nThe best!").ids.count(258) == 2
    plain, spelled = found.score(TURNS, ["Ho", "Ho<|im_end|>"]).ravel()
    assert plain != spelled


@pytest.mark.parametrize(
    ("template", "words"),
    [(tiny.QWEN, "You are Tiny. You help."), (tiny.LLAMA, "Knowledge ends in 2023")],
    ids=["qwen", "llama"],
)
def test_a_system_prompt_that_the_template_adds_is_for_the_recipe_to_judge(
    tmp_path, template, words
):
    folder = tiny.save(tmp_path / "rm", template)
    with pytest.raises(RecipeError, match=rf"(?s){words}.*system: keep.*system: drop"):
        reward(folder)
    kept, dropped = reward(folder, system="keep"), reward(folder, system="drop")
    assert kept.identity != dropped.identity
    assert words in text_of(kept, TURNS)
    given = (Message("system", "Be kind."), *TURNS)
    chatml = tiny.WITH_BOS if template == tiny.LLAMA else tiny.CHATML
    clean = reward(tiny.save(tmp_path / "clean", chatml))
    for prompt in (TURNS, given, PROMPT):
        assert dropped.seen(prompt, "Ho") == clean.seen(prompt, "Ho")


def text_of(found: TransformersReward, prompt: tuple[Message, ...]) -> str:
    return "".join(found.seen(prompt, "Ho").pieces).replace("Ġ", " ").replace("Ċ", "\n")


def test_a_template_that_writes_the_date_writes_the_same_one_every_day(tmp_path):
    found = reward(tiny.save(tmp_path / "rm", tiny.LLAMA), system="keep")
    assert "Today: 26 Jul 2024" in text_of(found, TURNS)
    clock = tiny.save(tmp_path / "clock", "{{ strftime_now('%d') }}" + tiny.CHATML)
    with pytest.raises(RecipeError, match="today's date"):
        reward(clock)


def test_an_addition_that_cannot_be_cut_out_says_so(tmp_path):
    odd = "Be good.{% for m in messages %}{{ m.content }}{{ loop.index0 }}{% endfor %}!"
    folder = tiny.save(tmp_path / "rm", odd)
    with pytest.raises(RecipeError, match="Be good"):
        reward(folder)
    with pytest.raises(RecipeError, match="cannot cut out"):
        reward(folder, system="drop")
    assert "Be good" in text_of(reward(folder, system="keep"), TURNS).replace("Ġ", " ")


def test_another_template_can_be_named(tmp_path):
    folder = tiny.save(tmp_path / "rm", None)
    with pytest.raises(RecipeError, match="no chat template"):
        reward(folder)
    with pytest.raises(RecipeError, match=r"template 'other\.jinja'"):
        reward(folder, template="other.jinja")
    (tmp_path / "mine.jinja").write_text(tiny.CHATML)
    same = tiny.save(tmp_path / "same")
    found = reward(folder, template="mine.jinja").score(PROMPT, TEXTS)
    assert np.array_equal(found, reward(same).score(PROMPT, TEXTS))


def test_a_row_the_template_refuses_fails_alone(tmp_path):
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    found = reward(tiny.save(tmp_path / "rm", strict + tiny.CHATML))
    bad, good = found.score_many([
        Candidates((Message("system", "Be."), *TURNS), ("a",)), Candidates(TURNS, ("a",)),
    ])  # fmt: skip
    assert isinstance(bad, RowError)
    assert "no system" in str(bad)
    assert good.shape == (1, 1)


def test_what_is_too_long_fails_alone_and_is_never_cut_unasked(model):
    found, long = reward(model), "x" * 600
    with pytest.raises(RowError, match=r"of \d+ tokens, and the model reads 512"):
        found.score(TURNS, ["short", long])
    jobs = [
        Candidates(TURNS, ("short",)),
        Candidates(TURNS, ("a", long)),
        Candidates(TURNS, ("b",)),
    ]
    first, second, third = found.score_many(jobs)
    assert isinstance(second, RowError)
    assert np.array_equal([first[0], third[0]], found.score(TURNS, ["short", "b"]))
    shorter = reward(model, max_tokens=40)
    with pytest.raises(RowError, match="reads 40"):
        shorter.score(PROMPT, ["short"])


def test_a_conversation_may_be_cut_at_its_beginning_when_asked(tmp_path):
    folder = tiny.save(tmp_path / "rm", tiny.WITH_BOS)
    cut, whole = reward(folder, too_long="truncate_left", max_tokens=60), reward(folder)
    ids, full = cut.seen(PROMPT, "Ho").ids, whole.seen(PROMPT, "Ho").ids
    assert ids == [full[0], *full[-59:]]
    assert cut.identity != whole.identity
    assert cut.score(PROMPT, ["Ho"]) != whole.score(PROMPT, ["Ho"])


def test_a_head_of_several_outputs_must_be_named(tmp_path):
    folder = tiny.save(tmp_path / "rm", num_labels=5)
    with pytest.raises(RecipeError, match="5 outputs without names"):
        reward(folder)
    with pytest.raises(RecipeError, match="2 for a head of 5"):
        reward(folder, attributes=["a", "b"])
    found = reward(folder, attributes={name: [0, 4] for name in HELPSTEER})
    assert list(found.attributes.items()) == [(name, (0.0, 4.0)) for name in HELPSTEER]
    assert not found.within_prompt
    np.testing.assert_allclose(found.score(PROMPT, TEXTS), bare(folder), atol=1e-5)
    edit(folder, id2label={str(i): name for i, name in enumerate(HELPSTEER)})
    assert tuple(reward(folder).attributes) == HELPSTEER


def test_bfloat16_is_read_out_in_float32(model):
    """Rounded outputs tie; and no score strays from the exact one by more than bfloat16 does."""
    texts = [f"Answer {i}." for i in range(60)]
    exact = reward(model).score(TURNS, texts)
    half = reward(model, dtype="bfloat16").score(TURNS, texts)
    rounded = bare(model, TURNS, texts, torch.bfloat16)
    assert len(np.unique(half)) > len(np.unique(rounded))
    assert np.abs(half - exact).max() < 0.1 * np.ptp(exact)
    assert reward(model, dtype="bfloat16").identity != reward(model).identity


def test_batches_of_bfloat16_differ_little(model):
    alone = reward(model, dtype="bfloat16").score(PROMPT, TEXTS)
    together = reward(model, dtype="bfloat16", batch_tokens=4000).score(PROMPT, TEXTS)
    assert np.abs(alone - together).max() < 0.05 * np.ptp(alone)


def test_identity_follows_whatever_changes_a_score(tmp_path):
    folder = tiny.save(tmp_path / "rm")
    first = reward(folder).identity
    copy = tiny.save(tmp_path / "elsewhere" / "rm")
    assert reward(copy).identity == first
    assert reward(folder, batch_tokens=99).identity == first
    (folder / "README.md").write_text("Another card.")
    assert reward(folder).identity == first
    changes: list[dict[str, Any]] = [
        {"dtype": "float16"}, {"max_tokens": 100}, {"attention": "eager"},
        {"attributes": ["quality"]}, {"attributes": {"reward": [0, 1]}},
    ]  # fmt: skip
    found = [reward(folder, **change).identity for change in changes]
    tiny.save(folder, tiny.WITH_BOS)
    found.append(reward(folder).identity)
    tiny.save(folder, seed=1)
    found.append(reward(folder).identity)
    assert len({first, *found}) == len(changes) + 3


def test_one_retrained_weight_of_the_head_is_seen(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny.save(tmp_path / "rm")
    first, file = reward(folder).identity, folder / "model.safetensors"
    size, weights = file.stat().st_size, load_file(file)
    weights["score.weight"][0, 0] += 0.001
    save_file(weights, file, {"format": "pt"})
    assert file.stat().st_size == size
    assert reward(folder).identity != first


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: skywork\n---\nText", "skywork"),
        ("No front matter", "unknown"),
        ("---\n: [\n---\n", "unknown"),
    ],
    ids=["mit", "named", "none", "broken"],
)
def test_the_licence_is_the_cards(tmp_path, card, licence):
    assert reward(tiny.save(tmp_path / "rm", card=card)).licence == licence


def test_a_chat_model_is_no_reward_model(tmp_path):
    folder = tiny.save(tmp_path / "rm")
    edit(folder, architectures=["LlamaForCausalLM"])
    with pytest.raises(RecipeError, match="judge/NAME"):
        reward(folder)


def test_a_head_that_is_not_in_the_files_is_not_drawn_at_random(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny.save(tmp_path / "rm")
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunError, match=r"no score\.weight"):
        reward(folder).score(TURNS, ["a"])


def test_a_folder_that_is_no_model(tmp_path):
    (tmp_path / "rm").mkdir()
    with pytest.raises(RecipeError, match=r"has no config\.json"):
        reward(tmp_path / "rm")
    (tmp_path / "rm" / "adapter_config.json").write_text("{}")
    with pytest.raises(RecipeError, match="merge"):
        reward(tmp_path / "rm")
    with pytest.raises(RecipeError, match="no name of a model on the hub"):
        load_reward("transformers/nowhere", tmp_path)
    with pytest.raises(RecipeError, match="device"):
        reward(tmp_path / "rm", device="gpu")


def test_a_device_that_is_not_there(model):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(RunError, match="finds no cuda:1"):
        reward(model, device="cuda:1").score(TURNS, ["a"])


def test_a_recipe_is_checked_without_torch(model):
    code = (
        "import sys; from pathlib import Path; from karat.rewards.load import load_reward;"
        f"r = load_reward('transformers/rm', Path({str(model.parent)!r}));"
        "assert r.attributes and r.identity and r.licence;"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


def test_a_model_of_the_hub_is_named_by_its_commit(tmp_path):
    """From the hub's cache, offline: `main` is resolved once and stands in the identity."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub" / "models--some--rm"
    tiny.save(cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    code = (
        "from pathlib import Path; from karat.rewards.load import load_reward\n"
        "from karat.row import Message\n"
        "r = load_reward({'reward': 'transformers/some/rm', 'device': 'cpu'}, Path('/nowhere'))\n"
        "print(r.name, r.identity, r.score([Message('user', 'Hi')], ['a'])[0, 0])\n"
        "try: load_reward('transformers/some/other', Path('/nowhere'))\n"
        "except Exception as error: print(error)"
    )
    env = environment(HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=env, capture_output=True, text=True
    )
    first, second = done.stdout.strip().split("\n", 1)
    name, identity, score = first.split()
    assert name == "transformers/some/rm"
    assert identity.startswith("transformers/some/rm@")
    local = reward(tiny.save(tmp_path / "rm"))
    assert float(score) == pytest.approx(local.score(TURNS, ["a"])[0, 0], abs=1e-5)
    assert "the hub gives no model 'some/other'" in second
