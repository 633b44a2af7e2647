"""The charts of the Models page: cost by day as stacked bars, and times on one common scale.

Every mark is a link to the calls behind it. Colours are the page's; names stand in a legend beside
the picture, because no picture has room for eight of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from karat.costs import Daily, Line
from karat.ledger import NANO
from karat.report.axes import Axis, fit
from karat.report.cells import money
from karat.report.labels import shorten
from karat.report.run_charts import Pair, linked, pair
from karat.report.run_parts import duration
from karat.report.svg import Panel, number, words
from karat.visible import visible

COST_WIDTHS, TIME_WIDTHS = (1180.0, 344.0), (1180.0, 344.0)
COLOURS = (0, 1, 3, 4, 5, 6)  # of the pages' palette: red means trouble, the last one is grey
MOST_BARS = 62  # days, then weeks, then months
LEAST_BARS = 14  # for which there is room at least: one bar alone is no wall
MOST_LINES = 24  # names in the chart of times
LINE = 38.0
OTHERS = "others"

CallsOf = Callable[..., str]  # (name="", day="") → the address of the calls behind a mark


class Part(NamedTuple):
    """A name in the legend: its fill, what it is in all, and where its calls are."""

    name: str
    kind: str
    said: str
    href: str


class Stacks(NamedTuple):
    """The chart of cost by day and its legend; `of` is cost, tokens or calls."""

    charts: Pair
    parts: list[Part]
    of: str
    each: str  # day, week or month


class _Bar(NamedTuple):
    start: date
    said: str
    values: dict[str, float]


class _Linked(Panel):
    """A plot whose marks are links."""

    def block(
        self, box: tuple[float, float, float, float], kind: str, told: str, href: str
    ) -> None:
        """A filled rectangle (left, right, bottom, top in values), linked where `href` is given."""
        (x0, y0), (x1, y1) = self.at(box[0], box[2]), self.at(box[1], box[3])
        mark = (
            f'<rect class="{kind}" x="{number(x0)}" y="{number(y1)}" '
            f'width="{number(max(x1 - x0, 0.5))}" height="{number(max(y0 - y1, 0.4))}">'
            f"<title>{words(told)}</title></rect>"
        )
        self._marks.append(linked(mark, href, told))

    def row(self, place: int, told: str, href: str) -> None:
        """The whole height of a named line, so that thin marks can be hit."""
        (_, y0), (x1, y1) = self.at(self.x.low, place + 0.46), self.at(self.x.high, place - 0.46)
        mark = (
            f'<rect class="hit" fill="transparent" x="0" y="{number(y0)}" '
            f'width="{number(x1)}" height="{number(y1 - y0)}"><title>{words(told)}</title></rect>'
        )
        self._marks.append(linked(mark, href, told))


# --- cost by day ---------------------------------------------------------------------------------


def stacks(days: Iterable[Daily], calls: CallsOf) -> Stacks | None:
    """Cost by day and name; tokens where nothing costs anything, calls where there are none."""
    found = list(days)
    if not found:
        return None
    of, value = _measure(found)
    totals: dict[str, float] = defaultdict(float)
    for one in found:
        totals[one.name] += value(one)
    names = sorted((n for n in totals if totals[n]), key=lambda name: (-totals[name], name))
    own = names[: len(COLOURS)]
    bars, each = _bars(found, value, own)
    kinds = {name: f"k-c{COLOURS[place]}" for place, name in enumerate(own)}
    kinds[OTHERS] = "k-grey"
    told = "; ".join(
        f"{bar.said}: {_said(of, sum(bar.values.values()))}" for bar in bars if bar.values
    )
    charts = pair(
        lambda width: _stacked(bars, of, each, kinds, width, calls), COST_WIDTHS,
        f"{_TITLES[of]} by {each}", told, "cost-by-day", linked=True,
    )  # fmt: skip
    parts = [
        Part(visible(name or "(none)", 120), kinds[name], _said(of, totals[name]), calls(name=name))
        for name in own
    ]
    if rest := names[len(own) :]:
        said = f"{len(rest)} more, {_said(of, sum(totals[name] for name in rest))}"
        parts.append(Part(OTHERS, "k-grey", said, ""))
    return Stacks(charts, parts, of, each)


_TITLES = {"cost": "Cost", "tokens": "Tokens", "calls": "Calls"}


def _measure(found: list[Daily]) -> tuple[str, Callable[[Daily], float]]:
    if any(one.cost_nano for one in found):
        return "cost", lambda one: one.cost_nano / NANO
    if any(one.tokens for one in found):
        return "tokens", lambda one: float(one.tokens)
    return "calls", lambda one: float(one.attempts)


def _said(of: str, value: float) -> str:
    return money(value) if of == "cost" else f"{value:,.0f} {of}"


def _bars(
    found: list[Daily], value: Callable[[Daily], float], own: Sequence[str]
) -> tuple[list[_Bar], str]:
    """Every day of the span, those without a call too: a pause is a gap, and no slope."""
    days = [date.fromisoformat(one.day) for one in found]
    first, last = min(days), max(days)
    span = (last - first).days + 1
    each = "day" if span <= MOST_BARS else "week" if span <= 7 * MOST_BARS else "month"
    start = _START[each](first)
    bars: dict[date, _Bar] = {}
    while start <= last:
        said = start.isoformat() if each != "month" else f"{start:%Y-%m}"
        bars[start] = _Bar(start, said if each != "week" else f"week of {said}", {})
        start = _NEXT[each](start)
    for one, day in zip(found, days, strict=True):
        values = bars[_START[each](day)].values
        name = one.name if one.name in own else OTHERS
        values[name] = values.get(name, 0.0) + value(one)
    return list(bars.values()), each


_START: dict[str, Callable[[date], date]] = {
    "day": lambda day: day,
    "week": lambda day: day - timedelta(days=day.weekday()),
    "month": lambda day: day.replace(day=1),
}
_NEXT: dict[str, Callable[[date], date]] = {
    "day": lambda day: day + timedelta(days=1),
    "week": lambda day: day + timedelta(days=7),
    "month": lambda day: (day.replace(day=28) + timedelta(days=4)).replace(day=1),
}


def _stacked(
    bars: list[_Bar], of: str, each: str, kinds: dict[str, str], width: float, calls: CallsOf
) -> Panel:
    most = max(sum(bar.values.values()) for bar in bars) or 1.0
    every = -(-len(bars) // (9 if width > 500 else 4))
    stops = [float(place) for place in range(0, len(bars), every)]
    form = "%Y-%m" if each == "month" else "%d %b"
    end = max(len(bars), LEAST_BARS) - 0.5
    x = Axis("", -0.5, end, text=lambda v: f"{bars[round(v)].start:{form}}", stops=stops)
    y = fit([0.0, most], "", _tick(of), log=False)._replace(low=0.0)
    panel = _Linked("", x, y, width, 300.0 if width > 500 else 240.0)
    half = 0.5 - max(0.08, min(0.2, 1.5 * len(bars) / width))
    for place, bar in enumerate(bars):
        below = 0.0
        for name, kind in kinds.items():
            if not (value := bar.values.get(name)):
                continue
            told = f"{bar.said}, {visible(name or '(none)', 120)}: {_said(of, value)}"
            day = bar.start.isoformat() if each == "day" else ""
            href = calls(name="" if name == OTHERS else name, day=day)
            box = (place - half, place + half, below, below + value)
            panel.block(box, kind, told, href)
            below += value
    return panel


def _tick(of: str) -> Callable[[float], str]:
    return (lambda v: money(round(v, 10))) if of == "cost" else _short


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


# --- times ---------------------------------------------------------------------------------------


def times(lines: Sequence[Line], calls: CallsOf) -> Pair | None:
    """First token and whole answer of every line, from p50 over p95 to p99, on one log scale."""
    known = [line for line in lines if line.latencies][:MOST_LINES]
    if not known:
        return None
    told = "; ".join(_told(line) for line in known)
    return pair(
        lambda width: _whiskers(known, width, calls), TIME_WIDTHS, "How long answers took", told,
        "times", linked=True,
    )  # fmt: skip


def _told(line: Line) -> str:
    parts = [visible(line.name or "(none)", 120)]
    for what, of in (("whole answer", line.latency_ms), ("first token", line.ttft_ms)):
        if (middle := of(0.5)) is not None:
            ends = [f"{name} {duration(of(share) or 0.0)}" for name, share in
                    (("p95", 0.95), ("p99", 0.99))]  # fmt: skip
            parts.append(f"{what} p50 {duration(middle)}, {', '.join(ends)}")
    return ": ".join((parts[0], "; ".join(parts[1:])))


def _whiskers(lines: Sequence[Line], width: float, calls: CallsOf) -> Panel:
    ends = [
        ms for line in lines for of in (line.latency_ms, line.ttft_ms)
        for share in (0.5, 0.99) if (ms := of(share)) is not None
    ]  # fmt: skip
    drawn = list(reversed(lines))
    shown = [visible(line.name or "(none)", 120) for line in drawn]
    short = shorten(shown, 0.36 * width, 11.0)
    x = fit(ends, "p50 (dot), p95 (bar), p99 (end)", duration, log=True)
    y = Axis("", names=[short[name] for name in shown])
    kinds = [("k-gold-area", "whole answer")]
    if any(line.firsts for line in lines):
        kinds.append(("k-grey-area", "first token"))
    panel = _Linked("", x, y, width, 92 + LINE * len(lines), kinds)
    for place, line in enumerate(drawn):
        both = bool(line.firsts)
        if both:
            _spread(panel, [line.ttft_ms(q) or 0 for q in _SHARES], place - 0.17, "k-grey")
        _spread(panel, [line.latency_ms(q) or 0 for q in _SHARES], place + 0.17 * both, "k-gold")
        panel.row(place, _told(line), calls(name=line.name))
    return panel


_SHARES = (0.5, 0.95, 0.99)


def _spread(panel: Panel, ends: Sequence[float], y: float, kind: str) -> None:
    """A bar from p50 to p95, a line on to p99, a dot at p50."""
    middle, high, last = ends
    panel.area([(middle, y - 0.09), (high, y - 0.09)], [(middle, y + 0.09), (high, y + 0.09)],
               kind, 0.35)  # fmt: skip
    panel.line([(middle, y), (last, y)], f"{kind}-line")
    panel.line([(last, y - 0.09), (last, y + 0.09)], f"{kind}-line")
    panel.dot(middle, y, "plain" if kind == "k-grey" else "good")
