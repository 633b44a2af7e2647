"""The meter: what it recommends, when it warns, and how often it warns for nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from karat.intervals import Resamples
from karat.scoring.best_of import curves
from karat.scoring.overoptimisation import downturn, gao_fit, grouped, ladder, meter, recommend
from karat.scoring.tallies import GROUPS


def pool(prompts, n, seed, gold):
    """(counts, proxy scores, gold scores): gold is a function of the proxy and of noise."""
    random = np.random.default_rng(seed)
    proxy_PN, noise_PN = random.normal(size=(2, prompts, n))
    return np.full(prompts, n), proxy_PN.ravel(), gold(proxy_PN, noise_PN).ravel()


def faithful(proxy, noise):
    return 0.6 * proxy + 0.8 * noise


def hacked(proxy, noise):
    """Up to about 1.2σ a better answer, from there on a trick."""
    return np.where(proxy < 1.2, proxy, 2.4 - 3 * (proxy - 0.8)) + 0.5 * noise


def unrelated(proxy, noise):
    return noise


def test_a_faithful_reward_follows_its_prediction_and_is_not_warned_of():
    found = meter(*pool(600, 16, 1, faithful))
    assert [rung.k for rung in found.rungs] == list(range(1, 17))
    assert found.correlation == pytest.approx(0.6, abs=0.03)
    assert not found.warning
    assert found.recommended > 8
    for rung in found.rungs:
        assert rung.predicted == pytest.approx(rung.grading.value, abs=0.05)
        assert rung.held_predicted == pytest.approx(rung.held.value, abs=0.08)
        assert rung.held.low <= rung.held.value <= rung.held.high


def test_a_hacked_reward_is_warned_of_and_fewer_samples_recommended():
    found = meter(*pool(300, 16, 2, hacked))
    assert 1 < found.recommended <= found.peak < 10
    assert found.drop.high < 0
    assert found.p_drop < 0.01
    assert f"use no more than {found.peak}" in found.warning
    assert found.rungs[-1].grading.value > found.rungs[-2].grading.value  # its own still rises


def test_a_reward_that_says_nothing_gets_one_sample():
    assert meter(*pool(300, 16, 3, unrelated)).recommended == 1


def test_a_flat_curve_is_warned_of_one_time_in_twenty_though_its_peak_is_always_above():
    """400 flat worlds; at a level of .05 the standard error of the share is .011."""
    false = above = 0
    for seed in range(400):
        found = meter_of_flat(seed)
        false += found[0] <= 0.05
        above += found[1]
    assert above > 380
    assert 0.02 < false / 400 < 0.085


def meter_of_flat(seed):
    held_PK = curves(*pool(60, 8, seed, unrelated))
    mean_K = held_PK.mean(axis=0)
    return downturn(held_PK, seed, 400), mean_K.max() > mean_K[-1] or mean_K.argmax() == 7


def test_nothing_held_out_nothing_recommended():
    counts, scores, _ = pool(20, 4, 1, faithful)
    found = meter(counts, scores)
    assert (found.recommended, found.peak, found.drop, found.correlation) == (None,) * 4
    assert found.rungs[0].held is None


def test_prompts_with_few_samples_are_left_out_of_the_whole_curve():
    counts, scores, held = pool(50, 8, 1, faithful)
    few = np.concatenate([counts, [2, 3]])
    more = np.concatenate([scores, [9.0] * 5]), np.concatenate([held, [9.0] * 5])
    found = meter(few, *more)
    assert (found.prompts, found.left_out, found.rungs[-1].k) == (50, 2, 8)
    assert found.rungs == meter(counts, scores, held).rungs
    assert meter(few, *more, most=2).prompts == 52
    with pytest.raises(ValueError, match="fewer than two prompts have 9"):
        meter(few, *more, most=9)


def test_scores_that_do_not_differ_are_no_downturn():
    found = meter(np.full(5, 4), np.ones(20), np.ones(20))
    assert (found.p_drop, found.recommended, found.warning) == (1.0, 1, "")


def test_one_standard_error_is_paired():
    """Prompts differ by far more than k does; paired, the difference is plain."""
    rise_K = np.array([0.0, 0.5, 0.9, 1.0])

    def recommended(noise, seed):
        random = np.random.default_rng(seed)
        level_P1 = 100 * random.normal(size=(40, 1))
        return recommend(level_P1 + rise_K + noise * random.normal(size=(40, 4)))

    assert {recommended(0.01, seed) for seed in range(20)} == {4}
    assert sum(recommended(1.5, seed) < 4 for seed in range(20)) >= 10


def test_gaos_curve_is_found():
    d_K = np.sqrt([math.log(k) - (k - 1) / k for k in range(1, 65)])
    alpha, beta = gao_fit(d_K**2, d_K * (1.7 - 0.4 * d_K))
    assert (alpha, beta) == (pytest.approx(1.7), pytest.approx(0.4))


def test_long_curves_show_two_k_an_octave():
    assert ladder(5) == [1, 2, 3, 4, 5]
    assert ladder(100)[15:] == [16, 24, 32, 48, 64, 96, 100]


def test_groups_of_prompts_vary_as_the_prompts_do():
    """The mean is the same to the last digits, wherever the scale lies and however uneven groups
    are; the interval is as wide; and a large file is quick and small."""
    random = np.random.default_rng(5)
    values_PK = random.normal(size=(5_000, 2)) + 1e6
    found_GK = grouped(values_PK)
    assert found_GK.shape == (GROUPS, 2)
    assert found_GK.mean(axis=0) == pytest.approx(values_PK.mean(axis=0), abs=1e-7)
    error = values_PK.std(axis=0, ddof=1) / math.sqrt(5_000)
    assert found_GK.std(axis=0, ddof=1) / math.sqrt(GROUPS) == pytest.approx(error, rel=0.1)
    few = values_PK[:GROUPS]
    assert grouped(few) is few
    all_of_them = Resamples(5_000, 1, 2_000).mean(values_PK[:, 0])
    in_groups = Resamples(GROUPS, 1, 2_000).mean(found_GK[:, 0])
    width = all_of_them.high - all_of_them.low
    assert in_groups.high - in_groups.low == pytest.approx(width, rel=0.1)


def test_a_downturn_is_found_in_groups_as_well():
    p_drop = {}
    for gold in (hacked, faithful):
        counts, scores, values = pool(6_000, 8, 2, gold)
        p_drop[gold] = downturn(grouped(curves(counts, scores, values)), draws=400)
    assert p_drop[hacked] < 0.01 < p_drop[faithful]
