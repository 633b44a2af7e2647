"""Training: readers, the same numbers as scikit-learn, held-out accuracy above the baselines."""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.errors import RecipeError
from karat.rewards import features
from karat.rewards.head import HeadReward
from karat.row import Message
from karat.training.corruptions import KINDS, TRAINED, ratings_of, spoil
from karat.training.ratings import Rated, messages_of, read_human
from karat.training.reward_figures import Outcomes, folds_of
from karat.training.reward_fit import Settings, fit_linear, forest_of, sklearn_forest, table_of
from karat.training.reward_head import main_train, train_head

pytest.importorskip("sklearn")

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")
SMALL = Settings(trees=12, rounds=1)


def write(path: Path, *records: object) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in records), encoding="utf-8")
    return path


def rating(prompt: str, response: str, mark: float) -> dict[str, object]:
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return {"prompt": prompt, "response": response} | dict.fromkeys(names, mark)


def toy(path: Path, prompts: int = 30) -> Path:
    rows = [
        rating(f"What is thing {i}?", text, mark)
        for i in range(prompts)
        for text, mark in ((f"Thing {i} is a useful tool. It cuts wood.", 4), ("No.", 0))
    ]
    return write(path, *rows)


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_numpy_forest_equals_scikit_learn(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    x_NF = rng.normal(size=(60, 7)).round(1)
    trees = sklearn_forest(Settings(trees=5, leaf=2, seed=seed)).fit(x_NF, rng.normal(size=(60, 5)))
    new_NF = rng.normal(size=(rows, 7)).round(1)
    np.testing.assert_allclose(forest_of(trees).predict(new_NF), trees.predict(new_NF), atol=1e-6)


def test_numpy_ridge_equals_scikit_learn() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x_NF, y_NA, weight_N = rng.normal(size=(80, 6)), rng.normal(size=(80, 5)), rng.random(80)
    linear = fit_linear(x_NF, y_NA, weight_N, ridge=3.0)
    z_NF = linear.standardise(x_NF)
    oracle = Ridge(3.0).fit(z_NF, y_NA, sample_weight=weight_N)
    np.testing.assert_allclose(linear.predict(x_NF), oracle.predict(z_NF), atol=1e-6)


def test_multi_turn_prompts_become_messages() -> None:
    text = "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nMore, please"
    expected = (
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "More, please"),
    )
    assert messages_of(text) == expected
    assert messages_of("Just one") == (Message("user", "Just one"),)


