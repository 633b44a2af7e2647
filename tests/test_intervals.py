"""Intervals cover what they promise, pair by pair, and agree with an independent program."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from karat.intervals import Interval, Resamples, _t, difference, prompts_needed, share


def test_a_mean_agrees_with_scipy():
    values = np.random.default_rng(1).gamma(2.0, size=400)
    ours = Resamples(400, 7).mean(values)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_few_skewed_values_agree_with_scipy_at_the_widened_level():
    values = np.random.default_rng(8).exponential(size=30)
    ours = Resamples(30, 7).mean(values)
    level = 2 * stats.norm.cdf(math.sqrt(30 / 29) * stats.t.ppf(0.975, 29)) - 1
    theirs = {
        method: stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method=method, confidence_level=level,
            rng=np.random.default_rng(2),
        ).confidence_interval
        for method in ("BCa", "percentile")
    }  # fmt: skip
    width = theirs["BCa"].high - theirs["BCa"].low
    assert ours.low == pytest.approx(theirs["BCa"].low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs["BCa"].high, abs=0.03 * width)
    assert theirs["BCa"].high - theirs["percentile"].high > 0.06 * width  # the two do differ


def test_a_ratio_agrees_with_scipy():
    random = np.random.default_rng(3)
    cost = random.lognormal(size=300)
    accepted = (random.random(300) < 0.6).astype(float)
    ours = Resamples(300, 7).ratio(cost, accepted)
    theirs = stats.bootstrap(
        (cost, accepted), lambda c, a, axis=-1: c.sum(axis) / a.sum(axis), paired=True,
        n_resamples=10_000, method="BCa", rng=np.random.default_rng(4),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def normal(random, rows):
    return random.normal(1.0, 2.0, rows), np.ones(rows)


def skewed(random, rows):
    return random.exponential(1.0, rows), np.ones(rows)


def cost_per_accepted(random, rows):
    return random.lognormal(0.0, 0.5, rows), (random.random(rows) < 0.5).astype(float)


@pytest.mark.parametrize(
    ("draw", "truth", "rows", "least"),
    [
        (normal, 1.0, 20, 0.93),
        (normal, 1.0, 100, 0.935),
        (skewed, 1.0, 50, 0.925),
        (cost_per_accepted, 2 * math.exp(0.125), 100, 0.93),
    ],
)
def test_95_percent_intervals_cover_the_truth_95_times_of_100(draw, truth, rows, least):
    """1,000 worlds; the standard error of the share is .007, so .97 and `least` bound it."""
    random = np.random.default_rng(11)
    draws = Resamples(rows, 5, 2_000)
    inside = 0
    for _ in range(1_000):
        found = draws.ratio(*draw(random, rows))
        inside += found.low <= truth <= found.high
    assert least <= inside / 1_000 <= 0.97


def test_pairing_takes_out_what_prompts_have_in_common():
    random = np.random.default_rng(6)
    hardness = random.normal(0, 1, 200)
    first = hardness + random.normal(0.1, 0.1, 200)
    second = hardness + random.normal(0, 0.1, 200)
    draws = Resamples(200, 1)
    apart = draws.mean(first - second)
    assert 0 < apart.low < 0.1 < apart.high < 0.15
    alone = draws.mean(first)
    assert alone.high - alone.low > 5 * (apart.high - apart.low)


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly():
    values = np.random.default_rng(1).normal(size=50)
    one, same, other = (Resamples(50, seed).mean(values) for seed in (7, 7, 8))
    assert one == same
    assert other != one
    assert other.low == pytest.approx(one.low, abs=0.03)
    assert Resamples(50, -3).mean(values).low == pytest.approx(one.low, abs=0.03)


def test_a_figure_that_never_varies_has_no_width():
    for value in (0.1, 3.0, 1e9, 0.0):
        found = Resamples(30, 1).mean(np.full(30, value))
        assert (found.low, found.high) == pytest.approx((value, value))


def test_hardly_anything_accepted_leaves_the_end_open():
    accepted = np.zeros(40)
    assert Resamples(40, 1).ratio(np.ones(40), accepted).value == math.inf
    assert Resamples(40, 1).ratio(np.zeros(40), accepted).value == math.inf
    accepted[3] = 1
    found = Resamples(40, 1).ratio(np.ones(40), accepted)
    assert found.value == 40
    assert 10 <= found.low < 40
    assert found.high == math.inf


def test_one_prompt_says_nothing_about_others():
    assert Resamples(1, 1).mean(np.array([2.0])) == Interval(2.0, -math.inf, math.inf)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.998])
@pytest.mark.parametrize("freedom", [4, 9, 30, 1_000])
def test_students_t(level, freedom):
    error = 0.01 if level < 0.99 else 0.7 if freedom == 4 else 0.02
    assert _t(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), abs=error)


def test_prompts_needed_gives_the_textbook_number():
    z = np.random.default_rng(1).normal(size=1_000)
    z = (z - z.mean()) / z.std(ddof=1)
    assert prompts_needed(z + 0.2) == 197  # FACTS §8: about 196; 196.2 rounded up
    assert prompts_needed(-(z + 0.2)) == 197
    assert prompts_needed(z - z) is None


def test_prompts_needed_has_the_power_it_promises():
    """2,000 worlds of that many prompts: a difference is found in 80% of them."""
    random = np.random.default_rng(9)
    needed = prompts_needed(np.array([-1.0, 1.0] * 500) + 0.4)
    worlds = random.normal(0.4, 1.0, (2_000, needed))
    z = worlds.mean(axis=1) / (worlds.std(axis=1, ddof=1) / math.sqrt(needed))
    assert (z > 1.96).mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("count", "rows"), [(0, 60), (60, 60), (7, 10), (1, 2), (300, 1_000)])
def test_a_share_has_wilsons_interval(count, rows):
    found = share(count, rows)
    theirs = stats.binomtest(count, rows).proportion_ci(0.95, method="wilson")
    assert found.value == count / rows
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert found.low < found.high


@pytest.mark.parametrize(("these", "those"), [(40, 60), (8, 200), (500, 500)])
def test_a_difference_agrees_with_scipys_welch_test(these, those):
    random = np.random.default_rng(3)
    a, b = random.normal(1.0, 2.0, these), random.normal(0.5, 0.7, those)
    samples = [(len(x), float(x.mean()), float(x.var(ddof=1))) for x in (a, b)]
    found = difference(*samples)
    theirs = stats.ttest_ind(a, b, equal_var=False)
    limits = theirs.confidence_interval(0.95)
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=5e-3)


def test_two_rows_tell_no_difference():
    assert difference((2, 1.0, 0.1), (50, 0.0, 1.0)) is None
    assert difference((3, 1.0, 0.0), (3, 0.5, 0.0)) == Interval(0.5, 0.5, 0.5)
