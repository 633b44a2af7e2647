"""Training a head: what it writes, what it asks for, held-out accuracy above the baselines."""

import base64
import datetime
from pathlib import Path

import numpy as np
import pytest
from rating_files import preferences, rating, toy, write

from karat.errors import RecipeError
from karat.rewards.base import UNBOUNDED
from karat.rewards.head import HeadReward
from karat.row import Message
from karat.training._items import prompt_marks
from karat.training.ratings import read_human
from karat.training.reward_command import train_reward
from karat.training.reward_head import main_train, train_head
from karat.training.reward_plan import Plan
from karat.training.reward_settings import Settings

pytest.importorskip("sklearn")

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")
QUICK = {"folds": 2, "repeats": 1, "jobs": 1}
PROMPT = [Message("user", "What?")]


def test_training_writes_a_head_and_its_card(tmp_path: Path) -> None:
    data, out = toy(tmp_path / "toy.jsonl"), tmp_path / "made" / "toy.npz"
    day = datetime.date(2026, 11, 23)
    first = main_train([data], out, [data], Plan(**QUICK), command="karat x", today=day)
    assert first.figures.pairs[0].value > 0.9
    assert first.tests[0].n == 0  # every prompt of this test set was trained on
    text = out.with_suffix(".md").read_text(encoding="utf-8")
    for words in ("2026-11-23", "karat x", "## Calibration", "## Length", "rated pairs"):
        assert words in text
    assert "rated pairs" in first.summary()
    content = out.read_bytes()
    main_train([data], out, plan=Plan(**QUICK))
    assert out.read_bytes() == content
    reward = HeadReward(out)
    assert list(reward.attributes)[-2:] == ["reward", "uncertainty"]
    good, bad = reward.score(PROMPT, ["It is a useful tool.", "No."])
    assert good[5] > bad[5]
    assert good[6] > 0
    marks = np.frombuffer(base64.b64decode(reward.head.meta["prompts"]), "<u8")
    asked = prompt_marks(["what is thing 7?", "what is thing 77?"])
    assert np.isin(asked, marks).tolist() == [True, False]
    assert (np.diff(marks) > 0).all()
    assert len(marks) == 24


def test_preferences_alone_make_a_reward_within_one_prompt(tmp_path: Path) -> None:
    out = tmp_path / "pairs.npz"
    data = preferences(tmp_path / "pairs.jsonl")
    made = main_train([data], out, plan=Plan(**QUICK))
    assert made.settings.objective == "scaled"  # the data say how strong a preference is
    assert [f.name for f in made.figures.pairs] == ["preference pairs"]
    reward = HeadReward(out)
    assert reward.attributes == {"reward": UNBOUNDED, "uncertainty": (0.0, float("inf"))}
    assert reward.within_prompt == {"reward", "uncertainty"}
    good, bad = reward.score(PROMPT, ["Thing is a useful tool. It cuts wood.", "No."])
    assert good[0] > bad[0]
    assert "preferences alone" in out.with_suffix(".md").read_text(encoding="utf-8")


def test_a_search_takes_the_best_and_shows_the_rest(tmp_path: Path) -> None:
    data, out = toy(tmp_path / "toy.jsonl"), tmp_path / "toy.npz"
    made = main_train([data], out, plan=Plan(search=True, representation="surface", **QUICK))
    assert made.measured.search is not None
    assert len(made.measured.search.candidates) == 5
    assert made.settings.objective in ("regression", "regression+scaled")
    assert "## Representation and objective" in out.with_suffix(".md").read_text("utf-8")
    assert "chosen: surface, regression" in made.summary()


def test_one_member_has_no_uncertainty(tmp_path: Path) -> None:
    data, out = toy(tmp_path / "toy.jsonl"), tmp_path / "toy.npz"
    made = main_train([data], out, plan=Plan(members=1, representation="surface", **QUICK))
    assert made.settings.objective == "regression"
    assert list(HeadReward(out).attributes)[-1] == "reward"
    assert "## Uncertainty" not in out.with_suffix(".md").read_text("utf-8")


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, out = toy(tmp_path / "few.jsonl", prompts=5), tmp_path / "head.npz"
    pairs = preferences(tmp_path / "pairs.jsonl")
    with pytest.raises(RecipeError, match=r"ends in \.npz"):
        main_train([few], tmp_path / "head.bin")
    with pytest.raises(RecipeError, match="at least 20 prompts"):
        main_train([few], out)
    with pytest.raises(RecipeError, match="regression learns from ratings"):
        main_train([pairs], out, plan=Plan(objective="regression"))
    with pytest.raises(RecipeError, match=r"debiasing .* at least 5 members, not 2"):
        main_train([toy(tmp_path / "toy.jsonl")], out, plan=Plan(members=2, debias=True))
    single = [rating(f"Thing {i}?", "A tool.", i % 5) for i in range(24)]
    with pytest.raises(RecipeError, match="bt learns from pairs"):
        main_train([write(tmp_path / "s.jsonl", *single)], out, plan=Plan(objective="bt"))
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    with pytest.raises(RecipeError, match=r"karat\[reward\]"):
        main_train([few], out)


@needs_data
def test_held_out_accuracy_beats_the_longer_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karat.training.reward_table.TESTED_ROWS", 40)
    data = read_human([DATA / "helpsteer2" / "ratings.jsonl"])
    small = Settings(members=5, trees=10, leaf=8, representation="surface", spoiled_weight=0.3)
    _, measured = train_head(data.rated, settings=small, folds=3, repeats=1, jobs=1)
    rated = measured.figures.pairs[0]
    assert rated.n > 300
    assert rated.value > rated.longer
    assert rated.low > 0.5
    correlations = {f.name: f.value for f in measured.figures.attributes}
    assert correlations["verbosity"] > 0.6
    assert correlations["helpfulness"] > 0.2
    assert min(f.value for f in measured.figures.spoiled) > 0.75
    for line in measured.calibrated:
        assert abs(line.after[0] - 1) < 0.4, line


@needs_data
def test_the_shipped_head_on_sets_it_never_saw() -> None:
    reward = HeadReward()
    assert reward.head.meta["data"]["helpsteer2/ratings.jsonl"] == 1000
    data = read_human([DATA / "pairs" / "rewardbench-sample.jsonl"])
    at = list(reward.attributes).index("reward")
    won = [
        np.subtract(*reward.score(p.prompt, [p.chosen, p.rejected])[:, at]) > 0 for p in data.pairs
    ]
    assert np.mean(won) > 0.72


def test_nought_is_a_seed_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []

    def note(data, out, tests, plan, **_):
        plans.append(plan)
        raise RecipeError("enough")

    monkeypatch.setattr("karat.training.reward_head.main_train", note)
    for seed in (0, 3):
        with pytest.raises(RecipeError, match="enough"):
            train_reward(["x"], tmp_path / "x.npz", (), None, {"seed": seed}, "", print)
    assert [plan.seed for plan in plans] == [0, 3]
