"""The chart of a cycle: each round's held-out reward with its interval, the base's as a line.

Rewards of one judge on the same prompts lie close together, and whether one is above another is
seen on one scale with the intervals, and not in a column of figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from karat.intervals import Interval
from karat.report.axes import Axis, fit
from karat.report.svg import Panel, figure

WIDE, NARROW = 560.0, 344.0
ROW, FRAME = 34.0, 96.0  # pixels of a line, and of what stands around all of them
Point = tuple[str, Interval, bool]  # what a round is called, its reward, whether it helped


def charts(points: Sequence[Point], judge: str, told: str) -> tuple[str, str]:
    """For wide and for narrow screens; two empty texts where fewer than two rounds have a score."""
    known = [one for one in points if math.isfinite(one[1].value)]
    if len(known) < 2:
        return "", ""
    wide, narrow = (
        figure(
            [_panel(known, judge, width)],
            "Held-out reward by round",
            told,
            key=f"rounds-{width:.0f}",
        )
        for width in (WIDE, NARROW)
    )
    return wide, narrow


def _panel(points: Sequence[Point], judge: str, width: float) -> Panel:
    lines = points[::-1]
    ends = [x for _, one, _ in lines for x in (one.value, one.low, one.high) if math.isfinite(x)]
    names = Axis("", names=[name for name, _, _ in lines])
    kinds = [("good", "shown to help, 95%"), ("plain", "not shown")]
    panel = Panel(
        "Rounds",
        fit(ends, judge, log=False),
        names,
        width,
        FRAME + ROW * len(lines),
        kinds,
    )
    start = points[0][1].value
    panel.line([(start, -0.5), (start, len(lines) - 0.5)], "k-axis", "2 4")
    for place, (name, one, helps) in enumerate(lines):
        low, high = (x if math.isfinite(x) else one.value for x in (one.low, one.high))
        panel.spread((low, place), (high, place), "k-gold-line" if helps else "k-grey-line")
        panel.dot(one.value, place, "good" if helps else "plain", f"{name}: {one.value:.3f}")
    return panel
