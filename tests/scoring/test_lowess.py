"""LOWESS against statsmodels', and where that gives up."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.nonparametric.smoothers_lowess import lowess as reference

from karat.scoring.lowess import lowess


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(20, 150),
    span=st.floats(0.3, 1.0),
    rounds=st.integers(0, 3),
    step=st.sampled_from([0.0, 0.01, 0.05, 0.3]),
    shape=st.sampled_from(["scattered", "tied", "clustered"]),
    power=st.integers(-2, 3),
)
def test_equals_statsmodels(
    seed: int, n: int, span: float, rounds: int, step: float, shape: str, power: int
) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=n)
    # Where outliers are left out and all weight is at one x, statsmodels divides rounding errors by
    # 1e-12; windows of many x keep clear of that.
    assume(n * span >= 15 or not rounds)
    if shape == "tied":
        assume(n >= 60 and span >= 0.5)
        x = np.round(x * 8)  # a few points at each x
    elif shape == "clustered":
        x += np.where(random.random(n) < 0.3, 40, 0)
    x = x * 10.0**power
    y = np.sin(x / x.std()) + random.standard_t(2, size=n)  # heavy tails: the rounds matter
    delta = step * float(np.ptp(x))
    want = reference(y, x, frac=span, it=rounds, delta=delta, return_sorted=False)
    np.testing.assert_allclose(lowess(x, y, span, rounds, delta), want, rtol=0, atol=1e-9)


def test_the_default_step_is_a_hundredth_of_the_range() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=500), random.normal(size=500)
    want = reference(y, x, frac=2 / 3, it=3, delta=0.01 * np.ptp(x), return_sorted=False)
    np.testing.assert_allclose(lowess(x, y), want, rtol=0, atol=1e-9)
    close = lowess(x, y, delta=0.0)
    assert np.abs(close - want).max() < 0.01  # what is saved costs next to nothing


def test_neighbours_all_at_one_place_give_their_mean() -> None:
    x = np.array([1.0] * 30 + [5.0, 9.0])
    y = np.arange(32.0)
    assert lowess(x, y, 0.5, 0, 0.0)[0] == pytest.approx(14.5)
    assert lowess(np.full(7, 3.0), np.arange(7.0), 2 / 3, 0).tolist() == [3.0] * 7


def test_a_line_stays_a_line_and_wild_points_do_not_move_it() -> None:
    random = np.random.default_rng(2)
    x = random.uniform(0, 10, 400)
    y = 3 - 2 * x + random.normal(size=400) * 0.1
    wild = random.choice(400, 40, replace=False)
    y[wild] += 100
    off = np.abs(lowess(x, y) - (3 - 2 * x))
    assert off.max() < 0.2
    assert np.abs(lowess(x, y, rounds=0) - (3 - 2 * x)).max() > 5


def test_few_points_and_bad_ones() -> None:
    assert lowess(np.zeros(0), np.zeros(0)).tolist() == []
    assert lowess(np.array([2.0]), np.array([5.0])).tolist() == [5.0]
    np.testing.assert_allclose(lowess(np.array([1.0, 2.0]), np.array([5.0, 6.0])), [5, 6])
    for x, y in (([1.0, np.nan], [1.0, 2.0]), ([1.0, 2.0], [1.0, np.inf]), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="finite numbers, as many"):
            lowess(np.array(x), np.array(y))


def test_the_order_of_points_is_kept() -> None:
    random = np.random.default_rng(4)
    x, y = random.normal(size=100), random.normal(size=100)
    order = random.permutation(100)
    np.testing.assert_allclose(lowess(x[order], y[order]), lowess(x, y)[order], atol=1e-12)


def test_a_hundred_thousand_points_take_seconds() -> None:
    random = np.random.default_rng(0)
    x = np.log(random.integers(10, 4000, 100_000))
    y = np.sqrt(x) + random.normal(size=len(x))
    began = time.process_time()
    found = lowess(x, y)
    assert time.process_time() - began < 10  # it takes 0.3 on an idle core
    assert np.abs(found - np.sqrt(x)).mean() < 0.02
