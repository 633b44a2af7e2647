"""How the workers of a cluster hear of each other: through the one process they all talk to.

A worker's mailboxes hold what its endpoints say until its next report, which takes it along and
brings back what the others said. On a machine it is files that do this (neighbours.py); the words
and what is made of them are the same.

A worker that has heard nothing yet of an endpoint takes it that all the others use it as it does:
workers begin together, and each would take the whole limit for its own in the first second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from karat.models.neighbours import STALE_S, TICK_S, Neighbour, digest_of

Words = dict[str, Neighbour]  # by who says it
UNHEARD = Neighbour(used=math.inf, tokens=math.inf, demand=True)


class Exchanged:
    """The mailbox of one model of a worker. Several models may be one endpoint."""

    def __init__(self, exchange: Exchange, name: str, siblings: list[Exchanged]) -> None:
        self.tick_s = exchange.tick_s
        self.mine: Neighbour | None = None
        self._exchange, self._name, self._siblings = exchange, name, siblings

    def publish(self, mine: Neighbour) -> None:
        self.mine = mine

    def read(self) -> Words:
        found = dict(self._exchange.others(self._name, len(self._siblings)))
        for number, box in enumerate(self._siblings):
            if box is not self and box.mine is not None:
                found[f"own.{number}"] = box.mine
        return found

    def leave(self) -> None:
        self.mine = None


class Exchange:
    """All mailboxes of one worker. `workers`: how many there are, itself among them."""

    def __init__(self, workers: int = 1, tick_s: float = TICK_S) -> None:
        self.workers, self.tick_s = workers, tick_s
        self._boxes: dict[str, list[Exchanged]] = {}
        self._others: dict[str, Words] = {}

    def mailbox(self, identity: str) -> Exchanged:
        """A new one for an endpoint of this identity."""
        name = digest_of(identity)
        boxes = self._boxes.setdefault(name, [])
        boxes.append(Exchanged(self, name, boxes))
        return boxes[-1]

    def words(self) -> dict[str, list[Neighbour]]:
        """What to take along, by endpoint; none where there is only to be listened."""
        return {
            name: [box.mine for box in boxes if box.mine is not None]
            for name, boxes in self._boxes.items()
        }

    def heard(self, others: dict[str, Words], workers: int) -> None:
        """What was brought back."""
        self._others, self.workers = others, workers

    def others(self, name: str, models: int) -> Words:
        """What other workers say of an endpoint. `models`: how many are that endpoint here."""
        if name in self._others:
            return self._others[name]
        return {f"?{n}": UNHEARD for n in range(models * (self.workers - 1))}


class Table:
    """Who said what when. A worker that is silent for `stale_s` says nothing any more."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, stale_s: float = STALE_S
    ) -> None:
        self._clock, self._stale_s = clock, stale_s
        self._said: dict[str, tuple[float, dict[str, list[Neighbour]] | None]] = {}

    def join(self, worker: str) -> None:
        """A worker begins; until it says something, it may use everything."""
        self._said[worker] = (self._clock(), None)

    def exchange(self, worker: str, words: dict[str, list[Neighbour]]) -> dict[str, Words]:
        """Takes a worker's words in the place of its last ones; what the others say of the same
        endpoints."""
        now = self._clock()
        self._said[worker] = (now, words)
        found: dict[str, Words] = {name: {} for name in words}
        for other, (when, theirs) in self._said.items():
            if other == worker or now - when > self._stale_s:
                continue
            for name in words:
                said = [UNHEARD] if theirs is None else theirs.get(name, ())
                for number, word in enumerate(said):
                    found[name][f"{other}.{number}"] = word
        return found

    def forget(self, worker: str) -> None:
        self._said.pop(worker, None)
