"""A head on a frozen model: what is read of it, what is learned from that, what is refused."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from later import later
from rating_files import preferences, toy, write
from tiny_model import CHATML, tiny_model, tiny_tokenizer

from karat.errors import RecipeError, RowError, RunError
from karat.rewards._states import FrozenModel, check, reading_of
from karat.rewards.base import Candidates
from karat.rewards.columns import RAW
from karat.rewards.head import HeadReward, load
from karat.rewards.head_file import WITH_HIDDEN, head_from_bytes, pack
from karat.rewards.hidden import Reading
from karat.row import Message
from karat.training.ratings import HumanData, Pair, Rated
from karat.training.reward_command import train_reward
from karat.training.reward_head import main_train
from karat.training.reward_hidden import wide_ridge
from karat.training.reward_plan import Plan
from karat.training.reward_states import Remembered

torch, transformers, linear_model = later("torch", "transformers", "sklearn.linear_model")
pytest.importorskip("sklearn")

QUICK: dict[str, Any] = {"folds": 2, "repeats": 1, "jobs": 1}
PROMPT = [Message("user", "What is rain?")]
LONG = [Message("user", "Why? " * 100), Message("assistant", "So. " * 30), Message("user", "And?")]


# In the manner of Qwen2.5: a system prompt where none is given, which no row has.
ADDS = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of six layers with random weights."""
    return writer(tmp_path_factory.mktemp("base") / "lm", ADDS)


def writer(folder: Path, before: str, seed: int = 0) -> Path:
    tiny_model(folder, seed=seed, num_hidden_layers=6, initializer_range=0.3)
    tiny_tokenizer(before + CHATML).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("rows", [12, 90])
def test_the_ridge_equals_scikit_learns_with_few_rows_and_with_many(rows: int) -> None:
    rng = np.random.default_rng(3)
    z, y = rng.normal(size=(rows, 40)), rng.normal(2, 1, size=(rows, 5))
    y[::3, 1], y[:, 4] = np.nan, np.nan
    weight, bias = wide_ridge(z, y, 0.7)
    for a in range(4):
        given = np.isfinite(y[:, a])
        other = linear_model.Ridge(alpha=0.7 * 40).fit(z[given], y[given, a])
        np.testing.assert_allclose(weight[:, a], other.coef_, atol=1e-9)
        assert bias[a] == pytest.approx(other.intercept_)
    assert not weight[:, 4].any()
    assert bias[4] == 0


def by_hand(folder: Path, prompt: list[Message], answer: str) -> Any:
    """The same states from transformers' own output, the whole conversation at once."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in prompt)
    head = tokenizer(before + "<|im_start|>assistant\n")["input_ids"][-256:]
    tail = tokenizer(f"{answer}<|im_end|>\n")["input_ids"]
    tail = tail if len(tail) <= 320 else [*tail[:256], *tail[-64:]]
    with torch.inference_mode():
        states = model(torch.tensor([head + tail]), output_hidden_states=True).hidden_states
    own = [states[layer][0][len(head) :] for layer in (1, 2, 3)]
    return torch.stack([torch.stack([s[-1], s[-2], s.mean(0)]) for s in own]).numpy().ravel()


@pytest.mark.parametrize("prompt", [PROMPT, LONG], ids=["short", "long"])
def test_what_is_read_is_what_the_layers_hold(base: Path, prompt: list[Message]) -> None:
    reading = reading_of(str(base))
    assert (reading.layers, reading.size, reading.licence) == ((1, 2, 3), 64, "mit")
    texts = ["Water.", "It is water that falls from clouds. " * 20, ""]
    model = FrozenModel(reading)
    found = model.read(prompt, texts)
    assert found.shape == (3, reading.width)
    for text, row in zip(texts, found, strict=True):
        np.testing.assert_allclose(row, by_hand(base, prompt, text), rtol=1e-4, atol=1e-4)
    assert np.array_equal(model.read(prompt, texts[1:2])[0], found[1])
    assert model.read(prompt, []).shape == (0, reading.width)


def test_an_answer_that_joins_with_what_stands_before_it_moves_no_other(tmp_path: Path) -> None:
    """The line break that ends the opening and a blank that begins the answer are one token."""
    tiny_model(tmp_path, num_hidden_layers=6, vocab_size=260, initializer_range=0.3)
    tokenizer = tiny_tokenizer()
    tree = json.loads(tokenizer.backend_tokenizer.to_str())
    tree["model"]["vocab"]["ĊĠ"], tree["model"]["merges"] = 259, [["Ċ", "Ġ"]]
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")
    model = FrozenModel(reading_of(str(tmp_path)))
    alone = model.read(PROMPT, ["Water."])[0]
    assert 259 in model.seen(PROMPT, "  Water.").ids
    assert np.array_equal(model.read(PROMPT, ["Water.", "  Water."])[0], alone)


def test_an_answer_that_is_asked_for_in_other_words_than_it_is_written_down(tmp_path: Path) -> None:
    """As Qwen3's template does, which opens an answer with an empty thought."""
    thinks = CHATML.replace("assistant\n{% endif", "assistant\n<think></think>{% endif")
    assert thinks != CHATML
    tiny_model(tmp_path, num_hidden_layers=6, initializer_range=0.3)
    tiny_tokenizer(thinks).save_pretrained(tmp_path)
    found = FrozenModel(reading_of(str(tmp_path))).read(PROMPT, ["Water."])
    np.testing.assert_allclose(found[0], by_hand(tmp_path, PROMPT, "Water."), rtol=1e-4, atol=1e-4)


