"""Buying the missing answers of one order from one endpoint, and writing them down.

Where a service takes fewer samples in one request than are asked for, the order is split; where it
refuses n or ignores it, that is learned and the rest is asked for one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from karat.errors import ProviderError, RunError
from karat.ledger import Attempt, Record
from karat.models.answer import Hear
from karat.models.billing import bill
from karat.models.call import Call, Till
from karat.models.endpoint import Asker, Endpoint
from karat.models.orders import Order
from karat.together import all_of

_SPEAKS_OF_N = re.compile(r"(?<![\w.])n(?![\w.])|\bn_|choices|samples")


class Purchase:
    """Of an order whose answers go under `keys`."""

    def __init__(
        self, till: Till, endpoint: Endpoint, order: Order, keys: list[bytes], asker: Asker,
        hear: Hear | None = None,
    ) -> None:  # fmt: skip
        self.till, self.endpoint, self.order = till, endpoint, order
        self.keys, self.asker, self.hear = keys, asker, hear

    async def buy(self, places: Sequence[int]) -> list[Record]:
        """The answers at these places: one request, or side by side as many as it takes.

        A service may answer fewer than were asked. Raises: ProviderError, RunError.
        """
        parts = self._parts(places)
        if len(parts) == 1:
            return await self._part(parts[0])
        bought = await all_of(self._part(part) for part in parts)
        return [record for records in bought for record in records]

    def _parts(self, places: Sequence[int]) -> list[Sequence[int]]:
        """As few as may be; of samples, runs of neighbours, whose seeds count upwards."""
        if len(places) == 1:
            return [places]
        runs, most = [places], self.order.together
        if self.order.sampled is not None:
            edges = [i for i, (a, b) in enumerate(pairwise(places), 1) if b != a + 1]
            cuts = [0, *edges, len(places)]
            runs, most = [places[a:b] for a, b in pairwise(cuts)], self.endpoint.max_n
        if most is None:
            return runs
        return [run[i : i + most] for run in runs for i in range(0, len(run), most)]

    async def _part(self, places: Sequence[int]) -> list[Record]:
        """One request; where the service refuses its n but takes one sample, one by one."""
        endpoint = self.endpoint
        try:
            return await self._request(places)
        except ProviderError as error:
            several = len(places) > 1 and self.order.sampled is not None
            refused = several and error.status in (400, 422)
            if not refused or endpoint.takes_n or not _SPEAKS_OF_N.search(str(error)):
                raise
        first = await self._request(places[:1])
        endpoint.max_n = 1
        rest = await all_of(self._request([i]) for i in places[1:])
        return [*first, *(record for records in rest for record in records)]

    async def _request(self, places: Sequence[int]) -> list[Record]:
        """Sends one request for these places and records what came back."""
        call = Call(
            self.till, self.endpoint, self.order, places, self.keys[places[0]], self.asker,
            self.hear,
        )  # fmt: skip
        cost = 0
        try:
            bought = await call.answered()
            try:
                records, made = bill(call, bought, self.keys)
                cost = made.cost_nano or 0
                await self._write(records, made)
            except RunError:
                self.till.stopped.set()  # before the slot goes to a call that could not be recorded
                raise
            finally:
                call.let_go()
        finally:
            call.settle(cost)
        if self.order.sampled is not None and len(places) > 1:
            self.endpoint.takes_n |= len(records) > 1
            if len(records) == 1:
                self.endpoint.max_n = 1  # the service knows no n: from now on one request a sample
        return records

    async def _write(self, records: list[Record], made: Attempt) -> None:
        """Into the journal, before it is used; of what is not kept there is nothing to lose, and
        the ledger's row comes with the next commit. Raises: RunError."""
        terms, journal = self.asker.terms, self.till.journal
        if terms is not None:
            terms.paid_for(made)
            if not terms.keep:
                journal.note(made)
                return
        replace = terms is not None and terms.replaces
        first = await journal.put(records, made, replace=replace)
        for record in records if first else ():
            if record.key in first:  # another process was first, and its answer is what is replayed
                _, record.content, record.finish_reason, record.more = first[record.key]
