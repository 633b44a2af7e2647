"""The charts of an evaluation: how sure a reward is and how right, and what length does to it.

A reward that is as sure as it should be lies on the diagonal; one that judges, and does not
measure, is level from answers that are far shorter than the other one to those far longer.
"""

from __future__ import annotations

from typing import Any

from karat.report.axes import Axis
from karat.report.svg import Panel

Notes = dict[str, Any]  # a part of evaluation.json
STOPS, END, BEYOND = (-2.0, -1.0, 0.0, 1.0, 2.0), 2.8, 0.4  # of log2 ratios


def percent(value: float) -> str:
    """A tick."""
    return f"{100 * value:.0f}%"


def height(width: float) -> float:
    """As the charts of a grading page."""
    return round(0.5 * width + 96 if width > 450 else 0.8 * width + 96)


def calibration(found: Notes, width: float) -> Panel | None:
    """Predicted against observed, in bins of equal numbers; None where it is never sure."""
    bins = found["bins"]
    if len(bins) < 2:
        return None
    lows = [0.0 if one["observed"]["low"] is None else one["observed"]["low"] for one in bins]
    kinds = [("good", "observed, 95%"), ("k-grey-dashes", "as sure as right")]
    y = Axis("people agree", max(0.0, min(0.5, *lows) - 0.03), 1.03, text=percent)
    most = max(one["predicted"] for one in bins)
    x = Axis("its confidence, scaled on other prompts", 0.49, max(most + 0.02, 0.6), text=percent)
    panel = Panel("As sure as it is right?", x, y, width, height(width), kinds)
    panel.line([(0.5, 0.5), (x.high, x.high)], "k-grey-line", "4 3")
    for one in bins:
        seen, at = one["observed"], one["predicted"]
        told = f"confidence {percent(at)}, right {percent(seen['value'])}, n = {one['n']:,}"
        _dot(panel, at, seen, told)
    return panel


def by_length(found: Notes, width: float) -> Panel | None:
    """Accuracy by the length of the better response in the other's; None for too few pairs."""
    shown = [one for one in found["bins"] if one["accuracy"]]
    if len(shown) < 2:
        return None
    kinds = [("good", "right, 95%"), ("k-grey-dashes", "chance")]
    y = Axis("right", 0.0, 1.03, text=percent)
    x = Axis("the better response is so many times as long", -END, END, text=_times, stops=STOPS)
    panel = Panel("Right whatever the length?", x, y, width, height(width), kinds)
    panel.line([(-END, 0.5), (END, 0.5)], "k-grey-line", "4 3")
    points = [(_middle(one), one["accuracy"]["value"]) for one in shown]
    panel.line(points, "k-gold-line")
    for (at, value), one in zip(points, shown, strict=True):
        _dot(panel, at, one["accuracy"], f"right {percent(value)}, n = {one['n']:,}")
    return panel


def _dot(panel: Panel, at: float, seen: Notes, told: str) -> None:
    """A value with its interval, as far as it is known."""
    ends = [seen["value"] if seen[end] is None else seen[end] for end in ("low", "high")]
    panel.spread((at, ends[0]), (at, ends[1]), "k-gold-line", 0.7)
    panel.dot(at, seen["value"], "good", told)


def _middle(one: Notes) -> float:
    """Where a bin of log2 ratios is drawn; an open one a little beyond its end."""
    low, high = one["low"], one["high"]
    if low is None:
        return float(high) - BEYOND
    return float(low) + BEYOND if high is None else float(low + high) / 2


def _times(log2: float) -> str:
    value = 2.0**log2
    return f"×{value:.0f}" if value >= 1 else f"×1/{1 / value:.0f}"