def test_every_known_shape_is_read(tmp_path: Path) -> None:
    tree = {
        "role": "prompter",
        "text": "Q",
        "replies": [
            {"role": "assistant", "text": t, "rank": r}
            for t, r in (("worst", 2), ("a", 0), ("b", 1))
        ],
    }
    arena = {"prompts": ["Q"], "responses_a": ["x"], "responses_b": ["y"]}
    path = write(
        tmp_path / "all.jsonl",
        rating("Q", "A", 3),
        {"prompt": "Q", "chosen": "good", "rejected": "bad"},
        {"chosen": "\n\nHuman: Q\n\nAssistant: yes", "rejected": "\n\nHuman: Q\n\nAssistant: no"},
        {"input": "Q", "output_1": "bad", "output_2": "good", "label": 2},
        arena | {"winner": "model_b"},
        arena | {"winner": "tie"},
        {"prompt": tree},
        {"prompt": "Q", "chosen": "same", "rejected": "same"},
    )
    data = read_human([path])
    pairs = [(p.chosen, p.rejected) for p in data.pairs]
    ranked = [("a", "b"), ("a", "worst"), ("b", "worst")]
    assert pairs == [("good", "bad"), ("yes", "no"), ("good", "bad"), ("y", "x"), *ranked]
    assert len(data.rated) == 1
    assert data.skipped == 2
    assert data.groups == {"q"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: not JSON"),
        ('{"a": 1}', "line 1: no rating or preference"),
        (json.dumps(rating("Q", "A", 9)), "outside"),
        (json.dumps(rating("Q", "A", float("nan"))), "outside"),
        ('{"prompt": "Q", "chosen": 1, "rejected": "b"}', "a text was wanted"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        read_human([path])
    with pytest.raises(RecipeError, match="cannot be read"):
        read_human([tmp_path / "absent.jsonl"])


@given(st.text(max_size=200), st.text(max_size=80), st.text(max_size=200), st.randoms())
@settings(max_examples=60, deadline=None)
def test_spoiling_never_fails_and_never_raises_a_rating(a: str, b: str, c: str, rng) -> None:
    assert tuple(sorted(spoil(a, b, c, rng))) == tuple(sorted(KINDS))
    for kind in TRAINED:
        lowered = ratings_of(kind, np.array([3.0, 3, 3, 2, 2]))
        assert (lowered[:3] <= 3).all()
        assert (lowered >= 0).all()


def test_folds_keep_a_prompt_on_one_side() -> None:
    prompt = (Message("user", "Q"),)
    rows = [Rated(prompt, str(i), (1.0,) * 5, f"g{i // 3}") for i in range(30)]
    from karat.training.ratings import HumanData, Pair

    pairs = [Pair(prompt, "a", "b", f"g{i}") for i in range(15)]
    table = table_of(HumanData(rows, pairs), seed=1, spoiled=())
    fold_R, fold_P = folds_of(table, 5, seed=3)
    of = dict(zip(table.group_R.tolist(), fold_R.tolist(), strict=True))
    assert all(of[g] == f for g, f in zip(table.group_R.tolist(), fold_R, strict=True))
    shared = [(g, f) for g, f in zip(table.group_P.tolist(), fold_P, strict=True) if g in of]
    assert shared
    assert all(of[g] == f for g, f in shared)


def test_interval_resamples_prompts_not_pairs() -> None:
    win = np.repeat([1.0, 0.0], 50)
    alone = Outcomes(win, win, np.arange(100).astype(str), win).figure("alone")
    grouped = Outcomes(win, win, np.repeat(["a", "b"], 50), win).figure("grouped")
    assert (grouped.low, grouped.high) == (0.0, 1.0)
    assert 0.35 < alone.low < 0.5 < alone.high < 0.65


def test_training_writes_a_head_and_its_card(tmp_path: Path) -> None:
    data, out = toy(tmp_path / "toy.jsonl"), tmp_path / "made" / "toy.npz"
    day = datetime.date(2026, 11, 23)
    first = main_train([data], out, [data], repeats=1, today=day)
    assert first.figures.pairs[0].value > 0.9
    assert first.tests[0].n == 0  # every prompt of this test set was trained on
    assert "2026-11-23" in out.with_suffix(".md").read_text(encoding="utf-8")
    assert "rated pairs" in first.summary()
    content = out.read_bytes()
    main_train([data], out, repeats=1)
    assert out.read_bytes() == content
    good, bad = HeadReward(out).score([Message("user", "What?")], ["It is a useful tool.", "No."])
    assert good[-1] > bad[-1]


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = toy(tmp_path / "toy.jsonl", prompts=5)
    with pytest.raises(RecipeError, match=r"ends in \.npz"):
        main_train([data], tmp_path / "head.bin")
    with pytest.raises(RecipeError, match="at least 20 prompts"):
        main_train([data], tmp_path / "head.npz")
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    with pytest.raises(RecipeError, match=r"karat\[reward\]"):
        main_train([data], tmp_path / "head.npz")


@needs_data
def test_held_out_accuracy_beats_the_longer_answer() -> None:
    data = read_human([DATA / "helpsteer2" / "ratings.jsonl", DATA / "pairs" / "hh-helpful.jsonl"])
    _, figures = train_head(data.rated, data.pairs, settings=SMALL, repeats=1)
    rated = figures.pairs[0]
    assert rated.n > 300
    assert rated.value > rated.longer
    assert rated.low > 0.5
    correlations = {f.name: f.value for f in figures.attributes}
    assert correlations["verbosity"] > 0.6
    assert correlations["helpfulness"] > 0.2
    assert min(f.value for f in figures.spoiled) > 0.75


@needs_data
def test_the_shipped_head_on_sets_it_never_saw() -> None:
    reward = HeadReward()
    assert reward.head.meta["data"]["helpsteer2/ratings.jsonl"] == 1000
    data = read_human([DATA / "pairs" / "rewardbench-sample.jsonl"])
    won = [
        np.subtract(*reward.score(p.prompt, [p.chosen, p.rejected])[:, -1]) > 0 for p in data.pairs
    ]
    assert np.mean(won) > 0.72
    assert len(features.NAMES) == len(reward.head.linear.mean_F)
