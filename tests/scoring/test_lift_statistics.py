"""What one arm is ahead of another: against brute force, simulation, and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import mostly_slow
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from karat.scoring.lift import contrasts, effect, holm
from karat.scoring.lift_power import (
    detectable,
    planned,
    prompts_for,
    quantile,
    two_sided,
)


def students(random, seeds, prompts, *, interaction=0.3, seed_sd=0.0, noise=0.5, shift=0.0):
    """value_SP of one arm: its own lean on each prompt, its seeds' means, and noise."""
    return (
        shift
        + random.normal(0, interaction, prompts)
        + random.normal(0, seed_sd, (seeds, 1))
        + random.normal(0, noise, (seeds, prompts))
    )


@pytest.mark.parametrize(
    ("seed_sd", "seeds"), mostly_slow([(0.0, 3), (0.1, 3), (0.5, 3)], 3), ids=lambda v: str(v)
)
def test_chance_is_taken_for_a_difference_one_time_in_twenty(seed_sd, seeds):
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        arms = [students(random, seeds, 40, seed_sd=seed_sd) for _ in range(2)]
        wrong += effect(*arms, resamples=100).p < 0.05
    # .05 within three standard errors; where seeds do nothing, truncation makes it rarer.
    assert 0.0 < wrong / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_what_a_seed_does_to_both_arms_cancels():
    random = np.random.default_rng(2)
    common_S1 = random.normal(0, 2.0, (3, 1))
    arms = [students(random, 3, 60) for _ in range(2)]
    alone = effect(*arms)
    moved = effect(*(arm + common_S1 for arm in arms))
    assert moved.error == pytest.approx(alone.error, rel=1e-9)
    assert moved.difference.value == pytest.approx(alone.difference.value)


def test_the_error_is_that_of_new_prompts_and_new_seeds():
    """400 lifts drawn anew: the spread of their differences against the error each one tells."""
    random = np.random.default_rng(3)
    found = [
        effect(*(students(random, 4, 30, seed_sd=0.15) for _ in range(2)), resamples=50)
        for _ in range(400)
    ]
    spread = np.std([one.difference.value for one in found])
    told = math.sqrt(np.mean([one.error**2 for one in found]))
    assert told == pytest.approx(spread, rel=0.12)
    assert spread == pytest.approx(
        math.sqrt(2 * (0.3**2 / 30 + 0.15**2 / 4 + 0.5**2 / 120)), rel=0.1
    )


def test_without_seeds_it_is_the_paired_t_test():
    random = np.random.default_rng(4)
    first, second = random.normal(size=(1, 50)), random.normal(0.3, 1, size=(1, 50))
    found = effect(first, second, resamples=20_000)
    expected = stats.ttest_rel(first[0], second[0])
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue, rel=0.05)
    assert found.difference.low == pytest.approx(interval.low, rel=0.03)
    assert found.difference.high == pytest.approx(interval.high, rel=0.03)
    assert found.seeds == (1, 1)
    assert found.seeds_error == 0


def test_a_nested_bootstrap_drawn_by_hand_has_the_same_error():
    """The draws as the words say them, one by one, where prompts explain none of the seeds."""
    random = np.random.default_rng(5)
    prompts, seeds = 25, 4
    gap_SP = random.normal(size=prompts) + random.normal(0, 0.6, (seeds, 1))
    found = effect(gap_SP, np.zeros((seeds, prompts)), resamples=20_000)
    drawn = []
    for _ in range(5_000):
        p = random.integers(0, prompts, prompts)
        s = random.integers(0, seeds, seeds)
        means_S = gap_SP.mean(axis=1)
        enlarged = (means_S[s] - means_S.mean()).mean() * math.sqrt(seeds / (seeds - 1))
        drawn.append(gap_SP.mean(axis=0)[p].mean() + enlarged)
    assert found.error == pytest.approx(np.std(drawn), rel=0.03)


def test_the_same_values_give_no_error_and_no_difference():
    arm = np.ones((3, 10))
    found = effect(arm, arm)
    assert (found.difference.value, found.error, found.p) == (0, 0, 1)
    certain = effect(arm + 1, arm)
    assert (certain.difference.low, certain.p) == (1, 2 * 0.5**10)


