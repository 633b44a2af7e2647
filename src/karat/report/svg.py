"""Charts as SVG text: axes, ticks, marks and labels, drawn on this side with no plotting library.

A chart made here is one small piece of text: it lies inside a page or stands as a file, follows the
reader's light or dark scheme, says in words what it shows, and has no script. Whatever names come
from outside are escaped in one place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol
from xml.sax.saxutils import escape

from karat.report.axes import SMALL, Axis
from karat.report.labels import BOLD, Box, Ground, Wish, elide, free, place_labels, width_of

SIZE = 12.0  # of letters, in pixels
FONTS = (
    "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Liberation Sans',"
    "'DejaVu Sans',sans-serif"
)

# Colours for a light page, then for a dark one: paper, ink, soft, grid, gold, grey. Text on either
# paper has a contrast of 4.5 or more (WCAG 2.2, 1.4.3), marks of 3 or more (1.4.11).
LIGHT = ("#ffffff", "#1b2330", "#5b6678", "#e7eaf0", "#a86f00", "#7b879a")
DARK = ("#151a22", "#e9edf3", "#a3adbd", "#2a323f", "#e8b74a", "#8d99ab")


def _colours(paper: str, ink: str, soft: str, grid: str, gold: str, grey: str) -> str:
    return (
        f".k-paper{{fill:{paper}}}.k-ink{{fill:{ink}}}.k-soft{{fill:{soft}}}"
        f".k-halo{{stroke:{paper}}}.k-grid{{stroke:{grid}}}.k-axis{{stroke:{soft}}}"
        f".k-gold{{fill:{gold}}}.k-gold-line{{stroke:{gold}}}"
        f".k-grey{{fill:{grey}}}.k-grey-line{{stroke:{grey}}}"
    )


# The dark rules come last: renderers that know no @media skip what follows.
STYLE = (
    f"{_colours(*LIGHT)}@media(prefers-color-scheme:dark){{{_colours(*DARK)}}}"
)  # fmt: skip
# What XML 1.0 §2.2 allows in no document, however it is written.
_NEVER = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def words(text: str) -> str:
    """Any text as XML text or the value of an attribute."""
    return escape(_NEVER.sub("�", text), {'"': "&quot;"})


def number(value: float) -> str:
    """A coordinate: as short as a hundredth of a pixel allows."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


# --- one plot ----------------------------------------------------------------------------------


