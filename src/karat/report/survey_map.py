"""The map of a survey: one point a text, one kind of mark a group, the groups' names on it.

24 groups are more than colours a reader can tell apart, so eight colours come in three shapes. Text
that is shown is somebody else's: it is cut, and escaped where all of a chart's words are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from karat.report.labels import BOLD, Box, Ground, Wish, elide, width_of
from karat.report.svg import SIZE, labels, number, words

# For a light page and for a dark one, with a contrast of 3 or more on either (WCAG 2.2, 1.4.11).
LIGHT = (
    "#0b6bcb", "#a86f00", "#b3261e", "#1a7f4b", "#7b3fb5", "#00798c", "#b4418e", "#5b6678",
)  # fmt: skip
DARK = (
    "#6cb2ff", "#e8b74a", "#ff8a80", "#5fd39a", "#c79bff", "#4dc9dc", "#ff8fce", "#a3adbd",
)  # fmt: skip
TOLD = 240  # characters of a text
LABELLED_NARROW = 10  # groups named where there is little room
LABEL = 170.0  # pixels of a name on the map
REACH = 4  # pixels from the middle of a mark to its edge
COVERED = 24.0  # price of covering a mark, in pixels that a label stands farther off


def _colours(colours: Sequence[str]) -> str:
    return "".join(
        f".k-c{place}{{fill:{colour}}}.k-c{place}-line{{stroke:{colour}}}"
        for place, colour in enumerate(colours)
    )


STYLE = f"{_colours(LIGHT)}@media(prefers-color-scheme:dark){{{_colours(DARK)}}}"


class Point(NamedTuple):
    """A text at x, y in 0 … 1, and the group it belongs to."""

    x: float
    y: float
    group: int
    text: str


class Map:
    """The drawing, `width` pixels wide. `names` are the groups', the largest first."""

    def __init__(self, points: Sequence[Point], names: Sequence[str], width: float) -> None:
        self.width = width
        self.height = float(round(width * (0.68 if width > 450 else 1.05)))
        self._points, self._names = points, names

    def draw(self) -> str:
        """The marks, the large groups' first so that small ones are not covered; then the names."""
        marks = (self._mark(p) for p in sorted(self._points, key=lambda point: point.group))
        return "".join((f"<style>{STYLE}</style>", *marks, *self._labels()))

    def _at(self, x: float, y: float) -> tuple[float, float]:
        room = 10
        return room + x * (self.width - 2 * room), room + (1 - y) * (self.height - 2 * room)

    def _mark(self, point: Point) -> str:
        told = f"{self._names[point.group]}: {shortened(point.text)}"
        return mark(point.group, *self._at(point.x, point.y), told)

    def _labels(self) -> Iterator[str]:
        wide = self.width > 450
        many = len(self._names) if wide else min(len(self._names), LABELLED_NARROW)
        named = self._names[:many]
        short = short_names(named, LABEL, 2 if wide else 1)
        wishes = []
        for group, name in enumerate(named):
            own = np.array([(p.x, p.y) for p in self._points if p.group == group])
            if len(own):
                x, y = self._at(*_middle(own))
                wishes.append(Wish(x, y, short[group], bold=True, told=name))
        inside = Box(4, 4, self.width - 4, self.height - 4)
        yield from labels(wishes, [], inside, self._ground())

    def _ground(self) -> Ground:
        """What a label costs by the marks it would cover: counted once, as sums from the corner."""
        width, height = math.ceil(self.width), math.ceil(self.height)
        marks_HW = np.zeros((height + 1, width + 1), np.int32)
        for point in self._points:
            x, y = self._at(point.x, point.y)
            marks_HW[min(height, max(1, round(y))), min(width, max(1, round(x)))] += 1
        sums_HW = marks_HW.cumsum(axis=0).cumsum(axis=1)

        def price(box: Box) -> float:
            left, right = (min(width, max(0, round(x))) for x in (box.left - REACH,
                                                                  box.right + REACH))  # fmt: skip
            top, low = (min(height, max(0, round(y))) for y in (box.top - REACH,
                                                                box.bottom + REACH))  # fmt: skip
            inside = sums_HW[low, right] - sums_HW[top, right] - sums_HW[low, left]
            return COVERED * float(inside + sums_HW[top, left])

        return price


def short_names(named: Sequence[str], width: float, most: int) -> list[str]:
    """Each group's label: up to `most` of its words, those first that no other group has, as many
    as there is room for, and never what another is called."""
    listed = [name.split(", ") for name in named]
    count = Counter(word for one in listed for word in set(one))
    found: list[str] = []
    for one in listed:
        first = sorted(one, key=lambda word: count[word] > 1)
        several = (", ".join(first[:n]) for n in range(min(most, len(first)), 0, -1))
        short = next((text for text in several if width_of(text, SIZE) * BOLD <= width), "")
        short = short or elide(first[0], width / BOLD, SIZE, 1.0)
        number = 2
        while short in found:
            short = f"{elide(first[0], width / BOLD - 3 * SIZE, SIZE, 1.0)} {number}"
            number += 1
        found.append(short)
    return found


def shortened(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text[: 4 * TOLD].split())
    return line if len(line) <= TOLD else f"{line[:TOLD]} …"


def mark(group: int, x: float, y: float, told: str = "") -> str:
    """A group's mark: a dot, a diamond or a ring in one of eight colours."""
    colour, shape = group % len(LIGHT), group // len(LIGHT) % 3
    title = f"<title>{words(told)}</title>" if told else ""
    at = f'cx="{number(x)}" cy="{number(y)}"'
    if shape == 0:
        return f'<circle class="k-c{colour}" opacity=".8" {at} r="3.6">{title}</circle>'
    if shape == 1:
        path = f"M{number(x)} {number(y - 4.6)}l4.6 4.6-4.6 4.6-4.6-4.6z"
        return f'<path class="k-c{colour}" opacity=".8" d="{path}">{title}</path>'
    ring = f'class="k-paper k-c{colour}-line" stroke-width="1.7"'
    return f'<circle {ring} {at} r="3.3">{title}</circle>'


def _middle(places: NDArray[np.float64]) -> tuple[float, float]:
    """The member nearest to the middle: a mean may lie between two halves, where nobody is."""
    apart = np.abs(places - np.median(places, axis=0)).sum(axis=1)
    x, y = places[int(apart.argmin())]
    return float(x), float(y)
