"""Debiasing finds the bias that was put in, and nothing where there is none."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.nonparametric.smoothers_lowess import lowess as reference

from karat.scoring.debias import dependence, fit_bias, flips, on_grid
from karat.scoring.lowess import lowess

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def taste(length_R: Floats) -> Floats:
    """A reward's taste for length: steep at first, then flat."""
    return 2 * np.tanh((length_R - 5) / 1.5)


def pool(prompts: int, n: int, seed: int, offsets: float = 0.0) -> tuple[Floats, Ints, Floats]:
    """(quality_R, prompt_R, length_R): prompts that ask for longer answers, by as much lower."""
    random = np.random.default_rng(seed)
    prompt_R = np.repeat(np.arange(prompts), n)
    long_P = random.normal(size=prompts)
    length_R = 5.5 + 0.8 * long_P[prompt_R] + 0.8 * random.normal(size=len(prompt_R))
    quality_R = random.normal(size=len(prompt_R)) - offsets * long_P[prompt_R]
    return quality_R, prompt_R, length_R


def test_for_length_alone_it_is_the_lowess_of_the_paper() -> None:
    quality, prompt, length = pool(200, 4, 0)
    score = quality + taste(length)
    found = fit_bias(score, prompt, length, None, within=False)
    want = reference(score, length, frac=2 / 3, it=3, delta=0.01 * np.ptp(length))
    at = np.interp(length, want[:, 0], want[:, 1])
    np.testing.assert_allclose(found.bias, at - at.mean(), rtol=0, atol=1e-9)
    assert found.turns == 1
    assert abs(found.bias.mean()) < 1e-12  # so the mean stays, and nothing is clipped


def test_a_bias_of_length_is_found_and_taken_off() -> None:
    quality, prompt, length = pool(2000, 4, 1)
    score = quality + taste(length)
    debiased = score - fit_bias(score, prompt, length, None, within=False).bias
    assert np.corrcoef(debiased, quality)[0, 1] > 0.98
    assert np.corrcoef(score, quality)[0, 1] < 0.75
    assert abs(stats.spearmanr(debiased, length).statistic) < 0.05
    assert debiased.mean() == pytest.approx(score.mean())


def test_within_prompts_the_level_of_a_prompt_is_not_taken_for_a_bias() -> None:
    """Prompts that ask for long answers are hard. Across prompts that hides the taste for length;
    a score that compares within a prompt only could have any level at all there."""
    quality, prompt, length = pool(3000, 4, 2, offsets=1.6)
    score = quality + taste(length)
    truth = taste(length) - taste(length).mean()
    across = fit_bias(score, prompt, length, None, within=False)
    inside = fit_bias(score, prompt, length, None, within=True)
    assert np.abs(across.bias - truth).mean() > 0.4
    assert np.abs(inside.bias - truth).mean() < 0.1
    random = np.random.default_rng(0)
    anywhere = fit_bias(
        score + 50 * random.normal(size=3000)[prompt], prompt, length, None, within=True
    )
    np.testing.assert_allclose(anywhere.bias, inside.bias, atol=0.02)


def test_prompts_with_one_answer_say_nothing_within() -> None:
    quality, prompt, length = pool(300, 3, 3)
    score = quality + taste(length)
    alone = np.arange(300, 400)
    more = fit_bias(
        np.append(score, np.full(100, 1e6)), np.append(prompt, alone),
        np.append(length, np.linspace(4, 7, 100)), None, within=True,
    )  # fmt: skip
    fewer = fit_bias(score, prompt, length, None, within=True)
    gap = more.bias[: len(score)] - fewer.bias
    np.testing.assert_allclose(gap, gap[0], atol=1e-9)  # only the mean is over more of them


def test_formatting_and_length_are_told_apart() -> None:
    quality, prompt, length = pool(2000, 4, 4)
    random = np.random.default_rng(4)
    style = np.stack([np.maximum(0, length - 5 + random.normal(size=len(length))),
                      random.poisson(1, len(length)).astype(float),
                      np.zeros(len(length))], axis=1)  # fmt: skip
    score = quality + taste(length) + style @ np.array([0.5, -0.3, 9.0])
    for within in (False, True):
        found = fit_bias(score, prompt, length, style, within=within)
        assert found.slopes is not None
        np.testing.assert_allclose(found.slopes, [0.5, -0.3, 0.0], atol=0.08)
        assert np.corrcoef(score - found.bias, quality)[0, 1] > 0.98
    only = fit_bias(quality + style @ np.array([0.5, 0, 0]), prompt, None, style, within=False)
    assert only.curve is None
    assert only.slopes is not None
    np.testing.assert_allclose(only.slopes, [0.5, 0, 0], atol=0.05)


