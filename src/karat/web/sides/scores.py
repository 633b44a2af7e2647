"""Scores of two data sets on each other: where they lie, and what can be told apart.

Only scores that the same reward gave on both sides meet, each on a scale of its own. Distributions
are of all accepted rows, differences of the prompts that both have: what a run dropped changes the
first, and not the second.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from karat.report.apart import Apart
from karat.report.axes import Axis
from karat.report.recommendation import decimals, plain
from karat.report.run_charts import drawn
from karat.report.run_scores import stairs
from karat.report.side import WORDS, Floats
from karat.report.svg import Panel
from karat.report.whiskers import whisker
from karat.visible import visible
from karat.web.addresses import run_page
from karat.web.sides.data import Data, seen
from karat.web.sides.reading import Compared

BINS = 24
MOST_SCORES = 24


class Score(NamedTuple):
    """A score on both sides: its picture, both means, and what can be said on common prompts."""

    name: str
    chart: str
    said: str
    verdict: str
    shown: bool
    whisker: str
    prompts: str
    rows_a: str
    rows_b: str


def scores(found: Compared, a: Data, b: Data) -> list[Score]:
    """Of every score that the same reward gave on both sides."""
    paired = {one.name: one for one in found.apart}
    drawn_over = _scales(found, paired)
    made = []
    for place, name in enumerate(found.scores[:MOST_SCORES]):
        first, second = (side.numbers[name] for side in (found.a, found.b))
        first, second = first[np.isfinite(first)], second[np.isfinite(second)]
        if not len(first) or not len(second):
            continue
        one = paired.get(name)
        said = f"A {plain(float(first.mean()))} of {len(first):,}, " \
               f"B {plain(float(second.mean()))} of {len(second):,}"  # fmt: skip
        made.append(
            Score(
                visible(name, 120), _overlaid(name, first, second, said, f"score-{place}"), said,
                one.said if one else "no prompt in common has it",
                bool(one and one.shown),
                _whisker(one, drawn_over[_reward(name)]) if one else "",
                f"{one.prompts:,}" if one else "0", _rows(a, name), _rows(b, name),
            )
        )  # fmt: skip
    return made


def _reward(name: str) -> str:
    return name.rpartition(".")[0]


def _scales(found: Compared, paired: dict[str, Apart]) -> dict[str, tuple[float, float]]:
    """One scale for the differences of each reward: those of two rewards are not compared."""
    made = {}
    for reward in {_reward(name) for name in found.scores}:
        ends = [
            end for name, one in paired.items() if name in found.scores and _reward(name) == reward
            for end in (one.apart.low, one.apart.high, one.apart.value) if math.isfinite(end)
        ]  # fmt: skip
        most = max(map(abs, ends), default=1.0) or 1.0
        made[reward] = (-1.05 * most, 1.05 * most)
    return made


def _whisker(one: Apart, over: tuple[float, float]) -> str:
    ends = [
        end if math.isfinite(end) else None
        for end in (one.apart.value, one.apart.low, one.apart.high)
    ]
    return whisker(ends, over)


def _rows(data: Data, name: str) -> str:
    """A run's accepted rows, the best of this score first."""
    if data.file:
        return ""
    return run_page(data.place.slug, "/rows", kept="accepted", sort=name)


def _overlaid(name: str, first: Floats, second: Floats, said: str, key: str) -> str:
    low, high = (float(end) for end in (min(first.min(), second.min()),
                                        max(first.max(), second.max())))  # fmt: skip
    high = max(high, low + 1e-9 * max(1.0, abs(low)))
    edges = np.linspace(low, high, BINS + 1)
    heights = [np.histogram(one, edges)[0] / len(one) for one in (first, second)]
    top = 1.08 * float(max(one.max() for one in heights))
    room = (high - low) * 0.02
    panel = Panel(
        visible(name, 120), Axis("", low - room, high + room),
        Axis("", 0.0, top, text=lambda v: f"{v:.0%}"), 372.0, 214.0,
        [("k-grey-area", "A"), ("k-gold-line", "B")],
    )  # fmt: skip
    ground = [(low, 0.0), (high, 0.0)]
    outlines = [stairs(edges.tolist(), one.tolist()) for one in heights]
    panel.area(ground, outlines[0], "k-grey", 0.5)
    panel.area(ground, outlines[1], "k-gold", 0.16)
    panel.line([ground[0], *outlines[1], ground[1]], "k-gold-line")
    for values, kind in ((first, "k-grey-line"), (second, "k-gold-line")):
        mean = float(values.mean())
        panel.line([(mean, 0.0), (mean, top)], kind, "2 4")
    return drawn(panel, name, said, key)


def choosing(found: Compared, a: Data, b: Data) -> list[str]:
    """Scores that chose answers on a side: what is chosen by a score looks good by it."""
    chose = {str(report.get("ranking")) for one in (a, b) if (report := seen(one).report)}
    return [visible(name, 120) for name in found.scores if name in chose]


def length(found: Compared) -> str:
    """Whether answers to the same prompts became longer: a reward may only like length."""
    for one in found.apart:
        if one.name == WORDS[1]:
            digits = decimals(one.apart)
            if not one.shown:
                return f"Length of answers to the same prompts: {one.said}"
            more = "longer" if one.apart.value > 0 else "shorter"
            return (
                f"B's answers to the same prompts are {more} by "
                f"{plain(abs(one.apart.value), min(digits, 1))} words on average"
            )
    return ""
