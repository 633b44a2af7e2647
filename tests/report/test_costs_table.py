"""The table of costs: what is unknown is said, and figures stay whole at 120 columns."""

from __future__ import annotations

import io
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from karat.costs import SUMMED, Costs, Line
from karat.report.costs import cost_table, cost_text, short


def printed(found):
    stream = io.StringIO()
    Console(file=stream, width=120).print(cost_table(found))
    text = stream.getvalue()
    assert all(len(line) <= 120 for line in text.splitlines())
    return text


def found(*lines, by="model", since=None, warnings=()):
    total = Line("total")
    for line in lines:
        total.add(getattr(line, name) for name in SUMMED)
    return Costs(by, since, ["runs/a", "runs/b"], list(lines), total, list(warnings))


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"), (99_999, "99,999"), (100_000, "100K"), (999_499, "999K"), (999_500, "1.00M"),
        (1_234_567, "1.23M"), (99_950_000, "100M"), (12_345_678, "12.3M"), (10**9, "1.00B"),
        (12_345 * 10**9, "12300B"),
    ],
)  # fmt: skip
def test_long_counts_are_three_digits_and_a_unit(count, said):
    assert short(count) == said


@given(st.integers(100_000, 10**12))
def test_a_shortened_count_is_within_half_a_percent(count):
    said = short(count)
    value = float(said[:-1]) * {"K": 1e3, "M": 1e6, "B": 1e9}[said[-1]]
    assert value == pytest.approx(count, rel=0.00501)


def test_unknown_costs_are_said_and_never_0():
    assert cost_text(Line("m", cost_nano=2_500_000_000)) == "$2.50"
    assert cost_text(Line("m", cost_nano=2_500_000_000, unpriced=1)) == "$2.50 + unknown"
    assert cost_text(Line("m", unpriced=1)) == "unknown"
    assert cost_text(Line("m")) == "$0"


def test_shares_total_and_notes():
    text = printed(
        found(
            Line("a/x", calls=3, answers=12, cost_nano=3 * 10**9, latencies={80: 3}, estimated=1),
            Line("b/y", calls=1, answers=1, replayed=5, cost_nano=10**9, unpriced=2),
            since=date(2026, 11, 1),
            warnings=["not counted: runs/c/journal.sqlite [red]is damaged\x1b[2J"],
        )
    )
    rows = {line.split()[0]: line for line in text.splitlines() if line}
    assert "75%" in rows["a/x"]
    assert "25%" in rows["b/y"]
    assert "$4.00 + unknown" in rows["total"]
    assert "100%" in rows["total"]
    assert "~0" in rows["a/x"]
    assert "2 runs since 2026-11-01" in text
    assert "days begin at midnight" in text
    assert "2 calls of models without a price" in text
    assert "replayed: answers found in the journal" in text
    assert "[red]is damaged" in text
    assert "\x1b" not in text


def test_parts_of_tokens_stand_in_brackets():
    line = Line(
        "a/x", calls=1, prompt_tokens=2_000_000, cached_tokens=500_000, completion_tokens=70_000,
        reasoning_tokens=60_000,
    )  # fmt: skip
    text = printed(found(line))
    assert "2.00M (500K)" in text
    assert "70,000 (60,000)" in text


def test_long_names_and_figures_fit():
    wide = dict.fromkeys(SUMMED, 10**14)
    name = "openrouter/" + "a-very-long-organisation/and-a-model-70b-instruct" * 2
    text = printed(found(Line(name, **wide), Line("b", **wide), by="day"))
    assert text.count("100000B") > 10
    assert "$100000.00 + unknown" in text


def test_no_calls_at_all():
    assert "no call was made since 2026-11-01" in printed(found(since=date(2026, 11, 1)))


def test_first_tokens_and_the_gateways_hits_stand_below():
    line = Line(
        "a/x", calls=3, replayed=9, cache_hits=4, latencies={80: 3}, firsts={40: 3}, cost_nano=1
    )
    text = printed(found(line))
    first, below = (line for line in text.splitlines() if "a/x" in line or "(4)" in line)
    assert "1.1" in first
    assert below.count("(0.033)") == 3
    assert "by the gateway's cache" in text