def test_a_template_that_tells_no_beginning_is_refused(tmp_path: Path) -> None:
    other = "{% if add_generation_prompt %}Answer: {% endif %}" + CHATML
    tiny_model(tmp_path, num_hidden_layers=6)
    tiny_tokenizer(other).save_pretrained(tmp_path)
    with pytest.raises(RowError, match="nothing tells where the answer begins"):
        FrozenModel(reading_of(str(tmp_path))).read(PROMPT, ["Water."])


def test_what_has_no_chat_template_is_refused_in_words_that_help(tmp_path: Path) -> None:
    tiny_model(tmp_path)
    tiny_tokenizer(None).save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(RecipeError, match="no chat template; take the chat version of a model"):
        reading_of(str(tmp_path))


def test_a_short_context_is_not_read_past_its_end(tmp_path: Path) -> None:
    reading = reading_of(str(tiny_model(tmp_path, max_position_embeddings=128)))
    assert (reading.prompt, reading.first, reading.last) == (56, 56, 14)


def test_layers_of_an_eye_are_not_taken_for_those_of_the_text(tmp_path: Path) -> None:
    text = {"num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 64,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 260}  # fmt: skip
    eye = {"num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 64,
           "num_attention_heads": 4, "image_size": 8, "patch_size": 4}  # fmt: skip
    torch.manual_seed(0)
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**text), image_token_index=259,
        vision_config=transformers.CLIPVisionConfig(**eye),
    )  # fmt: skip
    transformers.LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    found = FrozenModel(reading_of(str(tmp_path))).read(PROMPT, ["Water."])
    assert found.shape == (1, 3 * 32 * 2)


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RecipeError, match="names no num_hidden_layers"):
        reading_of(str(tmp_path))


def train(base: Path, out: Path) -> HeadReward:
    main_train([toy(out.with_suffix(".jsonl"))], out, plan=Plan(frozen=str(base), **QUICK))
    return HeadReward(out)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("head") / "frozen.npz"
    train(base, out)
    return out


def test_a_head_on_a_frozen_model_is_a_file_with_a_card(base: Path, trained: Path) -> None:
    reward = HeadReward(trained)
    good, bad = reward.score(PROMPT, ["Thing 3 is a useful tool. It cuts wood.", "No."])
    assert good[5] > bad[5] + 1
    head = reward.head
    assert head.hidden is not None
    assert head.hidden.reading.layers == (1, 2, 3)
    assert head.meta["format"] == WITH_HIDDEN
    assert reward.licence == "not stated AND mit"
    assert pack(head_from_bytes(trained.read_bytes(), "it")) == trained.read_bytes()
    card = trained.with_suffix(".md").read_text("utf-8")
    for words in (f"the outputs of layers 1, 2 and 3 of `{base}`", "50% of a rating", "(mit;"):
        assert words in card
    assert "NumPy only" not in card
    assert not reward.score(PROMPT, ["", " "]).any()
    seen = reward.seen(PROMPT, "Water.")
    assert "".join(seen.pieces or ()).startswith("<|im_start|>user")  # what ADDS adds is cut out
    assert not hasattr(HeadReward(), "seen")


