"""What may be said about candidates: who is on the frontier, and which of them differ."""

from __future__ import annotations

import math

import numpy as np
import pytest
from candidates import compared, measured
from hypothesis import given
from hypothesis import strategies as st

from karat.comparison.candidates import Measured, frontier

VALUES = st.integers(0, 5).map(float) | st.floats(-10, 10)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=12))
def test_the_frontier_is_what_a_sweep_by_cost_finds(points):
    best, front = -math.inf, set()
    for less in sorted({less for _, less in points}):
        top = max(more for more, other in points if other == less)
        if top > best:
            front.add((top, less))
            best = top
    assert frontier(points) == [point in front for point in points]


def test_equal_points_are_on_the_frontier_together():
    assert frontier([(1.0, 1.0), (1.0, 1.0), (0.5, 1.0)]) == [True, True, False]


def test_candidates_stand_best_first_and_pairs_begin_with_the_better():
    found = compared(measured("a", 2.0), measured("b", 3.0), measured("c", 1.0))
    assert [c.name for c in found.candidates] == ["b", "a", "c"]
    assert [(p.first, p.second) for p in found.pairs] == [("b", "a"), ("b", "c"), ("a", "c")]
    assert [p.apart.value for p in found.pairs] == pytest.approx([1, 2, 1])
    assert (found.leader, found.pick, found.tied) == ("b", "b", ["b"])


def test_levels_of_pairs_add_up_to_the_level():
    candidates = [measured(name, 2.0, seed=i) for i, name in enumerate("abcd")]
    assert compared(*candidates[:2]).pair_level == pytest.approx(0.95)
    assert compared(*candidates).pair_level == pytest.approx(1 - 0.05 / 6)


def test_equal_candidates_are_hardly_ever_told_apart_however_many_they_are():
    """200 worlds of 5 equal candidates: in at most 5% is any of the 10 pairs told apart (4
    standard errors: 11%), where intervals of single pairs would do it in a fifth of them."""
    random = np.random.default_rng(3)
    wrong = 0
    ones = np.ones(30)
    for _ in range(200):
        kept = random.normal(2, 1, (5, 30))
        candidates = [Measured(str(i), "m", k, k, ones, None, ones, []) for i, k in enumerate(kept)]
        found = compared(*candidates, resamples=1_000)
        wrong += any(pair.apart.low > 0 for pair in found.pairs)
    assert wrong / 200 <= 0.11


def test_of_those_that_cannot_be_told_apart_the_cheapest_is_taken():
    found = compared(
        measured("dear", 3.01, 0.01), measured("cheap", 3.0, 0.001), measured("bad", 1.0, 0.0001)
    )
    assert found.tied == ["dear", "cheap"]
    assert found.pick == "cheap"


def test_without_prices_the_fastest_is_taken():
    for cost in (None, 0.0):
        found = compared(
            measured("slow", 3.01, cost, seconds=9), measured("fast", 3.0, cost, seconds=1)
        )
        assert (found.leader, found.pick) == ("slow", "fast")


def test_an_unknown_price_is_on_no_cost_frontier_and_says_nothing_about_others():
    found = compared(measured("a", 3.0, None), measured("b", 2.0, 0.1), measured("c", 1.5, 0.2))
    assert [c.frontier_cost for c in found.candidates] == [False, True, False]
    assert [c.cost_per_accepted is None for c in found.candidates] == [True, False, False]
    assert [p.cost is None for p in found.pairs] == [True, True, False]


def test_cost_per_accepted_row_counts_what_was_turned_down():
    found = compared(measured("a", 3.0, 0.01, accepted=0.25), measured("b", 2.0, 0.01))
    a, b = found.candidates
    assert a.cost_per_accepted.value == pytest.approx(0.04)
    assert b.cost_per_accepted.value == pytest.approx(0.0125)
    assert a.cost_per_accepted.low < 0.04 < a.cost_per_accepted.high < 0.07
    assert found.pairs[0].cost.value == pytest.approx(3.2)


def test_nothing_accepted_has_no_cost_per_row():
    found = compared(measured("a", 3.0, accepted=0.0), measured("b", 2.0))
    assert found.candidates[0].cost_per_accepted is None
    assert found.candidates[0].cost_usd == pytest.approx(0.1)
    assert not found.candidates[0].frontier_cost


def test_prompts_that_one_did_not_answer_are_compared_for_none():
    a, b = measured("a", 3.0), measured("b", 2.0)
    a.kept[:30] = np.nan
    b.kept[20:40] = np.nan
    found = compared(a, b)
    assert (found.compared, found.prompts) == (60, 100)
    assert [c.answered for c in found.candidates] == [70, 80]
    assert found.candidates[0].quality.value == pytest.approx(a.kept[40:].mean())
    assert found.pairs[0].apart.value == pytest.approx((a.kept - b.kept)[40:].mean())
    assert found.candidates[0].accepted_share.value == pytest.approx(0.8)


def test_no_prompt_in_common_is_no_comparison():
    a, b = measured("a", 3.0), measured("b", 2.0)
    a.kept[:50] = np.nan
    b.kept[50:] = np.nan
    found = compared(a, b)
    assert (found.leader, found.pick, found.pairs, found.compared) == (None, None, [], 0)
    assert "nothing to compare" in found.recommendation
