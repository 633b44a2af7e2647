"""Axes: what value lies where, and which values get a tick.

Ticks are chosen by room: as many round values as stand there without their texts touching.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from karat.report.labels import width_of

SMALL = 11.0  # size of a tick's text
GAP = 14  # pixels between two of them, at least
LEAST = 1e-12  # of the greatest value: what is less lies at the start of a logarithmic axis
ZERO = 0.11  # share of a logarithmic axis that 0 takes, where it needs a place


class Axis(NamedTuple):
    """What values lie where: linear, logarithmic (with `zero`: 0 before its start), or names.

    Ticks stand at round values; at some of `stops` where there are any. `under` is a second line
    below each.
    """

    label: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    zero: bool = False
    text: Callable[[float], str] | None = None  # of a tick
    names: Sequence[str] = ()
    stops: Sequence[float] = ()
    under: Callable[[float], str] | None = None  # of a tick of an axis along the bottom

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the axis's start, 1 at its end; what is beyond, at the ends."""
        if self.names:
            return (value + 0.5) / len(self.names)
        start = ZERO if self.zero else 0.0
        if self.log:
            if value <= 0:
                return ZERO / 2 if self.zero else 0.0
            along = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            along = (value - self.low) / (self.high - self.low)
        return min(max(start + along * (1 - start), start), 1.0)

    def ticks(self, length: float, upright: bool = False) -> list[tuple[float, str]]:
        """(value, text) of as many ticks as `length` pixels hold without their texts touching."""
        if self.names:
            return [(place, name) for place, name in enumerate(self.names)]
        found: list[tuple[float, str]] = []
        for values, digits in self._choices():
            found = [(value, self._say(value, digits)) for value in values]
            if self.zero:
                start = (0.0, self._say(0.0, 0))
                while found and not self._fit([start, found[0]], length, upright):
                    found.pop(0)
                found.insert(0, start)
            if self._fit(found, length, upright):
                break
        return found

    def _say(self, value: float, digits: int) -> str:
        return self.text(value) if self.text else f"{value:.{digits}f}".replace("-", "−")

    def _choices(self) -> Iterator[tuple[list[float], int]]:
        """Sets of ticks, many first, each with the decimals its values need."""
        if self.stops:
            yield from (([*self.stops[::every]], 0) for every in (1, 2, 3, 4))
            return
        if self.log and self.high / self.low > 8:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for leads, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
                powers = range(first, last + 1, every)
                values = [lead * 10.0**power for power in powers for lead in leads]
                yield [value for value in values if self.low <= value <= self.high], 0
            return
        span = self.high - self.low
        power = math.floor(math.log10(span)) - 1
        for step in (lead * 10.0 ** (power + up) for up in (0, 1, 2) for lead in (1, 2, 5)):
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if 1 <= last - first <= 7:
                digits = max(0, -math.floor(math.log10(step) + 1e-9))
                yield [place * step for place in range(first, last + 1)], digits

    def _fit(self, ticks: list[tuple[float, str]], length: float, upright: bool) -> bool:
        end = -math.inf
        for value, text in ticks:
            middle = self.share(value) * length
            beneath = "" if upright or self.under is None else self.under(value)
            wide = max(width_of(line, SMALL) for line in (text, beneath))
            half = SMALL * 0.8 if upright else wide / 2
            if middle - half < end:
                return False
            end = middle + half + GAP
        return True


def fit(
    values: Sequence[float], label: str, text: Callable[[float], str] | None = None,
    log: bool | None = None,
) -> Axis:  # fmt: skip
    """An axis that holds all finite values with room beside them.

    Left open, it is logarithmic where positive values span more than a factor of 8.
    """
    known = sorted(value for value in values if math.isfinite(value))
    above = [value for value in known if value > 0]
    if log is None:
        log = bool(above) and known[0] >= 0 and above[-1] > 8 * above[0]
    if log and above:
        least = max(above[0], above[-1] * LEAST)
        room = max((above[-1] / least) ** 0.07, 1.12)
        zero = known[0] <= 0
        return Axis(label, least / room, above[-1] * room, True, zero, text)
    low, high = (known[0], known[-1]) if known else (0.0, 1.0)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    # Hardly any room for what cannot be, such as a negative cost.
    least = -0.03 * high if low >= 0 else -math.inf
    return Axis(label, max(low - room, least), high + room, False, False, text)