@pytest.mark.parametrize(("differ", "shown"), [(2, False), (5, False), (6, True)])
def test_a_few_prompts_show_no_more_than_their_signs(differ, shown):
    """Two prompts that differ alike have no spread at all, and are a coin's work half the time."""
    for prompts in (differ, 100):
        arm = np.zeros((3, prompts))
        arm[:, :differ] = 1
        found = effect(arm, np.zeros((3, prompts)))
        assert found.p >= 2 * 0.5**differ
        assert (found.p < 0.05) is shown


def test_chance_is_no_more_often_a_difference_on_a_handful_of_prompts():
    random, wrong = np.random.default_rng(9), 0
    for _ in range(400):
        arms = [np.tile(random.integers(0, 2, 2).astype(float), (3, 1)) for _ in range(2)]
        wrong += effect(*arms, resamples=50).p < 0.05
    assert wrong == 0  # it was 49


def test_a_seed_of_draws_repeats_itself():
    random = np.random.default_rng(6)
    arms = [students(random, 3, 20) for _ in range(2)]
    assert effect(*arms, seed=5) == effect(*arms, seed=5)


@pytest.mark.parametrize(
    ("first", "second"),
    [(np.ones((1, 3)), np.ones((1, 4))), (np.ones((1, 1)), np.ones((1, 1))),
     (np.array([[1.0, math.nan]]), np.ones((1, 2)))],
)  # fmt: skip
def test_what_is_no_pair_of_arms_is_refused(first, second):
    with pytest.raises(ValueError, match=r"prompts|finite"):
        effect(first, second)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_steps_down(p):
    """At every level, those with an adjusted p below it are those the procedure rejects."""
    adjusted, order = holm(p), np.argsort(p, kind="stable")
    for level in (0.01, 0.05, 0.2, 0.5):
        rejected = set()
        for place, k in enumerate(order):
            if p[k] * (len(p) - place) >= level:
                break
            rejected.add(int(k))
        assert {k for k, one in enumerate(adjusted) if one < level} == rejected


def test_contrasts_are_corrected_together():
    random = np.random.default_rng(7)
    arms = {name: students(random, 3, 40, shift=x) for name, x in (("a", 0.5), ("b", 0), ("c", 0))}
    found = contrasts(arms, [("a", "b"), ("a", "c")], resamples=500)
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("a", "c")]
    assert [one.p_holm for one in found] == holm([one.effect.p for one in found])


# --- power ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "freedom"), [(0.975, 1.0), (0.8, 2.5), (0.9999, 4), (0.975, 80)])
def test_quantiles_are_those_of_student(share, freedom):
    assert quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-8)
    t = stats.t.ppf(share, freedom)
    assert two_sided(t, freedom) == pytest.approx(2 * (1 - share), rel=1e-6)


def test_a_small_effect_needs_196_prompts():
    """The figure of the field: 80% power at .05 for a paired d of .2, by the normal's 196.2."""
    assert prompts_for(0.2) == 197
    assert planned(10_000, 1, 1.0, 0.0).detectable == pytest.approx(2.802 / 100, rel=5e-3)


def test_the_power_planned_is_the_power_found():
    """A true difference of the planned size, in 200 lifts."""
    random, seed_sd = np.random.default_rng(8), 0.1
    plan = planned(
        60, 3, math.sqrt(2 * (0.3**2 + 0.5**2)), seed_sd, noise=0.5**2 / (0.3**2 + 0.5**2)
    )
    found = 0
    for _ in range(200):
        arms = [students(random, 3, 60, seed_sd=seed_sd, shift=x) for x in (plan.detectable, 0)]
        found += effect(*arms, resamples=200).p < 0.05
    assert found / 200 == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / 200))
    assert plan.error == pytest.approx(
        math.sqrt(2 * ((0.3**2 + 0.5**2 / 3) / 60 + seed_sd**2 / 3)), rel=1e-9
    )


def test_power_grows_with_prompts_and_seeds_and_falls_with_the_family():
    one = planned(50, 3, 0.5, 0.02, family=4)
    assert planned(200, 3, 0.5, 0.02).detectable < one.detectable < one.detectable_holm
    assert planned(50, 6, 0.5, 0.1).detectable < planned(50, 3, 0.5, 0.1).detectable
    assert detectable(0.1, 20) == pytest.approx(
        0.1 * (stats.t.ppf(0.975, 20) + stats.t.ppf(0.8, 20))
    )
    assert planned(50, 3, 0.0, 0.0).detectable == 0
    with pytest.raises(ValueError, match="two and one"):
        planned(1, 1, 0.5, 0.1)
