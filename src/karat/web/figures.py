"""Figures as pages write them, for templates and for what is sent to a page that is open: one form
of each, so that a figure does not change when it is updated."""

from __future__ import annotations

import time

from karat.report.cells import money

UNKNOWN = "–"
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0%}" if value in (0, 1) else f"{value:.1%}"


def usd(value: float | None, *, unpriced: bool = False) -> str:
    """Dollars; with `unpriced` some of it has no known price."""
    if value is None:
        return UNKNOWN
    return f"{money(value)} + ?" if unpriced else money(value)


def reward(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def rate(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.1f}/s"


def span(seconds: float | None) -> str:
    """How long: 42 s, 3 min, 2 h 5 min."""
    if seconds is None:
        return UNKNOWN
    for place, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            below = _UNITS[place + 1 : place + 2]
            smaller = f" {rest // below[0][0]} {below[0][1]}" if below and whole < 10 else ""
            return f"{whole} {unit}{'' if smaller.startswith(' 0 ') else smaller}"
    return f"{seconds:.0f} s"


def ago(when: float) -> str:
    """How long ago Unix seconds are."""
    gone = time.time() - when
    return "just now" if gone < 5 else f"{span(gone)} ago"


def day(when: float) -> str:
    """Unix seconds as local time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def utc(when: float) -> str:
    """Unix seconds for programs."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
