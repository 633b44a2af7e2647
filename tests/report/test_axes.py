"""Axes: every value has its place, and ticks have room."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.report.axes import GAP, SMALL, Axis, fit
from karat.report.labels import width_of

VALUES = st.lists(st.floats(0, 1e6) | st.just(0.0), min_size=1, max_size=8)


@given(VALUES, st.sampled_from([150.0, 300.0, 500.0]))
def test_ticks_stand_in_order_on_the_axis_and_do_not_touch(values, length):
    axis = fit(values, "cost")
    ticks = axis.ticks(length)
    assert ticks
    places = [axis.share(value) * length for value, _ in ticks]
    assert places == sorted(places)
    assert all(-1e-6 <= place <= length + 1e-6 for place in places)
    widths = [width_of(text, SMALL) / 2 for _, text in ticks]
    if length == 500 and max(widths) < 30:
        for i in range(len(ticks) - 1):
            assert places[i + 1] - widths[i + 1] - places[i] - widths[i] >= GAP - 1e-6


@given(VALUES)
def test_more_never_lies_before_less_and_all_lie_inside(values):
    axis = fit(values, "cost")
    shares = [axis.share(value) for value in sorted(values)]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)


def test_a_wide_range_is_logarithmic_and_nothing_has_a_place_of_its_own():
    axis = fit([0.0, 0.0001, 1.0], "cost")
    assert axis.log
    assert axis.zero
    assert 0 < axis.share(0) < axis.share(0.0001) < axis.share(0.01) < axis.share(1) < 1
    middle = (axis.share(0.0001) + axis.share(1)) / 2
    assert axis.share(0.01) == pytest.approx(middle)
    assert axis.ticks(400)[0][1] == "0"
    assert {0.001, 0.01, 0.1} <= {round(value, 6) for value, _ in axis.ticks(400)}


def test_the_place_of_nothing_takes_no_ticks_from_the_rest():
    """The tick next to 0's goes where the two would touch; the others stay."""
    axis = fit([0.0, 0.00013, 0.045], "cost", text=lambda usd: f"${usd:g}")
    assert [text for _, text in axis.ticks(330)] == ["$0", "$0.001", "$0.01"]


def test_a_narrow_range_is_linear_with_the_decimals_it_needs():
    axis = fit([2.91, 3.12], "quality")
    assert not axis.log
    assert [text for _, text in axis.ticks(300)] == ["2.90", "2.95", "3.00", "3.05", "3.10"]


def test_an_endless_value_does_not_stretch_the_axis():
    axis = fit([1.0, 2.0, math.inf], "cost")
    assert axis.high < 3
    assert axis.share(math.inf) == 1


@pytest.mark.parametrize("values", [[], [0.0], [3.0], [-2.0, -2.0]])
def test_one_value_or_none_is_an_axis_too(values):
    axis = fit(values, "x")
    assert axis.low < axis.high
    assert axis.ticks(300)


def test_less_than_nothing_is_written_with_a_minus():
    assert fit([-0.5, 0.5], "x").ticks(300)[0][1].startswith("−")


def test_names_are_an_axis():
    axis = Axis("", names=["a", "b", "c"])
    assert [axis.share(i) for i in range(3)] == pytest.approx([1 / 6, 0.5, 5 / 6])
    assert axis.ticks(10) == [(0, "a"), (1, "b"), (2, "c")]