def test_half_of_what_it_says_is_the_frozen_models(trained: Path) -> None:
    """Another text for the layers alone moves the score by just what their map says."""
    reward = HeadReward(trained)
    raw = reward._read(Candidates(tuple(PROMPT), ("No.", "Thing 3 is a tool.")))
    assert isinstance(raw, np.ndarray)
    swapped = np.hstack([raw[:, :RAW], raw[::-1, RAW:]])
    hidden = reward.head.hidden
    assert hidden is not None
    votes = hidden.votes(raw[:, RAW:])
    gap = reward.head.votes(swapped)[0, :, :5] - reward.head.votes(raw)[0, :, :5]
    wanted = (votes[1] - votes[0]) * reward.head.attribute_line.slope_A
    np.testing.assert_allclose(gap, wanted, atol=1e-9)
    assert np.abs(wanted[:, 0]).min() > 0.3


def test_scores_do_not_depend_on_what_is_graded_beside(trained: Path) -> None:
    reward, texts = HeadReward(trained), ("Rain is water.", "No.", "Rain. " * 90)
    alone = [reward.score(PROMPT, [text])[0] for text in texts]
    jobs = [Candidates(tuple(PROMPT), texts), Candidates(tuple(LONG), texts[:1])]
    together = reward.score_many(jobs)
    assert np.array_equal(together[0], np.array(alone))


def test_a_conversation_its_template_refuses_fails_alone(tmp_path: Path) -> None:
    reward = train(writer(tmp_path / "lm", REFUSES), tmp_path / "head.npz")
    jobs = [
        Candidates((Message("system", "Be brief."), *PROMPT), ("Water.",)),
        Candidates(tuple(PROMPT), ("Water.",)),
    ]
    bad, good = reward.score_many(jobs)
    assert isinstance(bad, RowError)
    assert "no system" in str(bad)
    assert isinstance(good, np.ndarray)
    assert good.shape == (1, 7)
    with pytest.raises(RowError, match="no system"):
        reward.score(jobs[0].prompt, ["Water."])


def test_it_is_read_from_where_it_lies_now_and_from_nowhere_else(
    base: Path, trained: Path, tmp_path: Path
) -> None:
    wanted = HeadReward(trained).score(PROMPT, ["Water."])
    moved, other = tmp_path / "moved", writer(tmp_path / "other", ADDS, seed=1)
    shutil.copytree(base, moved)
    (moved / "notes.txt").write_text("a note beside it makes no other model of it")
    shutil.copy(trained, tmp_path / "head.npz")
    there = load("head.npz", tmp_path, base="moved")
    assert np.array_equal(there.score(PROMPT, ["Water."]), wanted)
    with pytest.raises(RecipeError, match="is not the model this head was trained on"):
        load("head.npz", tmp_path, base=str(other))
    with pytest.raises(RecipeError, match=r"no folder.*say where it lies now, `base: FOLDER`"):
        load("head.npz", tmp_path, base="gone")
    with pytest.raises(RecipeError, match="reads no language model: leave `base` out"):
        load("helpsteer2", tmp_path, base="moved")


