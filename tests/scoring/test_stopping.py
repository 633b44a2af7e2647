"""The stopping rule: gains equal integrals, priors find what made the draws, budgets are met."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from karat.scoring.stopping import (
    DEFAULT_SHAPE,
    SHAPES,
    Draws,
    Prior,
    Rule,
    cost_for_budget,
    falling_gains,
    gain,
    gains,
    posterior,
)

PRIOR = Prior(1.75, 2.2, 5.0, 0.2, 4.0)


def world(prior, prompts, draws, seed):
    """Draws of prompts that are as the prior says."""
    random = np.random.default_rng(seed)
    variance_P = prior.rate / random.gamma(prior.shape, size=prompts)
    mean_P = prior.mean + random.normal(size=prompts) * np.sqrt(variance_P / prior.strength)
    noise_PN = random.normal(size=(prompts, draws))
    return mean_P[:, None] + np.sqrt(variance_P)[:, None] * noise_PN


def predictive(scores, prior):
    """The Student t of the next draw, worked out by the textbook in another parametrisation."""
    n, mean = len(scores), float(np.mean(scores))
    kappa, nu = prior.strength + n, 2 * prior.shape + n
    mu = (prior.strength * prior.mean + n * mean) / kappa
    nu_sigma2 = (
        2 * prior.rate
        + float(np.sum((np.array(scores) - mean) ** 2))
        + prior.strength * n / kappa * (mean - prior.mean) ** 2
    )
    return stats.t(nu, mu, math.sqrt(nu_sigma2 / nu * (1 + 1 / kappa)))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0, 4), min_size=1, max_size=6),
    st.floats(0.05, 50),
    st.floats(0.6, 40),
    st.floats(0.05, 2),
    st.booleans(),
)
def test_a_gain_equals_numeric_integration(scores, strength, shape, spread, bounded):
    prior = Prior(2.0, strength, shape, shape * spread**2, 4.0 if bounded else math.inf)
    t, best = predictive(scores, prior), max(scores)
    scale = t.std() if shape > 1 else t.interval(0.9)[1]
    edge = 4.0 if bounded else math.inf
    expected = 0.0
    for low, high in ((best, min(best + 20 * scale, edge)), (best + 20 * scale, edge)):
        if low < high:
            expected += integrate.quad(t.sf, low, high, epsabs=1e-12, epsrel=1e-12, limit=500)[0]
    assert gain(scores, prior) == pytest.approx(expected, abs=1e-9 * max(1.0, scale))


def test_a_score_at_the_top_of_its_scale_stops_at_once():
    rule = Rule(0.0, 1, 50)
    assert not rule.go_on([4.0], PRIOR)
    assert rule.go_on([3.9], PRIOR)
    assert gain([1.0, 4.0, 2.0], PRIOR) == 0


def test_no_gain_is_more_than_what_is_left_above_the_best():
    wild = Prior(2.0, 0.5, 2.5, 1e4, 4.0)
    assert 0 < gain([3.5, 3.0], wild) <= 0.5


def test_least_and_most_bind_whatever_the_gain():
    assert Rule(math.inf, 3, 8).go_on([1.0, 1.0], PRIOR)
    assert Rule(math.inf, 1, 8).go_on([], PRIOR)
    assert not Rule(math.inf, 3, 8).go_on([1.0, 1.0, 1.0], PRIOR)
    assert not Rule(-1.0, 1, 3).go_on([0.0, 1.0, 0.5], PRIOR)


def test_a_higher_best_is_worth_fewer_draws_and_a_wider_spread_more():
    assert gain([1.5, 1.7, 2.4], PRIOR) < gain([1.5, 1.7, 1.8], PRIOR)
    narrow, wide = [1.70, 1.75, 1.80], [1.3, 1.75, 2.2]
    assert gain([*wide, 2.3], PRIOR) > gain([*narrow, 2.3], PRIOR)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9), st.randoms(use_true_random=False))
def test_a_decision_depends_on_the_draws_not_their_order(scores, random):
    mixed = random.sample(scores, len(scores))
    assert gain(mixed, PRIOR) == pytest.approx(gain(scores, PRIOR), rel=1e-9, abs=1e-12)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9))
def test_draws_added_one_by_one_are_the_draws_at_once(scores):
    one = Draws.of(np.array([scores[:1]]))
    for score in scores[1:]:
        one = one.add(np.array([score]))
    all_ = Draws.of(np.array([scores]))
    assert one.n == all_.n
    for name in ("mean_P", "squares_P", "best_P"):
        np.testing.assert_allclose(getattr(one, name), getattr(all_, name), atol=1e-7)


def test_a_replay_stops_where_the_rule_does():
    scores_PN = world(PRIOR, 40, 12, 3)
    for cost in (0.005, 0.03, 0.1):
        rule = Rule(cost, 2, 12)
        lengths = rule.lengths(scores_PN, PRIOR)
        for row, length in zip(scores_PN.tolist(), lengths, strict=True):
            n = 0
            while rule.go_on(row[:n], PRIOR):
                n += 1
            assert n == length
    with pytest.raises(ValueError, match="cannot replay up to 13"):
        Rule(0.1, 2, 13).lengths(scores_PN, PRIOR)


def test_one_draw_ahead_is_optimal_where_the_distribution_is_known():
    """Weitzman: no other threshold on the best gives more, less what its draws cost."""
    known = Prior(0.0, 1e6, 1e4, 1e4)
    random = np.random.default_rng(2)
    scores_PN = random.normal(size=(40_000, 60))
    best_PN, cost = np.maximum.accumulate(scores_PN, axis=1), 0.08
    rows = np.arange(len(scores_PN))

    def worth(lengths):
        return float((best_PN[rows, lengths - 1] - cost * lengths).mean())

    ours = worth(Rule(cost, 1, 60).lengths(scores_PN, known))
    others = [
        worth(1 + (best_PN[:, :-1] < level).sum(axis=1)) for level in np.arange(-0.5, 2.5, 0.05)
    ]
    assert ours == pytest.approx(max(others), abs=0.002)


def test_the_prior_is_what_made_the_pilot():
    pilot_PN = world(PRIOR, 4_000, 6, 1)
    found = Prior.from_pilot(np.full(4_000, 6), pilot_PN.ravel(), (0.0, 4.0))
    assert found.mean == pytest.approx(PRIOR.mean, abs=0.02)
    assert found.strength == pytest.approx(PRIOR.strength, rel=0.1)
    assert found.shape == pytest.approx(PRIOR.shape, rel=0.25)
    variance = PRIOR.rate / (PRIOR.shape - 1)
    assert found.rate / (found.shape - 1) == pytest.approx(variance, rel=0.05)
    assert found.high == 4.0


def test_heavy_tails_do_not_pass_for_different_spreads():
    """All prompts have one spread; scores have a kurtosis of 3."""
    pilot_PN = np.random.default_rng(4).laplace(size=(3_000, 6))
    found = Prior.from_pilot(np.full(3_000, 6), pilot_PN.ravel())
    assert found.shape > 10
    assert math.isinf(found.high)


def test_pilots_too_short_to_tell_spreads_apart_take_the_default():
    pilot_PN = world(PRIOR, 200, 3, 1)
    assert Prior.from_pilot(np.full(200, 3), pilot_PN.ravel()).shape == DEFAULT_SHAPE


def test_scores_all_alike_stop_at_once():
    prior = Prior.from_pilot(np.full(10, 4), np.full(40, 2.5), (0.0, 4.0))
    assert SHAPES[0] <= prior.shape <= SHAPES[1]
    assert gain([2.5, 2.5], prior) < 1e-12


def test_prompts_with_unequal_and_no_draws_make_a_prior():
    scores = world(PRIOR, 1, 13, 9)[0]
    counts = np.array([4, 0, 1, 5, 3])
    assert Prior.from_pilot(counts, scores) == Prior.from_pilot(counts[counts > 0], scores)


@pytest.mark.parametrize("budget", [2.5, 4.0, 6.0, 8.0])
def test_calls_meet_the_budget(budget):
    """The cost comes from a pilot; the calls are those of 20,000 other prompts of the kind."""
    pilot_PN = world(PRIOR, 300, 4, 1)
    counts = np.full(300, 4)
    prior = Prior.from_pilot(counts, pilot_PN.ravel(), (0.0, 4.0))
    cost = cost_for_budget(prior, counts, pilot_PN.ravel(), budget, least=2, most=16)
    taken = Rule(cost, 2, 16).lengths(world(PRIOR, 20_000, 16, 2), prior).mean()
    assert taken == pytest.approx(budget, rel=0.06)


@pytest.mark.parametrize("budget", [4.0, 5.0, 6.0])
@pytest.mark.parametrize(("passes", "fails"), [(0.3, 0.7), (0.2, 2.0), (1.0, 10.0)])
def test_verdicts_do_not_overdraw_the_budget(passes, fails, budget):
    random = np.random.default_rng(5)
    rate_P = random.beta(passes, fails, 10_000)
    verdict_PN = (random.random((10_000, 16)) < rate_P[:, None]).astype(np.float64)
    pilot_PN, counts = verdict_PN[:400, :4], np.full(400, 4)
    prior = Prior.from_pilot(counts, pilot_PN.ravel(), (0.0, 1.0))
    cost = cost_for_budget(prior, counts, pilot_PN.ravel(), budget, least=2, most=16)
    taken_P = Rule(cost, 2, 16).lengths(verdict_PN[400:], prior)
    # Rows with as many failures are all alike, so that they stop together: the last draw of all
    # that does not fit the budget is left out.
    assert budget - 1 < taken_P.mean() < 1.05 * budget
    first_P = np.where(verdict_PN.any(axis=1), verdict_PN.argmax(axis=1) + 1, 16)[400:]
    assert (taken_P <= np.maximum(first_P, 2)).all()


def test_a_cost_depends_on_nothing_but_what_is_given():
    pilot_PN = world(PRIOR, 30, 3, 1)
    counts = np.full(30, 3)
    costs = {cost_for_budget(PRIOR, counts, pilot_PN.ravel(), 5, least=3, most=9) for _ in "ab"}
    assert len(costs) == 1
    falling = [
        cost_for_budget(PRIOR, counts, pilot_PN.ravel(), b, least=3, most=9) for b in (3, 4, 6, 9)
    ]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == 0


@pytest.mark.parametrize(("budget", "least", "most"), [(1.9, 2, 8), (4.0, 4, 3), (3.0, 0, 8)])
def test_a_budget_that_cannot_be_is_refused(budget, least, most):
    with pytest.raises(ValueError, match="budget"):
        cost_for_budget(PRIOR, np.array([2]), np.array([1.0, 2.0]), budget, least=least, most=most)


def test_a_pilot_that_tells_nothing_is_refused():
    with pytest.raises(ValueError, match="two draws"):
        Prior.from_pilot(np.array([1, 1]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="finite"):
        Prior.from_pilot(np.array([2]), np.array([1.0, math.nan]))
    with pytest.raises(ValueError, match="first draw"):
        gain([], PRIOR)


def test_gains_of_many_are_the_gains_of_each():
    scores_PN = world(PRIOR, 20, 5, 8)
    many = gains(PRIOR, Draws.of(scores_PN))
    np.testing.assert_allclose(many, [gain(row, PRIOR) for row in scores_PN.tolist()], rtol=1e-12)
    falling = falling_gains(scores_PN, PRIOR, 2)
    assert falling.shape == (20, 3)
    assert (np.diff(falling, axis=1) <= 0).all()


def test_draws_to_come_follow_the_predictive():
    scores = [1.2, 2.0, 1.7]
    after = posterior(PRIOR, Draws.of(np.array([scores] * 4_000)))
    drawn = after.sample(np.random.default_rng(3), 1)[:, 0]
    assert stats.kstest(drawn, predictive(scores, PRIOR).cdf).pvalue > 0.01
