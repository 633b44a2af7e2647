"""Figures of tables and pages, each in its one form."""

from __future__ import annotations

import pytest

from karat.report.cells import clock, size


@pytest.mark.parametrize(("seconds", "said"), [(5, "0:05"), (65.4, "1:05"), (7389, "2:03:09")])
def test_times_are_told_as_clocks_do(seconds, said):
    assert clock(seconds) == said


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_250_000, "1.2 MB"),
        (5 * 10**15, "5,000.0 TB"),
    ],
)
def test_sizes_are_read_easily(count, text):
    assert size(count) == text
