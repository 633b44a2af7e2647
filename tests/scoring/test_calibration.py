"""Calibration: thresholds that keep their promise, against plain references and in simulation."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from conftest import mostly_slow
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from karat.scoring.calibration import (
    Calibration,
    binomial_cdf,
    calibrate,
    cascade,
    confidence,
    first_size,
    fit_slope,
    lowest_threshold,
    upper_bound,
)

RATE = st.floats(0.01, 0.99)


def calibrated(margins, chosen, **params):
    """A cascade whose graders have an answer to every pair, and how many each was asked about."""
    asked = dict.fromkeys(margins, 0)
    asking = cascade(list(margins), chosen, **params)
    name, places = next(asking)
    while True:
        asked[name] += len(places)
        try:
            name, places = asking.send(margins[name][places])
        except StopIteration as ended:
            return ended.value, asked


def decide(calibrations, margins):
    """(choice, by): as a route decides pairs, −1 where nobody is trusted."""
    count = len(next(iter(margins.values())))
    choice, by = np.zeros(count, np.int64), np.full(count, -1)
    for place, one in enumerate(calibrations):
        new = (by < 0) & one.trusts(margins[one.grader])
        choice[new], by[new] = np.sign(margins[one.grader][new]), place
    return choice, by


@given(st.integers(-1, 300), st.integers(1, 300), RATE)
def test_binomial_cdf_equals_scipys(k, n, p):
    assert binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-9, abs=1e-12)


@given(st.integers(1, 300), st.data(), st.floats(0.001, 0.5))
def test_upper_bound_equals_clopper_and_pearsons(n, data, risk):
    errors = data.draw(st.integers(0, n))
    wanted = 1.0 if errors == n else stats.beta.ppf(1 - risk, errors + 1, n - errors)
    assert upper_bound(errors, n, risk) == pytest.approx(wanted, abs=1e-9)


PAIRS = st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=60)


@given(PAIRS, st.floats(0.1, 10))
def test_the_slope_is_the_likeliest(pairs, sigma):
    margins = np.array([float(m) for m, _ in pairs])
    agrees = np.array([a for _, a in pairs])
    right, wrong = agrees.sum(), (~agrees).sum()
    aim = np.where(agrees, (right + 1) / (right + 2), 1 / (wrong + 2))

    def loss(slope):
        steep = slope * margins / sigma
        return float((np.logaddexp(0, steep) - aim * steep).sum())

    wanted = optimize.minimize_scalar(loss, bounds=(0, 100), method="bounded").x
    found = fit_slope(margins, agrees, sigma)
    assert loss(found) <= loss(wanted) + 1e-9
    assert 0 <= found < math.inf


def test_the_slope_of_a_known_curve_is_found_whatever_the_scale():
    random = np.random.default_rng(1)
    margins = random.normal(0, math.sqrt(2), 20_000)
    chosen = np.where(random.random(20_000) < 1 / (1 + np.exp(-1.5 * margins)), 1, -1)
    for factor in (0.01, 1, 700):
        found = calibrate("x", margins * factor, chosen)
        assert found.slope == pytest.approx(1.5, abs=0.06)
        assert found.sigma == pytest.approx(factor, rel=0.02)
        sure = found.confidence(margins * factor)
        agrees = np.sign(margins) == chosen
        for low in (0.5, 0.6, 0.7, 0.8, 0.9):
            bin_ = (sure >= low) & (sure < low + 0.1)
            assert agrees[bin_].mean() == pytest.approx(sure[bin_].mean(), abs=0.03)


def test_a_grader_that_is_wrong_as_often_as_not_is_never_trusted():
    random = np.random.default_rng(2)
    margins, chosen = random.normal(size=400), random.choice([-1, 1], 400)
    for labels in (chosen, -np.sign(margins).astype(np.int64)):
        found = calibrate("x", margins, labels)
        assert found.threshold is None
        assert (found.agreement, found.least, found.coverage) == (0, 0, 0)
        assert not found.trusts(margins).any()


def plain(sure, agrees, target, risk):
    """The same thresholds one after another, by counting."""
    allowed, pairs = 1 - target, len(sure)
    size, step, found = min(first_size(allowed, risk), pairs), max(1, pairs // 50), None
    for n in [*range(size, pairs, step), pairs]:
        threshold = sorted(sure)[-n]
        above = [a for s, a in zip(sure, agrees, strict=True) if s >= threshold]
        if stats.binom.cdf(above.count(False), len(above), allowed) > risk:
            return found
        found = threshold
    return found


@given(
    st.lists(st.tuples(st.integers(50, 99), st.booleans()), min_size=1, max_size=250),
    st.sampled_from([0.5, 0.6, 0.8]), st.sampled_from([0.05, 0.3]), st.integers(0, 9),
)  # fmt: skip
def test_the_threshold_equals_a_plain_search(pairs, target, risk, luck):
    sure = np.array([s / 100 for s, _ in pairs])
    agrees = np.array([a or s % 10 < luck for s, a in pairs])
    found = lowest_threshold(sure, agrees, target, risk)
    assert found == plain(list(sure), list(agrees), target, risk)


@given(st.floats(0.05, 0.5), st.floats(0.02, 0.3))
def test_the_first_test_is_one_that_a_good_grader_passes(allowed, risk):
    size = first_size(allowed, risk)
    passing = [k for k in range(size + 1) if stats.binom.cdf(k, size, allowed) <= risk]
    assert passing
    assert stats.binom.cdf(max(passing), size, allowed / 2) >= 0.9


def draw(random, pairs, sharpness):
    """Margins of a grader whose confidence is right, and what people chose."""
    margins = random.normal(0, 1, pairs)
    right = random.random(pairs) < 1 / (1 + np.exp(-sharpness * np.abs(margins)))
    return margins, np.where(right, 1, -1) * np.sign(margins).astype(np.int64)


@pytest.mark.parametrize(
    ("pairs", "target", "sharpness"),
    mostly_slow([(120, 0.8, 4.0), (400, 0.8, 1.2), (400, 0.7, 1.2)], 3),
)
def test_the_promise_holds_over_draws(pairs, target, sharpness):
    random = np.random.default_rng(pairs)
    risk = 0.1
    margins, chosen = draw(random, 400_000, sharpness)
    order = np.argsort(-np.abs(margins))
    ahead = np.abs(margins[order])
    agreement = np.cumsum(np.sign(margins[order]) == chosen[order]) / np.arange(1, 400_001)
    broken, trusted, runs = 0, 0, 400
    for _ in range(runs):
        found = calibrate("x", *draw(random, pairs, sharpness), target=target, risk=risk)
        if found.threshold is None:
            continue
        least = math.log(found.threshold / (1 - found.threshold)) * found.sigma / found.slope
        place = int(np.searchsorted(-ahead, -least, side="right")) - 1
        broken += agreement[place] < target
        trusted += 1
    assert broken <= stats.binom.ppf(0.999, runs, risk)
    assert trusted > runs / 2  # it is no promise to trust nobody


def test_the_promise_of_a_cascade_holds_for_all_its_graders():
    """The second is best where the first is unsure: what reaches it is no fair sample of all."""
    random = np.random.default_rng(9)
    target, risk, runs = 0.75, 0.1, 200

    def pairs(count):
        first, chosen = draw(random, count, 1.2)
        right = random.random(count) < np.where(np.abs(first) < 0.7, 0.85, 0.6)
        return {"a": first, "b": np.where(right, 1, -1) * chosen * random.random(count)}, chosen

    margins, chosen = pairs(60_000)
    broken = decided = 0
    for _ in range(runs):
        found, _ = calibrated(*pairs(600), target=target, risk=risk)
        choice, by = decide(found, margins)
        shares = [(choice == chosen)[by == place].mean() for place in (0, 1) if (by == place).any()]
        broken += any(share < target for share in shares)
        decided += (by >= 0).mean()
    assert broken <= stats.binom.ppf(0.999, runs, risk)
    assert decided / runs > 0.3


def test_a_cascade_asks_the_next_only_where_the_one_before_is_not_trusted():
    random = np.random.default_rng(4)
    margins, chosen = draw(random, 3000, 2.0)
    both = {"cheap": margins, "dear": chosen * 1.0}
    found, asked = calibrated(both, chosen, target=0.9)
    choice, by = decide(found, both)
    assert [one.grader for one in found] == ["cheap", "dear"]
    assert set(by) == {0, 1}
    np.testing.assert_array_equal(by == 0, found[0].trusts(margins))
    assert (choice[by == 1] == chosen[by == 1]).all()
    assert found[0].n == 1500
    assert found[1].n < 1500  # its own half, less what the first decides
    assert asked == {"cheap": 3000, "dear": found[1].n}
    assert all(one.risk == 0.05 for one in found)


def test_ties_and_missing_scores_are_never_trusted():
    margins = np.array([1.0, -1.0, 0.0, np.nan] * 100)
    chosen = np.array([1, -1, 1, -1] * 100)
    found = calibrate("x", margins, chosen)
    assert found.trusts(np.array([5.0, 0.0, np.nan, -5.0])).tolist() == [True, False, False, True]
    assert found.coverage == 0.5
    assert found.agreement == 1
    assert found.least == pytest.approx(0.1 ** (1 / 200))


def test_no_pairs_no_trust():
    found = calibrate("x", np.zeros(0), np.zeros(0, np.int64))
    assert (found.threshold, found.n, found.coverage) == (None, 0, 0)


def test_it_is_written_and_read_as_json():
    margins, chosen = draw(np.random.default_rng(3), 500, 2.0)
    for one in (calibrate("x", margins, chosen), calibrate("x", margins, -chosen)):
        assert msgspec.json.decode(msgspec.json.encode(one), type=Calibration) == one


def test_confidence_of_any_margin_is_a_probability():
    found = confidence(np.array([0.0, np.nan, 1e300, -1e300, 2.0]), 3.0, 1.0)
    assert found.tolist() == pytest.approx([0.5, 0.5, 1, 1, 1 / (1 + math.exp(-6))])


@pytest.mark.parametrize(
    ("margins", "chosen", "more", "words"),
    [
        ([1.0], [1, 1], {}, "1 margins for 2 labels"),
        ([1.0], [0], {}, "leave out ties"),
        ([math.inf], [1], {}, "infinite"),
        ([1.0], [1], {"target": 1.0}, "between 0 and 1"),
        ([1.0], [1], {"risk": 0.0}, "between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(margins, chosen, more, words):
    with pytest.raises(ValueError, match=words):
        calibrate("x", np.array(margins), np.array(chosen), **more)
