"""Whether a service refuses by chance: a share of all calls, however slowly they come.

An aggregator passes on what its upstreams refuse, a busy free tier turns away one call in ten. A
pace that takes each 429 for a limit slows down for ever and gains nothing by it: at a tenth of all
calls refused it ends at a fiftieth of what it could have. So refusals are counted by octave of the
pace. At a real limit half the pace takes away at least half of them; by chance it takes none.
"""

from __future__ import annotations

import math
from collections import defaultdict

FEW = 6  # refusals in an octave, from which on its share tells something
SAME = 0.6  # of the share an octave higher: a limit would leave less than half of it
LEAST, MOST = 0.02, 0.8  # shares that can be told from a settled pace, and from a shut door
OCTAVES = 3  # with the same share, one below the other


class Chance:
    """Starts and refusals by octave of the pace (calls a second)."""

    def __init__(self) -> None:
        self._starts: dict[int, int] = defaultdict(int)
        self._refused: dict[int, int] = defaultdict(int)

    def clear(self) -> None:
        self._starts.clear()
        self._refused.clear()

    def started(self, rate: float) -> None:
        self._starts[_octave(rate)] += 1

    def refused(self, rate: float) -> None:
        self._refused[_octave(rate)] += 1

    def found(self, rate: float) -> tuple[float, float] | None:
        """(share refused by chance, the highest pace at which it was so), where it is so at `rate`
        and above."""
        low = _octave(rate)
        last = low
        while self._told(last) and (last == low or self._same(last - 1, last)):
            last += 1
        if last - low < OCTAVES:
            return None
        octaves = range(low, last)
        share = sum(self._refused[o] for o in octaves) / sum(self._starts[o] for o in octaves)
        return (share, 2.0 ** (last - 1)) if share >= LEAST else None

    def _share(self, octave: int) -> float:
        return self._refused[octave] / max(self._starts[octave], 1)

    def _same(self, low: int, high: int) -> bool:
        """Also not far more below: a limit that has just come down leaves that behind."""
        one, other = self._share(low), self._share(high)
        return min(one, other) >= SAME * max(one, other)

    def _told(self, octave: int) -> bool:
        return self._refused.get(octave, 0) >= FEW and self._share(octave) <= MOST


def _octave(rate: float) -> int:
    return math.floor(math.log2(rate))
