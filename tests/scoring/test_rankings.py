"""Kendall's τ_b equals scipy's, within prompts as well; intervals are those of plain resampling."""

from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import pytest
from conftest import mostly_slow
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from karat.intervals import Resamples
from karat.scoring.rankings import kendall_tau, pair_agreement, tau_within

Floats = NDArray[np.float64]
EXACT = 1e-9


@st.composite
def graded(draw: st.DrawFn) -> tuple[Floats, NDArray[np.int64], int]:
    """scores_R2 with ties and gaps, prompt_R in any order, and how many prompts."""
    responses, prompts = draw(st.integers(0, 40)), draw(st.integers(1, 8))
    number = st.one_of(
        st.integers(0, 4).map(float), st.floats(-1e6, 1e6, width=32), st.just(np.nan)
    )
    scores = draw(arrays(np.float64, (responses, 2), elements=number))
    places = st.integers(0, prompts - 1)
    return scores, draw(arrays(np.int64, responses, elements=places)), prompts


def scipys(x: Floats, y: Floats) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(stats.kendalltau(x, y, nan_policy="omit").statistic)


@given(graded())
def test_tau_equals_scipys(given_: tuple[Floats, NDArray[np.int64], int]) -> None:
    scores, prompt_R, prompts = given_
    ours = kendall_tau(*scores.T, prompt_R, prompts).value
    theirs = scipys(*scores[~np.isnan(scores).any(axis=1)].T)
    if np.isnan(theirs):
        assert ours is None
    else:
        assert ours == pytest.approx(theirs, abs=EXACT)


@given(graded())
def test_tau_of_one_prompt_is_the_same_within_it(
    given_: tuple[Floats, NDArray[np.int64], int],
) -> None:
    scores, _, _ = given_
    ours = tau_within(*scores.T, np.zeros(len(scores), np.int64), 1).value
    theirs = scipys(*scores[~np.isnan(scores).any(axis=1)].T)
    if np.isnan(theirs):
        assert ours is None
    else:
        assert ours == pytest.approx(theirs, abs=EXACT)


@given(graded())
def test_pairs_within_prompts_equal_counting_them(
    given_: tuple[Floats, NDArray[np.int64], int],
) -> None:
    scores, prompt_R, prompts = given_
    same = opposite = apart_x = apart_y = 0
    for i, j in itertools.combinations(range(len(scores)), 2):
        if prompt_R[i] == prompt_R[j] and not np.isnan(scores[[i, j]]).any():
            x, y = np.sign(scores[i] - scores[j])
            same += x * y > 0
            opposite += x * y < 0
            apart_x += x != 0
            apart_y += y != 0
    agreement = pair_agreement(*scores.T, prompt_R, prompts).value
    tau = tau_within(*scores.T, prompt_R, prompts).value
    if same + opposite:
        assert agreement == pytest.approx(same / (same + opposite), abs=EXACT)
    else:
        assert agreement is None
    if apart_x and apart_y:
        assert tau == pytest.approx((same - opposite) / np.sqrt(apart_x * apart_y), abs=EXACT)
    else:
        assert tau is None


def world(prompts: int, seed: int, each: int = 4) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Two graders, prompts of unequal hardness: responses of one prompt are alike."""
    random = np.random.default_rng(seed)
    prompt_R = np.repeat(np.arange(prompts), each)
    common = random.normal(size=prompts)[prompt_R] + random.normal(size=prompts * each)
    x, y = (np.round(common + random.normal(size=prompts * each), 1) for _ in range(2))
    return x, y, prompt_R


@pytest.mark.parametrize("prompts", mostly_slow([40, 150], 2))
def test_the_interval_of_tau_is_that_of_drawing_prompts_and_counting_again(prompts: int) -> None:
    x, y, prompt_R = world(prompts, 3)
    ours = kendall_tau(x, y, prompt_R, prompts).interval(Resamples(prompts, 1, 4_000))
    random, redrawn = np.random.default_rng(5), []
    for _ in range(2_000):
        rows = (random.integers(0, prompts, prompts)[:, None] * 4 + np.arange(4)).ravel()
        redrawn.append(scipys(x[rows], y[rows]))
    low, high = np.quantile(redrawn, [0.025, 0.975])
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_the_interval_of_tau_covers_the_truth() -> None:
    """300 worlds of 60 prompts; the standard error of the share is .013."""
    x, y, _ = world(2_000, 99)
    truth = scipys(x, y)
    inside = 0
    for seed in range(300):
        found = kendall_tau(*world(60, seed), 60).interval(Resamples(60, seed, 1_000))
        assert found is not None
        inside += found.low <= truth <= found.high
    assert inside / 300 >= 0.91


def test_graders_that_never_vary_have_no_order_to_agree_on() -> None:
    x, flat, prompt_R = np.arange(6.0), np.full(6, 2.0), np.repeat(np.arange(3), 2)
    for statistic in (kendall_tau, tau_within, pair_agreement):
        for pair in ((x, flat), (flat, flat), (x, np.full(6, np.nan)), (x[:0], x[:0])):
            found = statistic(*pair, prompt_R[: len(pair[0])], 3)
            assert found.value is None
            assert found.interval(Resamples(3, 1, 100)) is None


def test_a_hundred_thousand_responses_take_seconds() -> None:
    """Counting pairs one by one would be five thousand million."""
    random = np.random.default_rng(1)
    x = random.normal(size=100_000)
    start = time.process_time()
    ours = kendall_tau(x, x + random.normal(size=len(x)), np.arange(len(x)), len(x)).value
    assert time.process_time() - start < 5
    assert ours == pytest.approx(0.5, abs=0.01)  # correlation √½: 2/π·asin
