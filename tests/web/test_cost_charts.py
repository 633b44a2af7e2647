"""Charts of costs: bars add up, long spans are told in longer steps, times share a scale."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from karat.costs import Daily, Line
from karat.web.accounts import charts


def daily(days, name="m", nano=10**9):
    start = date(2026, 1, 5)
    return [Daily(str(start + timedelta(days=day)), name, nano, 0, 10, 1) for day in days]


@pytest.mark.parametrize(
    ("last", "each", "bars"), [(9, "day", 2), (61, "day", 2), (62, "week", 2), (2000, "month", 2)]
)
def test_long_spans_are_told_by_the_week_and_the_month(last, each, bars):
    found = charts.stacks(daily([0, last]), lambda **_: "/calls")
    assert found.each == each
    assert found.charts[0].count('class="k-c0"') == bars


def test_a_stack_is_as_high_as_its_parts_together():
    found = charts.stacks([*daily([0], "a", 3 * 10**9), *daily([0], "b", 10**9)], lambda **_: "")
    boxes = {
        kind: (float(y), float(h)) for kind, y, h in re.findall(
            r'<rect class="(k-c\d)"[^>]* y="([\d.]+)" width="[\d.]+" height="([\d.]+)"',
            found.charts[0],
        )
    }  # fmt: skip
    (low_y, low_h), (high_y, high_h) = boxes["k-c0"], boxes["k-c1"]
    assert low_h == pytest.approx(3 * high_h, rel=0.01)
    assert high_y + high_h == pytest.approx(low_y, abs=0.02)


def test_what_costs_nothing_is_told_by_its_tokens_and_rare_names_together():
    days = [one for i in range(9) for one in daily([0], f"m{i}", 0)]
    found = charts.stacks(days, lambda **_: "")
    assert found.of == "tokens"
    assert found.parts[-1].said == "3 more, 30 tokens"
    assert charts.stacks([], lambda **_: "") is None


def test_times_share_one_scale():
    lines = [Line("fast", latencies={40: 9}, firsts={8: 9}), Line("slow", latencies={80: 9})]
    drawn = charts.times(lines, lambda **_: "/calls")[0]
    assert drawn.count('class="hit"') == 2
    xs = [float(x) for x in re.findall(r'<circle class="k-gold" cx="([\d.]+)"', drawn)]
    assert len(xs) == 2
    assert abs(xs[1] - xs[0]) > 300
    assert charts.times([Line("none")], lambda **_: "") is None
