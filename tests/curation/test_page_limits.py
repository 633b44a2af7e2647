"""Limits, reasons and tallies by hand."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.limits import Statistic, Tally

numbers = st.lists(st.one_of(st.floats(0, 20_000), st.just(math.nan)), min_size=1, max_size=12)
limit = st.one_of(st.none(), st.floats(0, 100))


@given(numbers, limit, limit)
def test_fails_by_hand(values, low, high):
    found = Statistic("x", np.array(values), low, high).fails()
    want = [(low is not None and v < low) or (high is not None and v > high) for v in values]
    assert found.tolist() == want


@given(numbers, st.integers(0, 12), limit)
def test_parts_add_up_to_the_whole(values, cut, high):
    """However a run is cut, in whatever order the parts are put together."""

    def tally(some):
        made = Tally()
        for part in some:
            made.add([
                Statistic("x", np.array(part), high=high),
                Statistic("y", np.minimum(part, 1), high=high, kind="share"),
            ])  # fmt: skip
        return made

    one, other, whole = tally([values[:cut]]), tally([values[cut:]]), tally([values])
    other.merge(one)
    assert other.notes() == whole.notes() == tally([values[:cut], values[cut:]]).notes()
    told = [v for v in values if not math.isnan(v)]
    for test in whole.notes()["tests"].values():
        assert sum(count for _, count in test["histogram"]) == len(told)


def test_a_text_fails_a_rule_once():
    tally = Tally()
    values = np.array([5.0, 1.0])
    failed = tally.add([Statistic("x", values, high=2), Statistic("y", values, high=3)])
    assert failed.tolist() == [True, False]
    assert tally.notes()["failed"] == 1
    assert tally.notes()["tests"]["y"] == {"failed": 1, "histogram": [[1.0, 1], [5.0, 1]]}


def test_reasons_say_the_value():
    test = Statistic("words", np.array([12.3456, 123456.0, 0.0]))
    assert [test.reason(i) for i in range(3)] == ["words (12.3)", "words (123456)", "words (0)"]
    shown = Statistic("declines", np.array([1.0]), high=0, shown=lambda text: f"text {text}")
    assert shown.reason(0) == "declines (text 0)"
