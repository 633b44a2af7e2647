"""Purses: what a run and its models may spend, lent out to the workers of a cluster.

Pure and synchronous: a word comes in, an answer goes out, and what is known follows from that. What
is left is the limit less what was spent and less what is lent, so that no answer can let the limit
be crossed, whatever is under way and whoever is slow. A call is refused only where nothing is lent.

A worker that died may have spent anything between its last word and all it was lent. The ledger
holds what it paid for, with what the others paid for and have not said yet; so each look at the
ledger is an upper bound, the lowest one stands, and where nothing is lent any more it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from karat.errors import KaratError
from karat.ledger import NANO
from karat.models.leases import RUN, Grant, Need, Standing

SLICE = 4  # of what is left, divided by so many times the workers, is lent at once
LARGEST = 20  # and no larger part of the limit than this
Ledger = Callable[[str], int]


class _Account:
    """What a purse knows of one worker."""

    def __init__(self) -> None:
        self.granted = self.spent = self.returned = self.over = 0
        self.waits = False

    def hear(self, said: Standing) -> None:
        self.spent = max(self.spent, said.spent)
        self.returned = max(self.returned, said.returned)
        self.over = max(self.over, said.over)

    @property
    def lent(self) -> int:
        """What it has spent, or still may."""
        return max(self.granted - self.returned + self.over, self.spent)


class Purse:
    """One limit, and who was lent what of it. `ledger` says what was recorded as spent in all."""

    def __init__(self, limit_nano: int | None, ledger: Callable[[], int]) -> None:
        self.limit_nano = limit_nano
        self._ledger = ledger
        self._settled = ledger()  # by earlier runs, and by workers that left
        self._lost_least = 0  # by workers that died, as they said
        self._lost_most: float = 0  # and at most
        self._accounts: dict[str, _Account] = {}

    @property
    def spent_nano(self) -> int:
        """By all, as far as they have said."""
        return self._known() + self._lost

    @property
    def lent_nano(self) -> int:
        """What workers hold and have not spent: reserved or free."""
        return sum(a.lent - a.spent for a in self._accounts.values())

    @property
    def left_nano(self) -> int:
        """What may still be lent; below zero where calls cost more than their worst case."""
        return (self.limit_nano or 0) - self.spent_nano - self.lent_nano

    @property
    def short(self) -> bool:
        """Whether workers should give back what they do not need."""
        if self.limit_nano is None:
            return False
        return self.left_nano < 0 or any(a.waits for a in self._accounts.values())

    @property
    def unsure(self) -> bool:
        """Whether workers died that may have spent more than they said."""
        return self._lost_most > self._lost_least

    def hear(self, worker: str, said: Standing) -> None:
        self._accounts.setdefault(worker, _Account()).hear(said)

    def ask(self, worker: str, need: Need, workers: int) -> Grant:
        """Lends what the first want that can be covered takes, or a part of what is left."""
        self.hear(worker, need.standing)
        limit, refused = self.limit_nano or 0, 0
        if self.lent_nano == 0:  # nothing can come back
            refused = self._refused(need.wants)
            if refused and self.unsure:  # all have said what they spent: the ledger tells exactly
                refused = self._refused(need.wants) if self.reckon() else 0
        account, left = self._accounts[worker], self.left_nano
        first = self._first(need.wants)
        if first is not None:
            part = min(left // (SLICE * max(workers, 1)), limit // LARGEST)
            account.granted += max(need.wants[first], part)
        account.waits = first is None and not refused
        return Grant(account.granted, first, refused, self.spent_nano, limit)

    def _first(self, wants: list[int]) -> int | None:
        """The place of the first want that can be covered."""
        left = self.left_nano
        return next((place for place, want in enumerate(wants) if want <= left), None)

    def _refused(self, wants: list[int]) -> int:
        first = self._first(wants)
        return len(wants) if first is None else first

    def leave(self, worker: str) -> None:
        """It ended in order, after its last word. What is reserved even so counts as lost."""
        account = self._accounts.get(worker)
        if account is not None and account.lent == account.spent:
            del self._accounts[worker]
            self._settled += account.spent
        else:
            self.lost(worker)

    def lost(self, worker: str) -> None:
        """It died: what it spent since its last word is looked up in the ledger."""
        account = self._accounts.pop(worker, None)
        if account is not None:
            self._lost_least += account.spent
            self._lost_most += math.inf if self.limit_nano is None else account.lent
            self.reckon()

    def reckon(self) -> bool:
        """Looks into the ledger for what the dead spent; False where that cannot be read now."""
        try:
            found: float = self._ledger() - self._known()
        except KaratError:
            return False
        if self.lent_nano:  # some may have paid for what they have not said yet
            found = min(found, self._lost_most)  # else exact: a call may cost more than was lent
        self._lost_most = max(found, self._lost_least)
        return True

    def _known(self) -> int:
        """What those that live, and those that left, said they spent."""
        return self._settled + sum(account.spent for account in self._accounts.values())

    @property
    def _lost(self) -> int:
        return self._lost_least if math.isinf(self._lost_most) else round(self._lost_most)


class Keeper:
    """All purses of a run. `ledger` says what was spent over a route, or with an empty one in all.

    The run's purse is there from the beginning, a model's from the first word about it.
    """

    def __init__(self, ledger: Ledger, budget_usd: float | None = None) -> None:
        self._ledger = ledger
        limit = None if budget_usd is None else round(budget_usd * NANO)
        self.purses = {RUN: Purse(limit, lambda: ledger(""))}

    def _purse(self, said: Standing) -> Purse:
        if said.purse not in self.purses:
            self.purses[said.purse] = Purse(said.limit_nano, lambda: self._ledger(said.route))
        return self.purses[said.purse]

    def ask(self, worker: str, need: Need, workers: int) -> Grant:
        """`workers`: how many there are now."""
        return self._purse(need.standing).ask(worker, need, workers)

    def hear(self, worker: str, said: list[Standing]) -> list[str]:
        """Takes a worker's word; the purses to which it should give back what it can spare."""
        for one in said:
            self._purse(one).hear(worker, one)
        return [one.purse for one in said if self.purses[one.purse].short]

    def leave(self, worker: str, said: list[Standing]) -> None:
        self.hear(worker, said)
        for purse in self.purses.values():
            purse.leave(worker)

    def lost(self, worker: str) -> None:
        for purse in self.purses.values():
            purse.lost(worker)

    def reckon(self) -> None:
        """Looks again for what the dead spent: the later, the less others have yet to say."""
        for purse in self.purses.values():
            if purse.unsure:
                purse.reckon()

    def limit(self, name: str, limit_nano: int) -> None:
        """From now on a purse has another limit. What workers hold they may spend until they hear
        of it: `lent_nano` of the purse says how much that is."""
        self.purses[name].limit_nano = limit_nano


def ledger_of(query: Callable[..., Iterator[tuple[Any, ...]]]) -> Ledger:
    """The spending of a ledger, from a journal's `query`."""

    def spent(route: str) -> int:
        by = ("attempts WHERE route = ?", route) if route else ("minutes",)
        ((found,),) = query(f"SELECT sum(cost_nano) FROM {by[0]}", *by[1:])
        return int(found or 0)

    return spent