def test_where_there_is_no_bias_little_is_taken_off() -> None:
    quality, prompt, length = pool(1000, 4, 5)
    for within in (False, True):
        found = fit_bias(quality, prompt, length, None, within=within)
        assert found.bias.std() < 0.08 * quality.std()


def test_nothing_and_constant_scores() -> None:
    none = np.zeros(0)
    for within in (False, True):
        empty = fit_bias(none, np.zeros(0, np.int64), none, np.zeros((0, 2)), within=within)
        assert len(empty.bias) == 0
        prompt = np.repeat(np.arange(10), 4)
        flat = fit_bias(np.full(40, 2.5), prompt, np.arange(40.0), None, within=within)
        assert np.abs(flat.bias).max() < 1e-12
    single = fit_bias(np.arange(5.0), np.arange(5), np.arange(5.0), None, within=True)
    assert single.bias.tolist() == [0.0] * 5  # no prompt has two answers: nothing is known


def test_the_grid_follows_the_curve() -> None:
    quality, prompt, length = pool(200, 4, 6)
    score = quality + taste(length)
    found = fit_bias(score, prompt, length, None, within=False)
    assert found.curve is not None
    grid, height = on_grid(found.curve, 11)
    assert (grid[0], grid[-1]) == (length.min(), length.max())
    order = np.argsort(length)
    curve = lowess(length, score - score.mean())[order]
    level = found.curve[1].mean() - curve.mean()
    np.testing.assert_allclose(height - level, np.interp(grid, length[order], curve), atol=1e-9)


def test_a_hundred_thousand_answers_take_seconds() -> None:
    quality, prompt, length = pool(25_000, 4, 7)
    began = time.process_time()
    fit_bias(quality + taste(length), prompt, length, None, within=False)
    assert time.process_time() - began < 10


# --- before and after ----------------------------------------------------------------------------

FEW = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 5)), min_size=2, max_size=30
)


@given(FEW)
def test_dependence_equals_scipy(rows: list[tuple[int, int, int]]) -> None:
    score, length, prompt = (
        np.array(c, float) for c in np.array(sorted(rows, key=lambda r: r[2])).T
    )
    found = dependence(score, length, prompt.astype(int), within=False)
    if len(set(score)) > 1 and len(set(length)) > 1:
        assert found["pearson"] == pytest.approx(stats.pearsonr(score, length).statistic, abs=1e-9)
        rank = stats.spearmanr(score, length).statistic
        assert found["spearman"] == pytest.approx(rank, abs=1e-9)
        slope = stats.linregress(length, score).slope * np.log(2) / score.std()
        assert found["sigma_per_doubling"] == pytest.approx(slope, abs=1e-9)
    else:
        assert found == {"pearson": None, "spearman": None, "sigma_per_doubling": None}


def test_dependence_within_prompts_ignores_their_levels() -> None:
    quality, prompt, length = pool(400, 4, 8)
    score = quality + length
    shifted = score + np.random.default_rng(0).normal(size=400)[prompt] * 100
    inside = dependence(score, length, prompt, within=True)
    assert dependence(shifted, length, prompt, within=True) == pytest.approx(inside)
    assert (
        abs(dependence(shifted, length, prompt, within=False)["pearson"]) < 0.2 < inside["pearson"]
    )


@given(FEW, st.integers(0, 2**32 - 1))
def test_flips_by_hand(rows: list[tuple[int, int, int]], seed: int) -> None:
    rows = sorted(rows, key=lambda r: r[2])
    prompt = np.array([r[2] for r in rows])
    before = np.array([float(r[0]) for r in rows])
    after = before + np.random.default_rng(seed).normal(size=len(rows))
    pairs = flipped = changed = several = 0
    for one in np.unique(prompt):
        at = np.flatnonzero(prompt == one)
        several += len(at) > 1
        changed += len(at) > 1 and before[at].argmax() != after[at].argmax()
        for i, j in combinations(at, 2):
            pairs += before[i] != before[j]
            flipped += (before[i] - before[j]) * (after[i] - after[j]) < 0
    found = flips(before, after, prompt)
    assert found["pairs"] == pairs
    assert found["flipped"] == (pytest.approx(flipped / pairs) if pairs else None)
    assert found["best_changed"] == (pytest.approx(changed / several) if several else None)
