"""An errand: all answers of one order, from wherever they are to be had.

First from the journal, whoever of the route gave them; then from a row that is buying the same just
now; the rest from the first model of the route that is up. Each answer is bought once, however many
rows want it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from karat.errors import ProviderError
from karat.journal import Held
from karat.models.answer import Hear
from karat.models.budget import BudgetError
from karat.models.call import PASSING, Till
from karat.models.endpoint import Asker, Endpoint, ModelDownError
from karat.models.orders import Order
from karat.models.purchase import Purchase

MakeOrder = Callable[[Endpoint], Order]


class Got(NamedTuple):
    """One answer: what the journal holds, its key, and who gave it."""

    held: Held
    key: bytes
    endpoint: Endpoint


class Errand:
    """`make` writes the order as it is put to one endpoint of the route: their defaults differ."""

    def __init__(
        self, till: Till, route: Sequence[Endpoint], make: MakeOrder, asker: Asker,
        hear: Hear | None = None,
    ) -> None:  # fmt: skip
        self.till, self.route, self.make = till, route, make
        self.asker, self.hear = asker, hear
        self.found: dict[int, Got] = {}
        terms = asker.terms
        self._looks = terms is None or terms.look
        self._salt = "" if terms is None else terms.salt
        order = make(route[0])
        self.size = order.size
        self._first = order, order.keys(route[0].identity + self._salt)

    async def run(self) -> list[Got]:
        """All answers, in order. Raises: ProviderError, RunError."""
        for endpoint in self.route if self._looks else ():
            if len(self.found) < self.size:
                await self._look(endpoint)
        if len(self.found) < self.size:
            await self._fill()
        return [self.found[place] for place in range(self.size)]

    def _order(self, endpoint: Endpoint) -> tuple[Order, list[bytes]]:
        if endpoint is self.route[0]:
            return self._first
        order = self.make(endpoint)
        return order, order.keys(endpoint.identity + self._salt)

    async def _look(self, endpoint: Endpoint) -> None:
        before = len(self.found)
        await self._collect(endpoint)
        if count := len(self.found) - before:
            spec = endpoint.spec
            endpoint.tally.replayed += count
            self.till.journal.note_replays(
                spec.model, self.asker.step, spec.role or self.asker.role, self._first[0].kind,
                count,
            )  # fmt: skip

    async def _collect(self, endpoint: Endpoint) -> None:
        """What is missing and in the journal by now."""
        _, keys = self._order(endpoint)
        left = [place for place in range(self.size) if place not in self.found]
        held = await self.till.journal.get(keys[place] for place in left)
        for place in left:
            if keys[place] in held:
                self.found[place] = Got(held[keys[place]], keys[place], endpoint)

    def _copy(self, keys: Sequence[bytes]) -> None:
        """What stands in the order twice and was bought once."""
        bought = {got.key: got for got in self.found.values()}
        for place, key in enumerate(keys):
            if place not in self.found and key in bought:
                self.found[place] = bought[key]

    async def _fill(self) -> None:
        """Buys what is missing from the first model that is up and delivers."""
        last = self.route[-1]
        for endpoint in self.route:
            if endpoint is not last and not endpoint.is_up():
                continue
            try:
                await self._buy(endpoint)
                return
            except (ModelDownError, BudgetError, ProviderError) as error:
                passing = not isinstance(error, ProviderError) or error.kind in PASSING
                if endpoint is last or not passing or self.till.stopped.is_set():
                    raise
                if self._looks:
                    await self._collect(endpoint)  # parts of the order that it did answer
                # The same words for all rows: a warning is kept once.
                if isinstance(error, BudgetError):
                    self.till.warn(f"{endpoint.spec.model} is out of budget; others answer for it")
                elif isinstance(error, ModelDownError):
                    why = endpoint.why_down
                    self.till.warn(f"{endpoint.spec.model} is down ({why}); others answer for it")

    async def _buy(self, endpoint: Endpoint) -> None:
        order, keys = self._order(endpoint)
        if order.sampled is not None:
            endpoint.accepted.check(order.sampled)
        purchase = Purchase(self.till, endpoint, order, keys, self.asker, self.hear)
        found, buying = self.found, self.till.buying if self._looks else {}
        while len(found) < self.size:
            missing = [i for i in range(self.size) if i not in found]
            # One place of each key: an order may hold the same text twice.
            firsts = {keys[i]: i for i in reversed(missing)}
            mine = sorted(i for key, i in firsts.items() if key not in buying)
            if not mine:
                await buying[keys[missing[0]]].wait()
            else:
                done = asyncio.Event()
                buying.update((keys[i], done) for i in mine)
                try:
                    for record in await purchase.buy(mine):
                        held = record.sample, record.content, record.finish_reason, record.more
                        found[record.sample] = Got(held, record.key, endpoint)
                finally:
                    for i in mine:
                        del buying[keys[i]]
                    done.set()
            if len(found) < self.size and not self._looks:
                self._copy(keys)
            elif len(found) < self.size:  # others may have bought the rest meanwhile
                await self._collect(endpoint)
                gone = endpoint.left.is_set() and endpoint.stands_in
                if len(found) < self.size and not mine and gone:
                    raise ModelDownError(endpoint.why_down)  # it went down under whoever asked
