"""Goes to a service's batch desk and comes back with an answer, however often it must ask.

A batch that may have been created without our hearing of it is looked for before another is
created: at the worst by waiting for the batches it could be, and reading whose requests they hold.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import TypeVar

from karat.errors import ProviderError
from karat.models.batch_desk import Desk, Look
from karat.models.gathering import Batch

T = TypeVar("T")
POLL_S = (5.0, 60.0)  # first, longest
OUTAGE_S = 900.0  # a service that answers nothing for so long is given up
OVERDUE_S = (26 * 3600.0, 28 * 3600.0)  # services end a batch after 24 h: cancel it, then give up
SETTLE_S = 10.0  # a batch created just now may be listed late
SKEW_S = 3600.0  # a service's clock may differ from ours
PASSING = {"retry", "timeout", "connection", "unreadable", "wait"}
GONE = Look(True, why="the service knows it no more")


class Clerk:
    """`taken()` are the service's ids of batches that are known to be others'; `tell` gets (batch,
    what happened)."""

    def __init__(
        self, desk: Desk, taken: Callable[[], set[str | None]], tell: Callable[[Batch, str], None]
    ) -> None:
        self.desk, self._taken, self._tell = desk, taken, tell

    async def persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks until it is answered. Raises: ProviderError for what no waiting mends."""
        loop, pause = asyncio.get_running_loop(), POLL_S[0]
        until = loop.time() + OUTAGE_S
        while True:
            try:
                return await ask()
            except ProviderError as error:
                if error.kind not in PASSING or loop.time() > until:
                    raise
                wait = max(pause, error.retry_after_s or 0.0)
            await asyncio.sleep(wait)
            pause = min(2 * pause, POLL_S[1])

    async def submit(self, batch: Batch) -> str | ProviderError:
        """The service's id of it, or why it takes none; empty where nobody waits for it any more.

        Raises: ProviderError where it stays unknown whether the batch was created.
        """
        requests = [(name.hex(), waiter.body) for name, waiter in batch.waiting.items()]
        perhaps = False

        async def create() -> str:
            nonlocal perhaps
            if perhaps and (found := await self.locate(batch)):
                return found
            if not batch.waiting:
                return ""
            try:
                return await self.desk.create(prepared)
            except ProviderError as error:
                perhaps = not 400 <= error.status < 500
                raise

        try:
            prepared = await self.persist(lambda: self.desk.prepare(batch.id, requests))
            return await self.persist(create)
        except ProviderError as error:
            if perhaps:
                raise
            return error

    async def locate(self, batch: Batch) -> str | None:
        """The service's id of a batch that may have been created. Raises: ProviderError."""
        since = batch.created - SKEW_S
        search = partial(self.desk.search, batch.id, len(batch.names), since)
        for wait in (0.0, SETTLE_S):
            await asyncio.sleep(wait)
            for remote in await self.persist(search):
                if self.desk.certain:
                    return remote
                if remote not in self._taken() and await self._holds(remote, batch):
                    return remote
        return None

    async def _holds(self, remote: str, batch: Batch) -> bool:
        """Whether that is it, which only its results tell."""
        look = await self.ended(remote, batch)

        async def first() -> str:
            async with aclosing(self.desk.results(look)) as results:
                async for name, _ in results:
                    return name
            return ""

        return await self.persist(first) in {name.hex() for name in batch.names}

    async def ended(self, remote: str, batch: Batch) -> Look:
        """Waits until the batch has ended, one way or another. Raises: ProviderError."""
        pause, cancelled = POLL_S[0], False
        cancel_at, give_up_at = (batch.created + after for after in OVERDUE_S)
        while True:
            try:
                look = await self.persist(partial(self.desk.look, remote))
            except ProviderError as error:
                if error.status != 404:
                    raise
                return GONE
            if look.ended:
                return look
            self._tell(batch, f"{look.done:,} done")
            if time.time() > give_up_at:
                return Look(True, why="it did not end in time")
            if time.time() > cancel_at and not cancelled:
                cancelled = True
                with suppress(ProviderError):
                    await self.desk.cancel(remote)
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, POLL_S[1])
