"""A head on a frozen model: what is learned from its layers, what is kept, what is refused."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frozen_models import ADDS, LONG, PROMPT, REFUSES, writer
from later import later
from rating_files import preferences, toy, write

from karat.errors import RecipeError, RowError
from karat.rewards._states import FrozenModel
from karat.rewards.base import Candidates
from karat.rewards.columns import RAW
from karat.rewards.head import HeadReward, load
from karat.rewards.head_file import WITH_HIDDEN, head_from_bytes, pack
from karat.row import Message
from karat.training.reward_command import train_reward
from karat.training.reward_head import main_train
from karat.training.reward_linear import ridge
from karat.training.reward_plan import Plan

*_, linear_model = later("torch", "transformers", "sklearn.linear_model")
pytest.importorskip("sklearn")

QUICK: dict[str, Any] = {"folds": 2, "repeats": 1, "jobs": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of six layers with random weights."""
    return writer(tmp_path_factory.mktemp("base") / "lm", ADDS)


@pytest.mark.parametrize("rows", [12, 90])
def test_the_ridge_equals_scikit_learns_with_few_rows_and_with_many(rows: int) -> None:
    rng = np.random.default_rng(3)
    z, y = rng.normal(size=(rows, 40)), rng.normal(2, 1, size=(rows, 5))
    y[::3, 1], y[:, 4] = np.nan, np.nan
    weight, bias = ridge(z, y, np.ones(rows), 0.7 * 40)
    for a in range(4):
        given = np.isfinite(y[:, a])
        other = linear_model.Ridge(alpha=0.7 * 40).fit(z[given], y[given, a])
        np.testing.assert_allclose(weight[:, a], other.coef_, atol=1e-9)
        assert bias[a] == pytest.approx(other.intercept_)
    assert not weight[:, 4].any()
    assert bias[4] == 0


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


def test_what_is_missing_is_named_before_anything_is_loaded(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karat.rewards._states.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"needs torch: pip install 'karat\[hf\]'"):
        HeadReward(trained)


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


def test_what_was_read_is_kept_until_the_head_is_written(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = toy(tmp_path / "toy.jsonl"), tmp_path / "heads" / "x.npz"
    read, asked = FrozenModel.read, [0]

    def dying(self, prompt, responses):
        asked[0] += len(responses)
        if asked[0] > 31:
            raise KeyboardInterrupt
        return read(self, prompt, responses)

    monkeypatch.setattr(FrozenModel, "read", dying)
    with pytest.raises(KeyboardInterrupt):
        main_train([data], out, plan=Plan(frozen=str(base), **QUICK))
    kept = out.with_suffix(".states")
    kept.write_bytes(kept.read_bytes()[:-7])  # the last record is torn
    monkeypatch.setattr(FrozenModel, "read", read)
    told: list[str] = []
    main_train([data], out, plan=Plan(frozen=str(base), **QUICK), say=told.append)
    assert "29 answers were read before" in told
    assert not kept.exists()
    whole = tmp_path / "whole" / "x.npz"
    main_train([data], whole, plan=Plan(frozen=str(base), **QUICK))
    assert whole.read_bytes() == out.read_bytes()


def test_the_speed_on_the_card_is_the_models_and_not_of_what_was_kept(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def speed(head, data, reader):
        asked.append(reader)
        return 7.0

    monkeypatch.setattr("karat.training.reward_head.speed", speed)
    train(base, tmp_path / "x.npz")
    assert [type(one) for one in asked] == [FrozenModel]


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
