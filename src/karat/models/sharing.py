"""How processes that call one endpoint divide its limits: what each does with the others' words.

Limits that were stated are divided by the number of processes that could use more, after what the
others take. A pace that was learned from refusals belongs to all together: who comes takes its
share of the sum and the others make room, who goes leaves its part to those who stay, and all move
towards their mean. The sum stays what the service was found to allow, so that nobody searches anew.
"""

from __future__ import annotations

import math

from karat.models.neighbours import Neighbour, Neighbours
from karat.models.pace import Pace
from karat.models.quota import Quota

TICK_S = 1.0
KEPT_S = 3.0  # who could use more is counted so long, or the shares would swing
PULL = 0.25  # of the way to the mean, each tick
MOST_OF_THE_TIME = 20  # the files may take a 20th of the loop's time, on a slow home folder


class Sharing:
    """Drives one limiter's pace and quotas by what its neighbours say."""

    def __init__(
        self, neighbours: Neighbours, pace: Pace, requests: Quota | None, tokens: Quota | None
    ) -> None:
        self._neighbours, self._pace = neighbours, pace
        self._requests, self._tokens = requests, tokens
        self.calls = 0  # since the last tick
        self.tokens = 0
        self._used = self._tokens_used = 0.0
        self._last = -math.inf
        self._held_at = -math.inf
        self._demanding: dict[str, float] = {}  # the others that could use more, and their pace
        self._was_demanding = False

    def begin(self, now: float) -> None:
        """The first call, or the first one after a rest: a share of what the others know."""
        self._last = now
        others = self._neighbours.read()
        self._demanding = _paces(others)
        self._join(self._pace.rate)
        self._divide(now, others, demand=False)

    def tick(self, now: float, held: bool) -> None:
        """Once a second. `held`: a limit, not the width, held calls back since the last tick."""
        if held:
            self._held_at = now
        demand = now - self._held_at <= KEPT_S
        self._count(now)
        mine = Neighbour(self._pace.settled, self._used, self._tokens_used, demand)
        self._neighbours.publish(mine)
        others = self._neighbours.read()
        self._move(_paces(others), demand)
        self._divide(now, others, demand)

    def rest(self) -> None:
        self._neighbours.leave()
        self._was_demanding = False
        self._used = self._tokens_used = 0.0

    def _count(self, now: float) -> None:
        seconds = max(now - self._last, 0.1)
        self._used += 0.5 * (self.calls / seconds - self._used)
        self._tokens_used += 0.5 * (self.tokens / seconds - self._tokens_used)
        self.calls = self.tokens = 0
        self._last = now

    def _join(self, rate: float | None) -> None:
        """This process could use more from now on: an equal part of what all have together."""
        if self._demanding:
            part = sum(self._demanding.values()) / (len(self._demanding) + 1)
            self._pace.shared(part if rate is None else min(rate, part))

    def _move(self, demanding: dict[str, float], demand: bool) -> None:
        before, self._demanding = self._demanding, demanding
        rate = self._pace.settled
        if demand and not self._was_demanding:
            self._join(self._pace.rate)
        elif demand and rate is not None:
            count = len(before) + 1
            for name in demanding.keys() - before.keys():
                rate *= count / (count + 1) if demanding[name] else 1.0
                count += 1
            for name in before.keys() - demanding.keys():
                rate += before[name] / (len(demanding) + 1)
            mean = (rate + sum(demanding.values())) / (len(demanding) + 1)
            if demanding:
                rate += PULL * (mean - rate)
            if demanding or before:
                self._pace.shared(rate)
        self._was_demanding = demand

    def _divide(self, now: float, others: dict[str, Neighbour], demand: bool) -> None:
        """The stated limits: what those who need no more leave, in equal parts."""
        demanding = 1 + sum(other.demand for other in others.values())
        for quota, used in (
            (self._requests, [(o.used, o.demand) for o in others.values()]),
            (self._tokens, [(o.tokens, o.demand) for o in others.values()]),
        ):
            if quota is None:
                continue
            if demand:
                left = quota.stated - 60 * sum(taken for taken, more in used if not more)
                part = left / demanding
            else:
                part = quota.stated - 60 * sum(taken for taken, _ in used)
            quota.share(now, max(part, quota.stated / (len(others) + 1)))


def _paces(others: dict[str, Neighbour]) -> dict[str, float]:
    return {name: o.rate for name, o in others.items() if o.demand and o.rate is not None}
