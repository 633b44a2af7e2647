"""How processes that call one endpoint divide its limits: what each does with the others' words.

Limits that were stated are divided by the number of processes that could use more, after what the
others take. A pace that was learned from refusals belongs to all together: who comes takes its
share of the sum and the others make room, who goes leaves its part to those who stay, and all move
towards their mean. The sum stays what the service was found to allow, so that nobody searches anew.
"""

from __future__ import annotations

import math

import msgspec

from karat.models.neighbours import Mailbox, Neighbour
from karat.models.pace import Pace
from karat.models.quota import Quota
from karat.models.spec import EMBEDDED, ModelSpec

KEPT_S = 3.0  # who could use more is counted so long, or the shares would swing
PULL = 0.25  # of the way to the mean, each tick
MOST_OF_THE_TIME = 20  # the files may take a 20th of the loop's time, on a slow home folder


class Sharing:
    """Drives one limiter's pace and quotas by what its neighbours say."""

    def __init__(
        self, mailbox: Mailbox, pace: Pace, requests: Quota | None, tokens: Quota | None
    ) -> None:
        self._mailbox, self._pace = mailbox, pace
        self._requests, self._tokens = requests, tokens
        self.tick_s = mailbox.tick_s
        self.calls = 0  # since the last tick
        self.tokens = 0
        self._used = self._tokens_used = 0.0
        self._last = -math.inf
        self._held_at = -math.inf
        self._demanding: dict[str, float] = {}  # the others that could use more, and their pace
        self._searching: set[str] = set()  # those that could use more and have no pace yet
        self._was_demanding = False

    def begin(self, now: float) -> None:
        """The first call, or the first one after a rest: a share of what the others know.

        It counts as one that could use more until it shows that it could not.
        """
        self._last = self._held_at = now
        self._was_demanding = True
        others = self._mailbox.read()
        self._demanding, self._searching = _paces(others), _searching(others)
        self._join(self._pace.rate)
        self._divide(now, others, demand=True)
        self._mailbox.publish(Neighbour(self._pace.settled, demand=True))

    def tick(self, now: float, held: bool) -> None:
        """Every `tick_s`. `held`: a limit, not the width, held calls back since the last tick."""
        if held:
            self._held_at = now
        demand = now - self._held_at <= KEPT_S
        self._count(now)
        mine = Neighbour(self._pace.settled, self._used, self._tokens_used, demand)
        self._mailbox.publish(mine)
        others = self._mailbox.read()
        searching = _searching(others)
        paces = _paces(others)
        # Who stands still for a moment comes back at its pace: nobody takes its part meanwhile.
        paces |= {n: pace for n, pace in self._demanding.items() if n in searching}
        self._move(paces, demand)
        self._searching = searching
        self._divide(now, others, demand)

    def rest(self) -> None:
        self._mailbox.leave()
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
            # Who searched beside this process found its pace beside it, and takes nothing of it.
            for name in demanding.keys() - before.keys() - self._searching:
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


def _searching(others: dict[str, Neighbour]) -> set[str]:
    return {name for name, o in others.items() if o.demand and o.rate is None}


def share_of(spec: ModelSpec, workers: int) -> ModelSpec:
    """The model as one of `workers` processes asks it: a stated `concurrency` is the run's, and
    each has its part of it, rounded up. A model in the process is every process's own."""
    fallbacks = tuple(share_of(one, workers) for one in spec.fallbacks)
    width = spec.concurrency
    if width is not None and spec.format != EMBEDDED:
        width = -(-width // workers)
    return msgspec.structs.replace(spec, concurrency=width, fallbacks=fallbacks)
