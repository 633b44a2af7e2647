"""The charts of a comparison: quality against cost and against time, and what tells models apart.

The first two show each candidate with its own intervals. Whether two differ cannot be read off
them, because their prompts' ups and downs are shared; the third shows the paired differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from karat.comparison.candidates import Candidate, Comparison
from karat.intervals import Interval
from karat.report.axes import SMALL, Axis, fit
from karat.report.labels import shorten
from karat.report.recommendation import decimals, rounded, said, seconds
from karat.report.svg import SIZE, Panel, figure

WIDE, NARROW = 560.0, 344.0
VERDICTS = {"even": "cannot be told apart", "plain": "behind"}
MEANINGS = {"best": "recommended", "good": "frontier", "other": "beaten on both"}


def charts(found: Comparison, width: float) -> list[Panel]:
    """The panels that have something to show."""
    made = [_scatter(found, width, which) for which in (_COST, _TIME)]
    return [panel for panel in (*made, _differences(found, width)) if panel is not None]


def picture(found: Comparison) -> str:
    """All charts as one SVG document: two beside each other, then the next."""
    return figure(
        charts(found, WIDE), f"Comparison {found.name}", in_words(found), columns=2,
        key="compare", margin=20,
    )  # fmt: skip


def in_words(found: Comparison) -> str:
    """What the charts show, for those who cannot see them."""
    each = [f"{c.name}: {told(found, c)}." for c in found.candidates]
    return " ".join([found.recommendation, *each])


def told(found: Comparison, c: Candidate) -> str:
    """A candidate's figures in words."""
    parts = []
    if c.quality is not None:
        parts.append(f"quality {said(c.quality)}")
    if c.cost_per_accepted is not None:
        cost = c.cost_per_accepted
        ends = f"{rounded(cost.low)} to " + (
            rounded(cost.high) if math.isfinite(cost.high) else "any"
        )
        parts.append(f"{rounded(cost.value)} per accepted row ({ends})")
    elif c.cost_usd is None:
        parts.append("price unknown")
    parts.append(f"{c.accepted} of {found.prompts} accepted")
    if c.seconds is not None:
        parts.append(f"{seconds(c.seconds.value)} a prompt")
    return ", ".join(parts)


class _Across(NamedTuple):
    """What a chart's horizontal axis shows."""

    title: str
    label: str
    of: Callable[[Candidate], Interval | None]
    text: Callable[[float], str]  # of a tick
    is_front: Callable[[Candidate], bool]


_COST = _Across(
    "Quality against cost", "$ per accepted row  ← cheaper", lambda c: c.cost_per_accepted,
    rounded, lambda c: c.frontier_cost,
)  # fmt: skip
_TIME = _Across(
    "Quality against time", "time a prompt takes  ← faster", lambda c: c.seconds,
    lambda value: seconds(value).replace(".0 ", " "), lambda c: c.frontier_time,
)  # fmt: skip


def _scatter(found: Comparison, width: float, axis: _Across) -> Panel | None:
    shown = [(c, c.quality, x) for c in found.candidates if c.quality and (x := axis.of(c))]
    if not any(x.value > 0 for _, _, x in shown):
        return None
    across = fit([v for _, _, x in shown for v in (x.value, x.low, x.high)], axis.label, axis.text)
    up = fit([v for _, y, _ in shown for v in (y.low, y.value, y.high)], f"quality, {found.by}")
    kinds = {c.name: _kind(found, c, axis.is_front(c)) for c, _, _ in shown}
    legend = [(kind, word) for kind, word in MEANINGS.items() if kind in kinds.values()]
    height = 0.62 * width + 60 if width > 450 else 0.95 * width + 60
    panel = Panel(axis.title, across, up, width, round(height), legend)
    names = shorten([c.name for c, _, _ in shown], 0.4 * width, SIZE)
    _stairs(panel, [(x.value, y.value) for c, y, x in shown if axis.is_front(c)])
    for c, y, x in shown:
        line = "k-grey-line" if kinds[c.name] == "other" else "k-gold-line"
        panel.spread((x.low, y.value), (x.high, y.value), line, 0.75)
        panel.spread((x.value, y.low), (x.value, y.high), line, 0.75)
    for c, y, x in shown:
        panel.dot(x.value, y.value, kinds[c.name], f"{c.name}: {told(found, c)}", names[c.name])
    return panel


def _kind(found: Comparison, c: Candidate, front: bool) -> str:
    return "best" if c.name == found.pick else "good" if front else "other"


def _stairs(panel: Panel, points: list[tuple[float, float]]) -> None:
    """The best quality that can be had at each cost."""
    points.sort()
    corners = points[:1]
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    if corners:
        panel.line([*corners, (panel.x.high, corners[-1][1])], "k-gold-line", "2 4")


def _differences(found: Comparison, width: float) -> Panel | None:
    """How far each candidate is behind the best, on the same prompts."""
    pairs = [pair for pair in found.pairs if pair.first == found.leader]
    known = [pair for pair in pairs if math.isfinite(pair.apart.low + pair.apart.high)]
    if not known:
        return None
    ends = [v for p in known for v in (p.apart.low, p.apart.value, p.apart.high)]
    short = shorten([pair.second for pair in known], 0.36 * width, SMALL)
    names = [short[pair.second] for pair in reversed(known)]
    across = fit([0.0, *ends], "points of quality", log=False)
    if min(ends) >= 0:  # the line of no difference stands at the edge, not on it
        across = across._replace(low=-0.06 * across.high)
    up = Axis(f"behind {found.leader}", names=names)
    kinds = {"even" if pair.apart.low <= 0 else "plain" for pair in known}
    legend = [(kind, word) for kind, word in VERDICTS.items() if kind in kinds]
    height = (96 if width > 450 else 114) + 34 * len(names)
    panel = Panel("How far behind the best", across, up, width, height, legend)
    panel.line([(0.0, -0.5), (0.0, len(names) - 0.5)], "k-axis")
    for place, pair in enumerate(reversed(known)):
        kind, line = ("even", "k-gold-line") if pair.apart.low <= 0 else ("plain", "k-grey-line")
        panel.spread((pair.apart.low, place), (pair.apart.high, place), line)
        apart = said(pair.apart, decimals(pair.apart))
        panel.dot(pair.apart.value, place, kind, f"{pair.second}: {VERDICTS[kind]} ({apart})")
    return panel
