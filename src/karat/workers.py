"""The workers of a cluster as whoever looks on needs them: added up, and those worth a look.

A thousand workers are a hundred kilobytes a second to write, and more than a person reads. Their
sums are small, and what a person looks for are those that something is wrong with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from karat.walk import WorkerState

UNHAPPY = ("lost", "silent")  # states, the worse one first
ENDED = "left"


class Crew(msgspec.Struct):
    """All workers added up, as one WorkerState each; `states` counts them by state."""

    states: dict[str, int] = {}
    units: int = 0
    rows: int = 0
    rate: float = 0.0
    in_flight: int = 0
    restarts: int = 0

    @property
    def count(self) -> int:
        """Those that are at work, should be, or were."""
        return sum(self.states.values())

    @property
    def here(self) -> int:
        """Those that have not ended in order: a lost one is to be replaced."""
        return self.count - self.states.get(ENDED, 0)


def crew_of(workers: Sequence[WorkerState]) -> Crew:
    """Their sums."""
    return Crew(
        dict(Counter(one.state for one in workers)), sum(one.units for one in workers),
        sum(one.rows for one in workers), sum(one.rate for one in workers),
        sum(one.in_flight for one in workers), sum(one.restarts for one in workers),
    )  # fmt: skip


def notable(workers: Sequence[WorkerState], most: int) -> list[WorkerState]:
    """At most so many, in the order of their names: first those that something is wrong with, then
    those that were replaced, then the busiest."""
    found = list(workers)
    if len(found) > most:
        found.sort(key=_unease)
        del found[most:]
    return sorted(found, key=lambda one: (len(one.name), one.name))


def _unease(one: WorkerState) -> tuple[int, bool, int, float]:
    place = UNHAPPY.index(one.state) if one.state in UNHAPPY else len(UNHAPPY)
    return place, one.state == ENDED, -one.restarts, -one.rate