def test_a_folder_beside_the_head_is_found_from_anywhere(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(base, tmp_path / "models" / "lm")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads").mkdir()
    out = Path("heads/mine.npz")
    main_train([toy(Path("toy.jsonl"))], out, plan=Plan(frozen="models/lm", **QUICK))
    hidden = HeadReward(out).head.hidden
    assert hidden is not None
    assert hidden.reading.model == "../models/lm"
    monkeypatch.chdir("/")
    (recipes := tmp_path / "recipes").mkdir()
    assert load("../heads/mine.npz", recipes).score(PROMPT, ["Water."]).shape == (1, 7)


def test_what_came_from_the_hub_is_known_by_what_it_reads(base: Path, tmp_path: Path) -> None:
    """A folder has another mark than a commit, though its weights are the same."""
    reading = FrozenModel(reading_of(str(base))).probed().reading
    hub = msgspec.structs.replace(reading, model="org/lm", mark="hub:0123", revision="0123")
    other = writer(tmp_path / "other", ADDS, seed=1)
    for folder in (base, other):
        check(hub, str(folder), Path())
    assert FrozenModel(hub, str(base)).read(PROMPT, ["Water."]).any()
    with pytest.raises(RunError, match="it reads the same text otherwise"):
        FrozenModel(hub, str(other)).read(PROMPT, ["Water."])


def test_what_is_missing_is_named_before_anything_is_loaded(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karat.rewards._states.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"needs torch: pip install 'karat\[hf\]'"):
        HeadReward(trained)


def test_an_embedded_model_is_known_by_its_weights_without_fetching_them() -> None:
    reading = reading_for("embedded/smollm2-135m", mark="embedded:b179c9523d0e6a0f")
    check(reading, None, Path())
    with pytest.raises(RecipeError, match="is not the model"):
        check(reading_for("embedded/smollm2-135m", mark="embedded:" + "0" * 16), None, Path())
    with pytest.raises(RecipeError, match="no embedded model 'gone'"):
        check(reading_for("embedded/gone", mark=""), None, Path())


def reading_for(model: str, mark: str) -> Reading:
    return Reading(model=model, mark=mark, revision=None, licence="mit", layers=(1,), size=4)


def test_what_two_parts_of_a_file_do_not_agree_on_is_a_damaged_head(trained: Path) -> None:
    with np.load(trained) as file:
        arrays = dict(file)
    arrays["hidden"] = arrays["hidden"][:, 1:]
    with pytest.raises(RecipeError, match="damaged"):
        head_from_bytes(npz(arrays), "it")
    del arrays["hidden"]
    with pytest.raises(RecipeError, match="damaged"):
        head_from_bytes(npz(arrays), "it")


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_a_search_says_what_the_layers_are_worth(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "searched.npz"
    made = main_train(
        [toy(tmp_path / "toy.jsonl")], out, plan=Plan(frozen=str(base), search=True, **QUICK)
    )
    assert made.measured.search is not None
    names = [one.name for one in made.measured.search.candidates]
    assert [n for n in names if "hidden" in n] == [
        "surface+static+hidden, regression", "surface+static+hidden, regression+scaled"
    ]  # fmt: skip
    assert "surface+static, bt" in names
    HeadReward(out)  # whichever was chosen


def test_preferences_are_learned_beside_ratings(base: Path, tmp_path: Path) -> None:
    ratings, pairs = toy(tmp_path / "toy.jsonl"), preferences(tmp_path / "pairs.jsonl")
    told: list[str] = []
    made = main_train(
        [ratings, pairs], tmp_path / "both.npz", plan=Plan(frozen=str(base), **QUICK),
        say=told.append,
    )  # fmt: skip
    assert [f.name for f in made.figures.pairs][-1] == "preference pairs"
    assert made.figures.pairs[-1].value > 0.9
    assert any("48 of 48 answers" in line for line in told)  # the same texts are read once


def test_each_prompt_is_read_once(base: Path) -> None:
    asked: list[int] = []

    class Counting(FrozenModel):
        def read(self, prompt, responses):
            asked.append(len(responses))
            return super().read(prompt, responses)

    rows = [Rated(tuple(PROMPT), text, (1.0,) * 5, "g") for text in ("Water.", "Snow.")]
    pair = Pair(tuple(PROMPT), "Water.", "Hail.", 1.0, "g")
    known = Remembered(Counting(reading_of(str(base))), HumanData(rows, [pair]))
    first = known.read(PROMPT, ["Snow.", "Hail.", "Snow."])
    assert np.array_equal(first[0], first[2])
    assert asked == [3, 0]
    known.read(PROMPT, ["Fog.", "Snow.", "Fog."])
    assert asked == [3, 0, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frozen": True}, "say whose layers the head reads, --model MODEL"),
        ({"frozen": True, "model": "m", "lora": True}, "--lora means nothing to a head on a"),
        ({"frozen": True, "model": "m", "representation": "surface"}, "--representation means"),
        ({"frozen": True, "model": "m", "objective": "bt"}, "and bt from pairs alone"),
        ({"frozen": True, "model": "./gone"}, "no folder"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    model = options.pop("model", None)
    with pytest.raises(RecipeError, match=said):
        train_reward(
            [str(toy(tmp_path / "toy.jsonl"))], tmp_path / "x.npz", (), model, options, "", print
        )


def test_a_set_to_test_on_that_cannot_be_read_is_told_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = writer(tmp_path / "lm", REFUSES)
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Rain?"}]
    pair = {"context": turns, "response1": "Water.", "response2": "No.", "overall_preference": -1}
    test = write(tmp_path / "test.jsonl", pair)
    monkeypatch.setattr(
        "karat.training.reward_head.train_head", lambda *_, **__: pytest.fail("too late")
    )
    with pytest.raises(RecipeError, match=r"no system.*leave such conversations out"):
        main_train(
            [toy(tmp_path / "toy.jsonl")], tmp_path / "x.npz", [test],
            Plan(frozen=str(base), **QUICK),
        )  # fmt: skip


def test_preferences_alone_teach_a_frozen_model_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="preferences alone: add ratings, or fine-tune"):
        main_train([preferences(tmp_path / "p.jsonl")], tmp_path / "x.npz", plan=Plan(frozen="."))
