"""The charts of a grading page: best of k, what length is worth to a reward, and what was kept.

Two rewards never share an axis: each has a scale of its own, and two curves that cross there say
nothing. Where two panels belong together, they share the axis along the bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from karat.report.axes import Axis, fit
from karat.report.recommendation import plain
from karat.report.svg import Panel

WIDE, NARROW = 560.0, 344.0
# A warning's colour, with a contrast of 3 or more on either paper (WCAG 2.2, 1.4.11).
WARN = "#b3261e", "#ff8a80"
WARNING = ".k-warn{{fill:{0}}}.k-warn-line{{stroke:{0}}}"
STYLE = (
    f"{WARNING.format(WARN[0])}@media(prefers-color-scheme:dark){{{WARNING.format(WARN[1])}}}"
)  # fmt: skip
CROWDED = 1.4  # a last k nearer than this to a power of two has no tick of its own

Curve = dict[str, Any]  # scoring.overoptimisation.Meter as JSON
Points = list[tuple[float, float]]


def _height(width: float) -> float:
    return round(0.5 * width + 96 if width > 450 else 0.8 * width + 96)


# --- best of k -----------------------------------------------------------------------------------


def best_of_k(
    curve: Curve, by: str, held_out: str | None, width: float, within: Sequence[str] = (),
) -> list[Panel]:  # fmt: skip
    """The curve of the reward that picks, and beside it that of the one held out.

    `within` are scores that compare within one prompt only, which are measured from its mean.
    """
    panels = [_curve(curve, "grading", "predicted", "The reward that picks", by, width, within)]
    if held_out is not None:
        panels.append(
            _curve(curve, "held", "held_predicted", "A reward held out", held_out, width, within)
        )
    return panels


def _curve(
    curve: Curve, key: str, predicted: str, title: str, name: str, width: float,
    within: Sequence[str],
) -> Panel:  # fmt: skip
    rungs = curve["rungs"]
    kinds = [("k-gold-line", "mean, 95%"), ("k-grey-dashes", "predicted")]
    if curve["recommended"] is not None:
        kinds.append(("best", "recommended"))
    ends = [v for r in rungs for v in (*r[key].values(), r[predicted])]
    label = f"{name}, from the prompt's mean" if name in within else name
    panel = Panel(title, across(rungs), fit(ends, label, log=False), width, _height(width), kinds)

    def line(of: Any) -> Points:
        return [(rung["k"], of(rung)) for rung in rungs]

    panel.area(line(lambda r: r[key]["low"]), line(lambda r: r[key]["high"]), "k-gold", 0.18)
    panel.line(line(lambda r: r[predicted]), "k-grey-line", "4 3")
    panel.line(line(lambda r: r[key]["value"]), "k-gold-line")
    if key == "held" and curve["warning"]:
        _turn(panel, curve, line(lambda r: r[key]["value"]))
    for rung in rungs:
        if rung["k"] == curve["recommended"]:
            x, told = float(rung["k"]), f"best of {rung['k']}: {plain(rung[key]['value'])}"
            panel.line([(x, panel.y.low), (x, panel.y.high)], "k-axis", "2 4")
            panel.dot(x, rung[key]["value"], "best", told, f"n = {rung['k']}")
    return panel


def _turn(panel: Panel, curve: Curve, points: Points) -> None:
    """Marks what lies beyond the peak: more answers, and worse ones."""
    beyond = [point for point in points if point[0] >= curve["peak"]]
    ends = beyond[0][0], beyond[-1][0]
    low, high = ([(x, y) for x in ends] for y in (panel.y.low, panel.y.high))
    panel.area(low, high, "k-warn", 0.12)
    panel.line(beyond, "k-warn-line")
    panel.name(*beyond[-1], "turns down")


def across(rungs: Sequence[dict[str, Any]]) -> Axis:
    """k on an axis of powers of two, and the KL divergence that goes with it below."""
    last = rungs[-1]["k"]
    kl = {float(rung["k"]): rung["kl"] for rung in rungs}
    stops = [2.0**power for power in range(last.bit_length())]
    if last / stops[-1] >= CROWDED:
        stops.append(float(last))
    return Axis(
        "best of k; below, KL in nats at most", 1.0, max(float(last), 2.0), log=True,
        text=lambda k: f"{k:.0f}", stops=stops, under=lambda k: f"{kl.get(k, 0):.2g}",
    )  # fmt: skip


# --- length --------------------------------------------------------------------------------------


def length_curve(curve: dict[str, list[float]], by: str, unit: str, width: float) -> Panel:
    """What answers of each length get more than the mean one: what is taken off."""
    kinds = [("k-gold-line", "taken off"), ("k-grey-dashes", "no lean")]
    x = fit(curve["length"], f"length in {unit}", lambda value: f"{value:,.0f}", log=True)
    y = fit([0.0, *curve["bias"]], f"{by}, above the mean", log=False)
    panel = Panel("What length is worth to it", x, y, width, _height(width), kinds)
    points = list(zip(curve["length"], curve["bias"], strict=True))
    panel.area([(x, 0.0) for x, _ in points], points, "k-gold", 0.18)
    panel.line([(points[0][0], 0.0), (points[-1][0], 0.0)], "k-grey-line", "4 3")
    panel.line(points, "k-gold-line")
    return panel


# --- what was kept -------------------------------------------------------------------------------


def kept_of_all(spread: dict[str, Any], key: str, width: float) -> Panel | None:
    """The distribution of a score over all candidates, and over those that were kept; None where
    either has nothing to show."""
    everything, kept = spread["all"], spread["accepted"]
    if not everything["count"] or not kept["count"]:
        return None
    edges = everything["histogram"]["edges"]
    all_B = shares(everything["histogram"], edges)
    kept_B = shares(kept["histogram"], edges)
    kinds = [
        ("k-grey-area", f"all, mean {plain(everything['mean'])}"),
        ("k-gold-line", f"kept, mean {plain(kept['mean'])}"),
    ]
    room = (edges[-1] - edges[0]) * 0.02
    y = Axis("share of them", 0.0, 1.08 * max(*all_B, *kept_B), text=lambda v: f"{v:.0%}")
    x = Axis(key, edges[0] - room, edges[-1] + room)
    panel = Panel("All candidates, and those kept", x, y, width, _height(width), kinds)
    ground = [(edges[0], 0.0), (edges[-1], 0.0)]
    panel.area(ground, _steps(edges, all_B), "k-grey", 0.5)
    panel.area(ground, _steps(edges, kept_B), "k-gold", 0.18)
    panel.line([ground[0], *_steps(edges, kept_B), ground[1]], "k-gold-line")
    for spread_of, kind in ((everything, "k-grey-line"), (kept, "k-gold-line")):
        mean = spread_of["mean"]
        panel.line([(mean, 0.0), (mean, y.high)], kind, "2 4")
    return panel


def shares(histogram: dict[str, list[float]], edges: Sequence[float]) -> list[float]:
    """A histogram over other bins, as shares that add up to 1.

    A bin's count is spread evenly over its width; what lies outside counts to the ends.
    """
    found = [0.0] * (len(edges) - 1)
    total = sum(histogram["counts"])
    for (low, high), count in zip(pairwise(histogram["edges"]), histogram["counts"], strict=True):
        low, high = (min(max(end, edges[0]), edges[-1]) for end in (low, high))
        for place, (start, end) in enumerate(pairwise(edges)):
            if high > low:
                inside = max(0.0, min(high, end) - max(low, start)) / (high - low)
            else:  # no width is left of it: all of it lies in one bin
                inside = float(start <= low < end or low == end == edges[-1])
            found[place] += count * inside / total
    return found


def _steps(edges: Sequence[float], heights: Sequence[float]) -> Points:
    return [
        corner
        for (low, high), height in zip(pairwise(edges), heights, strict=True)
        for corner in ((low, height), (high, height))
    ]