class Panel:
    """One plot: a title, two axes, and marks put at values. Labels are placed when it is drawn."""

    def __init__(
        self, title: str, x: Axis, y: Axis, width: float, height: float,
        legend: Sequence[tuple[str, str]] = (),
    ) -> None:  # fmt: skip
        self.title, self.x, self.y, self.width, self.height = title, x, y, width, height
        self.legend = legend  # (the kind of a dot, a line or an area, what it means)
        most = width * 0.38  # of the width, for the texts on the upright axis
        self._bottom = height - (44 if x.label else 24) - (15 if x.under else 0)
        needed = sum(width_of(text, SMALL) + 28 for _, text in legend)
        beside = width_of(y.label, SMALL) + 20 + needed <= width
        self._legend_y = 34 if beside or not y.label else 52
        self._top = (self._legend_y if legend else 34 if y.label else 16) + 18.0
        self._y_ticks = [
            (value, elide(text, most, SMALL))
            for value, text in y.ticks(self._bottom - self._top, upright=True)
        ]
        self._left = 10 + max((width_of(text, SMALL) for _, text in self._y_ticks), default=0)
        self._right = width - 12
        self._marks: list[str] = []
        self._wishes: list[Wish] = []
        self._taken: list[Box] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point."""
        across = self._left + self.x.share(x) * (self._right - self._left)
        return across, self._bottom - self.y.share(y) * (self._bottom - self._top)

    def line(self, points: Sequence[tuple[float, float]], kind: str, dashes: str = "") -> None:
        """A line through points; `kind` is a class of STYLE."""
        path = "L".join(f"{number(x)} {number(y)}" for x, y in (self.at(*p) for p in points))
        extra = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._marks.append(
            f'<path class="{kind}" fill="none" stroke-width="1.5"{extra} d="M{path}"/>'
        )
        self._block([self.at(*p) for p in points])

    def area(
        self, lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]],
        kind: str, opacity: float,
    ) -> None:  # fmt: skip
        """What lies between two lines, both from left to right."""
        points = (self.at(*point) for point in (*upper, *reversed(lower)))
        path = "L".join(f"{number(x)} {number(y)}" for x, y in points)
        self._marks.append(f'<path class="{kind}" opacity="{opacity:g}" d="M{path}Z"/>')

    def spread(
        self, start: tuple[float, float], end: tuple[float, float], kind: str, opacity: float = 1.0
    ) -> None:
        """An error bar between two points, along one of the axes. Where it goes on beyond the plot
        it has no cap."""
        upright = start[0] == end[0]
        axis, dx, dy = (self.y, 3.5, 0.0) if upright else (self.x, 0.0, 3.5)
        drawn = [self.at(*start), self.at(*end)]
        path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in drawn)
        for point, (x, y) in zip((start, end), drawn, strict=True):
            value = point[1] if upright else point[0]
            if axis.low <= value <= axis.high or (axis.zero and value == 0):
                path += f"M{number(x - dx)} {number(y - dy)}L{number(x + dx)} {number(y + dy)}"
        faint = "" if opacity == 1 else f' opacity="{opacity:g}"'
        self._marks.append(
            f'<path class="{kind}" fill="none" stroke-width="1.5"{faint} d="{path}"/>'
        )
        self._block(drawn)

    def dot(self, x: float, y: float, kind: str, told: str = "", label: str = "") -> None:
        """A point: `best` (gold, ringed), `good` (gold), `even` (gold, hollow), `plain` (grey) or
        `other` (grey, hollow). `told` is its tooltip."""
        px, py = self.at(x, y)
        self._marks.append(_dot(px, py, kind, told))
        self._taken.append(Box.around(px, py, 17 if kind == "best" else 12, 12))
        if label:
            self._wishes.append(Wish(px, py, label, kind == "best", told or label))

    def name(self, x: float, y: float, text: str) -> None:
        """A text near a point without a dot of its own."""
        self._wishes.append(Wish(*self.at(x, y), text))

    def _block(self, points: list[tuple[float, float]]) -> None:
        """Keeps labels off a line: one thin box along an axis, small ones on the slant."""
        for (x0, y0), (x1, y1) in pairwise(points):
            straight = x0 == x1 or y0 == y1
            pieces = 1 if straight else max(1, round(math.hypot(x1 - x0, y1 - y0) / 8))
            for i in range(pieces):
                xs = [x0 + (x1 - x0) * part / pieces for part in (i, i + 1)]
                ys = [y0 + (y1 - y0) * part / pieces for part in (i, i + 1)]
                self._taken.append(
                    Box(min(xs) - 1.5, min(ys) - 1.5, max(xs) + 1.5, max(ys) + 1.5, soft=True)
                )

    def draw(self) -> str:
        """The plot as SVG elements, its upper left corner at 0, 0."""
        return "".join((*self._frame(), *self._marks, *self._labels()))

    def _frame(self) -> Iterator[str]:
        yield _text(0, 14, elide(self.title, self.width / BOLD, 14), "k-ink", 14, weight=600)
        if self.y.label:
            yield _text(0, 34, elide(self.y.label, self.width, SMALL), "k-soft", SMALL)
        yield from self._drawn_legend()
        for value, text in self._y_ticks:
            py = self.at(self.x.low, value)[1]
            if not self.y.names:
                yield _rule(self._left, py, self._right, py, "k-grid")
            yield _text(self._left - 8, py + 4, text, "k-soft", SMALL, "end")
        for value, text in self.x.ticks(self._right - self._left):
            px = self.at(value, self.y.low)[0]
            yield _rule(px, self._top, px, self._bottom, "k-grid")
            half = width_of(text, SMALL) / 2
            middle = min(max(px, half), self.width - half)
            yield _text(middle, self._bottom + 17, text, "k-soft", SMALL, "middle")
            if self.x.under:
                beneath = self.x.under(value)
                yield _text(middle, self._bottom + 32, beneath, "k-soft", SMALL, "middle")
        yield _rule(self._left, self._bottom, self._right, self._bottom, "k-axis")
        if self.x.label:
            yield _text(self._right, self.height - 6, self.x.label, "k-soft", SMALL, "end")

    def _drawn_legend(self) -> Iterator[str]:
        start = 9.0
        if self._legend_y == 34:
            start = self._right - sum(width_of(text, SMALL) + 28 for _, text in self.legend) + 28
        for kind, text in self.legend:
            yield _sample(start, self._legend_y - 4, kind)
            yield _text(start + 11, self._legend_y, text, "k-soft", SMALL)
            start += width_of(text, SMALL) + 28

    def _labels(self) -> Iterator[str]:
        inside = Box(self._left + 2, self._top - 4, self._right, self._bottom - 2)
        yield from labels(self._wishes, self._taken, inside)


def labels(
    wishes: Sequence[Wish], taken: Sequence[Box], inside: Box, ground: Ground = free
) -> Iterator[str]:
    """Texts near their points and off each other, tied to them where they stand apart."""
    for wish, box in zip(wishes, place_labels(wishes, taken, inside, SIZE, ground), strict=True):
        if (tie := box.tie(wish.x, wish.y)) is not None:
            yield _rule(*tie, "k-axis", opacity=0.6)
        # Held at the side that faces the point, wherever the reader's font ends.
        if box.right <= wish.x:
            x, anchor = box.right, "end"
        elif box.left >= wish.x:
            x, anchor = box.left, "start"
        else:
            x, anchor = (box.left + box.right) / 2, "middle"
        yield _text(
            x, box.bottom - 3.5, wish.text, "k-ink k-halo", SIZE, anchor, halo=True,
            weight=600 if wish.bold else 400, told=wish.told,
        )  # fmt: skip


def _dot(x: float, y: float, kind: str, told: str = "") -> str:
    place = f'cx="{number(x)}" cy="{number(y)}"'
    title = f"<title>{words(told)}</title>" if told else ""
    colour = "k-grey" if kind in ("plain", "other") else "k-gold"
    if kind in ("even", "other"):
        mark = f'<circle class="k-paper {colour}-line" {place} r="4.5" stroke-width="1.8"/>'
    else:
        mark = f'<circle class="{colour}" {place} r="4.8"/>'
    if kind == "best":
        mark += f'<circle class="k-gold-line" fill="none" {place} r="8" stroke-width="1.6"/>'
    return f"<g>{title}{mark}</g>"


def _sample(x: float, y: float, kind: str) -> str:
    """A legend's mark: `KIND-line` a line, `KIND-dashes` a broken one, `KIND-area` a filled patch,
    else a dot."""
    colour, _, shape = kind.rpartition("-")
    if shape == "area":
        place = f'x="{number(x - 6)}" y="{number(y - 5)}"'
        return f'<rect class="{colour}" opacity=".5" {place} width="12" height="10"/>'
    if shape not in ("line", "dashes"):
        return _dot(x, y, kind)
    dashes = ' stroke-dasharray="4 3"' if shape == "dashes" else ""
    path = f'd="M{number(x - 8)} {number(y)}h16"'
    return f'<path class="{colour}-line" stroke-width="1.8"{dashes} {path}/>'


def _rule(x0: float, y0: float, x1: float, y1: float, kind: str, opacity: float = 1.0) -> str:
    faint = "" if opacity == 1 else f' opacity="{opacity:g}"'
    return (
        f'<path class="{kind}"{faint} stroke-width="1" '
        f'd="M{number(x0)} {number(y0)}L{number(x1)} {number(y1)}"/>'
    )


def _text(
    x: float, y: float, text: str, kind: str, size: float, anchor: str = "start",
    weight: int = 400, halo: bool = False, told: str = "",
) -> str:  # fmt: skip
    extra = f' text-anchor="{anchor}"' if anchor != "start" else ""
    extra += f' font-weight="{weight}"' if weight != 400 else ""
    extra += ' paint-order="stroke" stroke-width="3" stroke-linejoin="round"' if halo else ""
    title = f"<title>{words(told)}</title>" if told else ""
    return (
        f'<text class="{kind}" x="{number(x)}" y="{number(y)}" font-size="{size:g}"{extra}>'
        f"{title}{words(text)}</text>"
    )


# --- a whole picture ---------------------------------------------------------------------------


class Drawing(Protocol):
    """What a picture is made of: a panel, or anything else of known size."""

    width: float
    height: float

    def draw(self) -> str:
        """SVG elements, the upper left corner at 0, 0."""


def figure(
    panels: Sequence[Drawing], title: str, told: str, *, columns: int = 1, key: str = "chart",
    margin: float = 0.0,
) -> str:  # fmt: skip
    """Panels in columns as one SVG document. `told` says in words what they show; `key` tells its
    ids apart from those of other charts on a page."""
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    space = 28.0
    width = max(sum(p.width for p in row) + space * (len(row) - 1) for row in rows) + 2 * margin
    parts, top = [], margin
    for row in rows:
        left = margin
        for panel in row:
            parts.append(
                f'<g transform="translate({number(left)} {number(top)})">{panel.draw()}</g>'
            )
            left += panel.width + space
        top += max(panel.height for panel in row) + space
    height = top - space + margin
    w, h = number(width), number(height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
        f'role="img" aria-labelledby="{key}-title {key}-told" font-family="{FONTS}">'
        f'<title id="{key}-title">{words(title)}</title><desc id="{key}-told">{words(told)}</desc>'
        f'<style>{STYLE}</style><rect class="k-paper" width="{w}" height="{h}"/>'
        f"{''.join(parts)}</svg>"
    )
