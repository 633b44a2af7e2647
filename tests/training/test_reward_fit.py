"""Fitting: the same numbers as scikit-learn, pairs by Newton's method, members that did not see."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.rewards.columns import RAW, Columns, part_of, principal_axes, read_raw
from karat.rewards.head_model import goodness
from karat.rewards.head_parts import standard_of
from karat.row import Message
from karat.training.corruptions import KINDS, TRAINED, ratings_of, spoil
from karat.training.objectives import bradley_terry
from karat.training.ratings import HumanData, Pair, Rated
from karat.training.reward_cross import folds_of
from karat.training.reward_figures import Outcomes
from karat.training.reward_fit import fit_heads
from karat.training.reward_linear import preference, ridge
from karat.training.reward_sample import _draws
from karat.training.reward_settings import Settings
from karat.training.reward_table import table_of
from karat.training.reward_trees import forest_of, sklearn_forest
from karat.training.reward_unseen import line_of

pytest.importorskip("sklearn")

PROMPT = (Message("user", "Q"),)


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_numpy_forest_equals_scikit_learn(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    x_NF = rng.normal(size=(60, 7)).round(1)
    members = [
        [
            sklearn_forest(trees, 2, 0.5, seed + m).fit(x_NF, rng.normal(size=(60, 5)))
            for trees in (5, 2)
        ]
        for m in (0, 1)
    ]
    new_NF = rng.normal(size=(rows, 7)).round(1)
    said_NMA = forest_of(members).predict(new_NF)
    for m, forests in enumerate(members):
        sum_NA = sum(forest.predict(new_NF) for forest in forests)
        np.testing.assert_allclose(said_NMA[:, m], sum_NA, atol=1e-6)


def test_ridge_equals_scikit_learn_and_leaves_out_what_is_not_rated() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    z_NF, y_NA, weight_N = rng.normal(size=(80, 6)), rng.normal(size=(80, 5)), rng.random(80)
    y_NA[:30, 1], y_NA[:, 2], y_NA[7, 3] = np.nan, np.nan, np.nan
    weight_FA, bias_A = ridge(z_NF, y_NA, weight_N, 3.0)
    for a in (0, 1, 3, 4):
        rated = np.isfinite(y_NA[:, a])
        oracle = Ridge(3.0).fit(z_NF[rated], y_NA[rated, a], sample_weight=weight_N[rated])
        said = z_NF @ weight_FA[:, a] + bias_A[a]
        np.testing.assert_allclose(said, oracle.predict(z_NF), atol=1e-6)
    assert not weight_FA[:, 2].any()


def test_every_prompt_is_kept_from_a_fifth_of_the_members() -> None:
    group_R, group_P = (np.array([f"{name}{i // 2}" for i in range(60)]) for name in "ab")
    rows, pairs = _draws(group_R, group_P, Settings(members=10))
    assert (rows.sum(axis=0) == 8).all()
    assert (pairs.sum(axis=0) == 8).all()
    assert (rows[:, ::2] == rows[:, 1::2]).all()
    assert len(np.unique(rows, axis=0)) == 10
    assert (_draws(group_R, group_P, Settings(members=1))[0] == 1).all()


@pytest.mark.parametrize("kind", ["bt", "margin", "scaled"])
def test_newton_finds_where_the_slope_of_the_objective_is_nothing(kind) -> None:
    rng = np.random.default_rng(1)
    step, strength = rng.normal(size=(70, 5)), rng.integers(1, 4, 70).astype(float)
    count, gap = rng.integers(0, 3, 70).astype(float), rng.normal(size=70)
    penalty = np.full(5, 2.0)
    weight = preference(step, strength, count, penalty, kind, gap_P=gap)
    times = count.astype(int)
    drawn, strengths = np.repeat(step, times, axis=0), np.repeat(strength, times)
    loss = bradley_terry(drawn @ weight + np.repeat(gap, times), strengths, kind)
    slope = drawn.T @ loss.gradient * len(drawn) + penalty * weight
    np.testing.assert_allclose(slope, 0, atol=1e-4)


def test_newton_equals_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    step = rng.normal(size=(60, 4)) + np.array([0.3, 0, 0, -0.2])
    found = preference(step, np.ones(60), np.ones(60), np.full(4, 5.0), "bt")
    oracle = LogisticRegression(C=1 / 10, fit_intercept=False, tol=1e-8)
    oracle.fit(np.concatenate([step, -step]), np.repeat([1, 0], 60))
    np.testing.assert_allclose(found, oracle.coef_[0], atol=1e-4)


def test_a_line_makes_slope_one_and_intercept_nothing() -> None:
    rng = np.random.default_rng(3)
    human = rng.normal(2, 1, (200, 2))
    said = 0.5 * human + 1.5 + rng.normal(0, 0.1, (200, 2))
    human[5, 0] = said[6, 1] = np.nan
    again = line_of(line_of(said, human)(said), human)
    np.testing.assert_allclose(again.slope_A, 1, atol=1e-6)
    np.testing.assert_allclose(again.intercept_A, 0, atol=1e-6)


def test_principal_axes_are_scikit_learns() -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(50, 8)) * np.arange(1, 9)
    mean, *axes = principal_axes(vectors, 3)
    oracle = PCA(3, whiten=True).fit(vectors)
    ours = (vectors - mean) @ np.array(axes).T
    np.testing.assert_allclose(
        np.abs(ours), np.abs(oracle.transform(vectors)), rtol=0.05, atol=0.05
    )


def test_columns_of_a_row_do_not_depend_on_its_neighbours() -> None:
    raw = read_raw(PROMPT, ["One.", "Two, or three words.", ""])
    axes = {part: principal_axes(part_of(raw, part), 2) for part in ("response", "product")}
    columns = Columns(True, axes)
    together = columns.of(raw)
    assert together.shape == (3, len(columns.names))
    assert raw.shape == (3, RAW)
    assert np.array_equal(columns.of(raw[1:2]), together[1:2])
    assert columns.names[-1] == "cosine"


def rows_of(count: int) -> list[Rated]:
    rng = np.random.default_rng(5)
    made = []
    for i in range(count):
        prompt, group = (Message("user", f"What is thing {i}?"),), f"g{i}"
        for words in rng.integers(2, 40, 2):
            mark = min(4.0, words / 10)
            text = f"Thing {i} is " + " ".join(["useful"] * words) + "."
            made.append(Rated(prompt, text, (mark, mark, 3.0, 2.0, float("nan")), group))
    return made


def test_members_disagree_where_they_have_seen_nothing_alike() -> None:
    rows = rows_of(40)
    pairs = [Pair(r.prompt, r.response, "No.", r.group, 2.0) for r in rows[::4]]
    table = table_of(HumanData(rows, pairs), 7)
    small = Settings(members=6, trees=24, representation="surface", ridge=3, pair_ridge=30)
    everything = np.ones(len(rows), bool), np.ones(len(pairs), bool)
    heads = fit_heads(table, small, ["regression", "regression+scaled", "scaled"], *everything)
    for objective, head in heads.items():
        votes = head.votes(table.raw_RW.astype(float), debiased=False)
        assert votes.shape == (80, 6, 6 if objective != "scaled" else 1)
        assert votes[:, :, -1].std(axis=1).min() > 0
        better, worse = votes[table.better_Q, :, -1].mean(1), votes[table.worse_Q, :, -1].mean(1)
        assert (better > worse).mean() > 0.9, objective
    plain = replace(heads["regression"], length=None).predict(table.raw_RW.astype(float))
    assert np.corrcoef(plain[:, 0], table.y_RA[:, 0])[0, 1] > 0.8
    np.testing.assert_allclose(plain[:, 4], 0, atol=1e-9)  # verbosity was never rated
    np.testing.assert_allclose(plain[:, 5], goodness(plain[:, :5]), atol=1e-6)


def test_a_taste_for_length_can_be_taken_off() -> None:
    rows = rows_of(40)
    table = table_of(HumanData(rows), 7)
    small = Settings(members=6, trees=24, representation="surface", ridge=3, pair_ridge=30)
    everything = np.ones(len(rows), bool), np.ones(0, bool)
    head = fit_heads(table, small, ["regression"], *everything)["regression"]
    raw = table.raw_RW.astype(float)
    before, after = (head.votes(raw, debiased=d)[:, :, -1].mean(1) for d in (False, True))
    length = table.raw_RW[:, 0]
    assert np.corrcoef(before, length)[0, 1] > 0.8
    assert abs(np.corrcoef(after, length)[0, 1]) < 0.3
    flat = replace(head, length=None)
    assert np.array_equal(flat.votes(raw), head.votes(raw, debiased=False))


def test_folds_keep_a_prompt_on_one_side() -> None:
    rows = [Rated(PROMPT, str(i), (1.0,) * 5, f"g{i // 3}") for i in range(30)]
    pairs = [Pair(PROMPT, "a", "b", f"g{i}") for i in range(15)]
    table = table_of(HumanData(rows, pairs), seed=1, spoiled=False)
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


@given(st.text(max_size=200), st.text(max_size=80), st.text(max_size=200), st.randoms())
@settings(max_examples=25, deadline=None)
def test_spoiling_never_fails_and_never_raises_a_rating(a: str, b: str, c: str, rng) -> None:
    assert tuple(sorted(spoil(a, b, c, rng))) == tuple(sorted(KINDS))
    for kind in TRAINED:
        lowered = ratings_of(kind, np.array([3.0, 3, 3, 2, 2]))
        assert (lowered[:3] <= 3).all()
        assert (lowered >= 0).all()


def test_standardising_is_bounded() -> None:
    x_NF = np.random.default_rng(6).normal(size=(100, 3))
    standard = standard_of(x_NF)
    assert np.abs(standard(x_NF * 1e6)).max() <= 3
