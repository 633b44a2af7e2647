"""What the page of two runs shows, as figures, words and small drawings.

What a run's report says stands beside the other's as it is. What can be told apart is told with an
interval, and what cannot is said not to be; scores of two different rewards never meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from karat.costs import read
from karat.errors import KaratError
from karat.report.cells import money
from karat.report.recommendation import plain, rounded
from karat.report.run_charts import drawn
from karat.report.run_flow import NARROW, Flow, steps_of, told
from karat.report.run_parts import duration
from karat.report.side import WORDS
from karat.visible import visible
from karat.web import figures
from karat.web.addresses import run_page
from karat.web.runs.view import rows_of_step
from karat.web.sides.data import Data, seen
from karat.web.sides.reading import Compared


class Figure(NamedTuple):
    """One line of the table: both sides, and what is known of the change from A to B."""

    name: str
    a: str
    b: str
    change: str
    raw: tuple[float | None, float | None]


# --- reports side by side ------------------------------------------------------------------------


class _Kind(NamedTuple):
    """A figure of a report: how it is read, how it is written, and its change."""

    name: str
    of: Callable[[dict[str, Any]], float | None]
    said: Callable[[float], str]
    change: Callable[[float, float], str]


def _ratio(a: float, b: float) -> str:
    if a == b:
        return "the same"
    return f"{b / a - 1:+.0%}".replace("-", "−") if a else "–"


def _points(a: float, b: float) -> str:
    return f"{100 * (b - a):+.1f} points".replace("-", "−") if a != b else "the same"


def _cost_each(report: dict[str, Any]) -> float | None:
    cost, rows = report["cost_usd"], report["rows"]["accepted"]
    return cost / rows if cost is not None and rows else None


def _kept(report: dict[str, Any]) -> float | None:
    rows = report["rows"]
    return rows["accepted"] / (rows["accepted"] + rows["dropped"]) if rows["accepted"] else None


def _diversity(key: str) -> Callable[[dict[str, Any]], float | None]:
    def of(report: dict[str, Any]) -> float | None:
        found = report["diversity"].get("accepted", {}).get(key)
        return float(found) if isinstance(found, int | float) else None

    return of


_COUNT: Callable[[float], str] = lambda value: f"{value:,.0f}"  # noqa: E731
_SHARE: Callable[[float], str] = figures.share
_PLAIN: Callable[[float], str] = lambda value: f"{value:.3g}"  # noqa: E731
REPORTED = [
    _Kind("rows in", lambda r: r["rows"]["in"], _COUNT, _ratio),
    _Kind("accepted rows", lambda r: r["rows"]["accepted"], _COUNT, _ratio),
    _Kind("kept", _kept, _SHARE, _points),
    _Kind("cost", lambda r: r["cost_usd"], money, _ratio),
    _Kind("cost of an accepted row", _cost_each, rounded, _ratio),
    _Kind("human share", lambda r: r["human_share"], _SHARE, _points),
    _Kind("answers cut off", lambda r: r.get("cut_off_share"), _SHARE, _points),
    _Kind("effective number of prompts (Vendi score)", _diversity("vendi_embedding"),
          _PLAIN, _ratio),
    _Kind("distinct-2 of prompts", _diversity("distinct_2"), _PLAIN, _ratio),
    _Kind("self-BLEU of prompts", _diversity("self_bleu"), _PLAIN, _ratio),
    _Kind("near-duplicates among prompts", _diversity("near_duplicates"), _SHARE, _points),
]  # fmt: skip


def reported(a: Data, b: Data) -> list[Figure]:
    """Of two runs' reports and ledgers; nothing of exports, which have none."""
    reports = [seen(one).report if not one.file else None for one in (a, b)]
    found = []
    for kind in REPORTED:
        values = [_value(kind, report) for report in reports]
        if values != [None, None]:
            found.append(_figure(kind, *values))
    return [*found, *_times(a, b)]


def _value(kind: _Kind, report: dict[str, Any] | None) -> float | None:
    try:
        found = kind.of(report) if report is not None else None
    except (KeyError, TypeError, AttributeError, ZeroDivisionError):  # of another karat
        return None
    return found if isinstance(found, int | float) and math.isfinite(found) else None


def _figure(kind: _Kind, a: float | None, b: float | None) -> Figure:
    said = [figures.UNKNOWN if one is None else kind.said(one) for one in (a, b)]
    change = kind.change(a, b) if a is not None and b is not None else ""
    return Figure(kind.name, said[0], said[1], change, (a, b))


def _times(a: Data, b: Data) -> Iterator[Figure]:
    """How long the models that answer took, which is not what graders took."""
    lines = []
    for data in (a, b):
        try:
            by_role = {} if data.file else read(data.place.run.journal, "role")
        except KaratError:
            by_role = {}
        lines.append(by_role.get("teacher"))
    for share in (0.5, 0.95):
        values = [None if line is None else line.latency_ms(share) for line in lines]
        if values != [None, None]:
            name = f"a call of a teacher, p{100 * share:.0f}"
            yield _figure(_Kind(name, lambda _: None, duration, _ratio), values[0], values[1])


def measured(found: Compared) -> list[Figure]:
    """Of the rows themselves: words, responses; scores where both sides have the same reward."""
    lines = []
    for name in (*WORDS, *found.scores):
        one = found.found.figures.get(name)
        if one is None or (one["a"] is None and one["b"] is None):
            continue
        said = [figures.UNKNOWN if v is None else _short(v) for v in (one["a"], one["b"])]
        title = name if name in WORDS else f"mean {visible(name, 100)}"
        lines.append(
            Figure(title, said[0], said[1], _interval(one["change"]), (one["a"], one["b"]))
        )
    return lines


def _short(value: float) -> str:
    return plain(value, 2) if abs(value) < 100 else f"{value:,.0f}"


def _interval(change: Sequence[float] | None) -> str:
    if change is None:
        return ""
    value, low, high = change
    if low == high == 0:
        return "the same"
    digits = 2 if max(abs(low), abs(high)) < 100 else 0
    ends = f"{plain(low, digits)} to {plain(high, digits)}"
    if low <= 0 <= high:
        return f"no clear difference ({ends})"
    return f"{'+' if value > 0 else ''}{plain(value, digits)} ({ends})"


# --- funnels -------------------------------------------------------------------------------------


class Funnel(NamedTuple):
    """A run's rows from step to step, drawn; empty where it has no report."""

    name: str
    href: str
    chart: str


def funnels(a: Data, b: Data) -> list[Funnel]:
    """Beside each other, on a scale each."""
    found = []
    for key, one in (("a", a), ("b", b)):
        report, chart = seen(one).report, ""
        if report is not None:
            steps = steps_of(report["funnel"])
            flow = Flow(steps, NARROW, rows_of_step(one.place.slug))
            chart = drawn(flow, f"Rows of {key.upper()}", told(steps), f"flow-{key}", linked=True)
        found.append(Funnel(one.place.name, run_page(one.place.slug), chart))
    return found


# --- rows in common ------------------------------------------------------------------------------


def reasons(counts: dict[str, int], data: Data) -> list[tuple[str, str, str]]:
    """(reason, rows, where these are) of rows that the run behind `data` does not have."""
    found = []
    for reason, count in counts.items():
        step, colon, why = reason.partition(": ")
        href = run_page(data.place.slug, "/rows", kept="dropped", step=step, reason=why)
        known = bool(colon) and not data.file
        found.append((visible(reason, 200), f"{count:,}", href if known else ""))
    return found
