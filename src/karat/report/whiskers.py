"""Figures as small as a table's cell: a dot with its interval, a change, a bar of parts.

A coefficient without its width invites belief. Drawn on one scale down a column, intervals can be
compared at a glance; the figures stand below for who wants them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from karat.report.recommendation import plain
from karat.report.svg import number, words

WIDTH, HEIGHT = 160.0, 18.0
EDGE = 6.0  # of the drawing at either side of the scale

Figure = Sequence[float | None]  # value, low, high; None at an end that is open
Scale = tuple[float, float]


def scale(figures: Iterable[Figure | None], least: Scale, step: float = 0.5) -> Scale:
    """The scale of a column: `least`, and as many steps more as its figures need."""
    low, high = least
    for figure in figures:
        for end in figure or ():
            if end is not None:
                while end < low:
                    low -= step
                while end > high:
                    high += step
    return low, high


def whisker(figure: Figure, over: Scale, neutral: float = 0.0) -> str:
    """A dot and its interval on a scale, with a stroke where the figure would say nothing."""
    value, low, high = figure
    assert value is not None
    y = HEIGHT / 2
    ends = [
        _at(end, over, open_at)
        for end, open_at in zip((low, high), (EDGE, WIDTH - EDGE), strict=True)
    ]
    caps = "".join(
        f"M{number(x)} {number(y - 3)}v6"
        for x, end in zip(ends, (low, high), strict=True)
        if end is not None
    )
    line = f"M{number(ends[0])} {number(y)}H{number(ends[1])}{caps}"
    kind = "k-gold" if _tells(figure, neutral) else "k-grey"
    return _drawn(
        told(figure),
        f'{_ground(over, neutral)}<path class="{kind}-line" stroke-width="1.5" fill="none" '
        f'd="{line}"/><circle class="{kind}" cx="{number(_at(value, over))}" cy="{number(y)}" '
        'r="4"/>',
    )


def change(before: float, after: float, over: Scale) -> str:
    """A hollow dot, an arrow, and a full one: what a figure was, and what it is."""
    y, (start, end) = HEIGHT / 2, (_at(value, over) for value in (before, after))
    side = 1 if end > start else -1
    arrow = ""
    if abs(end - start) > 14:
        shaft = f"M{number(start + side * 4)} {number(y)}H{number(end - side * 6)}"
        head = f"m{-4 * side} -3l{4 * side} 3l{-4 * side} 3"
        arrow = f'<path class="k-gold-line" stroke-width="1.5" fill="none" d="{shaft}{head}"/>'
    return _drawn(
        f"{plain(before)}, then {plain(after)}",
        f"{_ground(over, 0.0)}{arrow}"
        f'<circle class="k-paper k-gold-line" cx="{number(start)}" cy="{number(y)}" r="4" '
        'stroke-width="1.6"/>'
        f'<circle class="k-gold" cx="{number(end)}" cy="{number(y)}" r="4.4"/>',
    )


def bar(parts: Sequence[tuple[str, float, str]], total: float) -> str:
    """(what, how much of `total`, a fill's class) side by side; as wide as its place."""
    drawn, start = "", 0.0
    for name, part, kind in parts:
        wide = 1000 * part / total if total else 0.0
        drawn += (
            f'<rect class="{kind}" x="{number(start)}" y="0" width="{number(wide)}" height="10">'
            f"<title>{words(name)}: {part:,.0f}</title></rect>"
        )
        start += wide
    label = ", ".join(f"{name} {part:,.0f}" for name, part, _ in parts)
    return (
        f'<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{words(label)}">{drawn}</svg>'
    )


def told(figure: Figure) -> str:
    """low … high with its value before it; an open end is said to be open."""
    value, low, high = ("?" if end is None else plain(end) for end in figure)
    return f"{value} ({low} … {high})"


def _tells(figure: Figure, neutral: float) -> bool:
    """Whether the interval leaves out what would say nothing."""
    _, low, high = figure
    return (low is not None and low > neutral) or (high is not None and high < neutral)


def _at(value: float | None, over: Scale, otherwise: float = 0.0) -> float:
    if value is None:
        return otherwise
    share = (value - over[0]) / (over[1] - over[0])
    return EDGE + min(max(share, 0.0), 1.0) * (WIDTH - 2 * EDGE)


def _ground(over: Scale, neutral: float) -> str:
    """The scale's line, and a stroke at the value that says nothing."""
    y, x = HEIGHT / 2, number(_at(neutral, over))
    return (
        f'<path class="k-axis" stroke-width="1" opacity=".25" d="M{number(EDGE)} {number(y)}H'
        f'{number(WIDTH - EDGE)}"/><path class="k-axis" stroke-width="1" opacity=".7" '
        f'd="M{x} 2V{number(HEIGHT - 2)}"/>'
    )


def _drawn(label: str, marks: str) -> str:
    return (
        f'<svg class="whisker" width="{number(WIDTH)}" height="{number(HEIGHT)}" viewBox="0 0 '
        f'{number(WIDTH)} {number(HEIGHT)}" role="img" aria-label="{words(label)}">{marks}</svg>'
    )
