"""Labels that overlap nothing: how wide a text is, and where beside its point it may stand.

No font can be asked here, so a text is as wide as in the widest font that a reader is likely to
have: a label may stand a little free, and is never cut off.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

ROUNDS = 4  # in which every label may move once more
FAR = 1e6  # price of standing on another label, beside which nothing else counts

# Widths in thousandths of the size, the wider of DejaVu Sans and Liberation Sans (which has
# Helvetica's), in groups, from the advance widths in both files.
_WIDTHS = {
    sign: width
    for width, signs in {
        300: "'ijl ,.I", 360: "/:;\\f|·", 400: "()-[]t", 440: '!r"', 520: "*J`", 560: "?L_csz–",
        600: "kvxy", 640: "$0123456789FTabdeghnopqu{}", 680: "EKPSY", 720: "ABVXZ", 760: "CHNRU",
        800: "&DGOQ", 840: "#+<=>^w~−", 880: "M", 960: "%", 1000: "Wm…—←", 1040: "@",
    }.items()
    for sign in signs
}  # fmt: skip
BOLD = 1.12


def width_of(text: str, size: float) -> float:
    """Pixels that a text takes, rather more than less."""
    total = 0
    for sign in text:
        if sign in _WIDTHS:
            total += _WIDTHS[sign]
        elif not unicodedata.combining(sign):
            total += 1000 if unicodedata.east_asian_width(sign) in "WF" else 760
    return total * size / 1000


def elide(text: str, width: float, size: float, head: float = 0.5) -> str:
    """The text, or its two ends around … where it is too wide; `head` is the first one's share."""
    text = " ".join(text.split())
    if width_of(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        first = min(max(round(kept * head), 1), kept)
        shown = f"{text[:first].rstrip()}…{text[len(text) - kept + first :].lstrip()}"
        if width_of(shown, size) <= width:
            return shown
    return f"{text[:1]}…"


def shorten(names: Sequence[str], width: float, size: float) -> dict[str, str]:
    """What each name is called where there is no more room: short, and never what another is.

    `provider/maker/model` is called `model` where no other model is, then its middle is left out,
    then its end, then all but a number.
    """
    last = [name.rpartition("/")[2].strip() or name for name in names]
    called = [
        short if last.count(short) == 1 and short not in names else name
        for name, short in zip(names, last, strict=True)
    ]
    for head in (0.5, 0.7, 0.3, 0.85, 1.0):
        shown = [elide(name, width, size, head) for name in called]
        if len(set(shown)) == len(shown):
            return dict(zip(names, shown, strict=True))
    numbered = [
        f"{place} {elide(name, width - 3 * size, size)}" for place, name in enumerate(called, 1)
    ]
    return dict(zip(names, numbered, strict=True))


class Box(NamedTuple):
    """A rectangle in pixels. `soft` ones, such as lines, may be crossed at a price."""

    left: float
    top: float
    right: float
    bottom: float
    soft: bool = False

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float, soft: bool = False) -> Box:
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2, soft)

    def over(self, other: Box) -> float:
        """Square pixels that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide * high if wide > 0 and high > 0 else 0.0

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left and other.right <= self.right
            and self.top <= other.top and other.bottom <= self.bottom
        )  # fmt: skip

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)

    def tie(self, x: float, y: float) -> tuple[float, float, float, float] | None:
        """The line from a point to its label, where they do not stand side by side."""
        near_x, near_y = self.nearest(x, y)
        apart = math.hypot(near_x - x, near_y - y)
        if apart < 14:
            return None
        share = 7 / apart
        return x + (near_x - x) * share, y + (near_y - y) * share, near_x, near_y


class Wish(NamedTuple):
    """A text that wants to stand near x, y."""

    x: float
    y: float
    text: str
    bold: bool = False
    told: str = ""


Ground = Callable[[Box], float]


def free(box: Box) -> float:
    """A ground without anything."""
    return 0.0


def place_labels(
    wishes: Sequence[Wish], taken: Sequence[Box], inside: Box, size: float, ground: Ground = free
) -> list[Box]:
    """Where each label goes: near its point, off the others, off marks where there is room.
    `ground` says what it costs to cover what lies below a box, where marks are too many to list.

    Each label in turn takes its cheapest place, a few rounds long: the same input gives the same
    picture. Labels cannot share a place while any is free.
    """
    choices = [list(_places(wish, inside, size)) for wish in wishes]
    prices = [
        [_price(box, wish, taken) + ground(box) for box in boxes]
        for wish, boxes in zip(wishes, choices, strict=True)
    ]
    chosen: list[Box | None] = [None] * len(wishes)
    for _ in range(ROUNDS):
        before = list(chosen)
        for i, wish in enumerate(wishes):
            others = [
                (box, other)
                for j, (box, other) in enumerate(zip(chosen, wishes, strict=True))
                if box is not None and j != i
            ]
            chosen[i] = min(
                zip(choices[i], prices[i], strict=True),
                key=lambda option: option[1] + _crowd(option[0], wish, others),
            )[0]
        if chosen == before:
            break
    return [box for box in chosen if box is not None]


def _places(wish: Wish, inside: Box, size: float) -> Iterator[Box]:
    """Beside the point on rings of growing width, then anywhere in the plot."""
    wide, high = width_of(wish.text, size) * (BOLD if wish.bold else 1), size + 3
    spots = []
    for ring in (11.0, 18.0, 28.0, 42.0, 60.0):
        for turn in range(16):
            angle = turn * math.pi / 8
            across, up = math.cos(angle), math.sin(angle)
            spots.append((wish.x + across * (ring + wide / 2), wish.y - up * (ring + high / 2 - 4)))
    columns, rows = 8, max(2, int((inside.bottom - inside.top) / (1.5 * high)))
    free_x, free_y = inside.right - inside.left - wide, inside.bottom - inside.top - high
    spots += [
        (
            inside.left + wide / 2 + free_x * column / (columns - 1),
            inside.top + high / 2 + free_y * row / (rows - 1),
        )
        for column in range(columns)
        for row in range(rows)
    ]
    found = [Box.around(x, y, wide, high) for x, y in spots]
    kept = [box for box in found if inside.holds(box)]
    yield from kept or found[-1:]


def _price(box: Box, wish: Wish, taken: Sequence[Box]) -> float:
    near_x, near_y = box.nearest(wish.x, wish.y)
    far = math.hypot(near_x - wish.x, near_y - wish.y)
    right = 0.0 if box.left > wish.x else 2.0  # where a reader looks for it first
    covered = sum((12.0 if other.soft else 30.0) * box.over(other) for other in taken)
    return far + right + covered / 4


def _crowd(box: Box, wish: Wish, others: Sequence[tuple[Box, Wish]]) -> float:
    """What it costs to stand on other labels or on their ties, or to cross those with one's own."""
    total = 0.0
    mine = box.tie(wish.x, wish.y)
    for other, owner in others:
        if box.over(other):
            total += FAR * (1 + box.over(other))
        theirs = other.tie(owner.x, owner.y)
        if theirs and _crosses(box, theirs):
            total += 400
        if mine and _crosses(other, mine):
            total += 400
    return total


def _crosses(box: Box, line: tuple[float, float, float, float]) -> bool:
    x0, y0, x1, y1 = line
    steps = max(1, round(math.hypot(x1 - x0, y1 - y0) / 4))
    return any(
        box.left < x0 + (x1 - x0) * i / steps < box.right
        and box.top < y0 + (y1 - y0) * i / steps < box.bottom
        for i in range(steps + 1)
    )
