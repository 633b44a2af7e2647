"""Books: what all gateways on one ledger have spent, told to the purses of this one.

Each gateway counts what it spends itself at once, and asks the database once a second what the
others have committed. Only sums of the last minutes are asked for; those before them do not change
any more. What is under way elsewhere is in no ledger yet.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple
from weakref import WeakKeyDictionary

from karat.errors import RunError
from karat.journal.postgres import PostgresJournal
from karat.web.gateway.purse import Purse

log = logging.getLogger("karat.gateway")

EVERY_S = 1.0
LATE_MIN = 30  # after which nothing more is written into a minute


class Sums(NamedTuple):
    """Billionths of a dollar: of all, and of all but this gateway."""

    every: int = 0
    others: int = 0

    def plus(self, nano: int, *, own: bool) -> Sums:
        return Sums(self.every + nano, self.others + (0 if own else nano))


class _Account:
    """Whose spending a purse holds: a key's, by the ledger's `step`, from a minute on; with None
    everybody's. `before`: the sums up to the minute from which on it is asked again and again."""

    def __init__(self, step: str | None, since: int) -> None:
        self.step, self.since = step, since
        self.before: Sums | None = None


class Books:
    """`end` before the journal is closed."""

    def __init__(self, journal: PostgresJournal) -> None:
        self._journal = journal
        self._accounts: WeakKeyDictionary[Purse, _Account] = WeakKeyDictionary()
        self._from = _minute() - LATE_MIN
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="karat-books")
        self._under_way: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._well = True

    def open(self, purse: Purse, step: str | None, since_s: float = 0.0) -> None:
        """A purse to be told what is spent; while it is limited, nothing is bought before it was
        told once. `since_s`: Unix seconds."""
        self._accounts[purse] = _Account(step, int(since_s // 60))
        purse.look = self.look

    def follow(self) -> None:
        """From now on they are told once a second; in the event loop of the server."""
        if self._keeper is None:
            self._keeper = asyncio.ensure_future(self._keep())

    async def end(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        looks = [one for one in (self._keeper, self._under_way, self._next) if one is not None]
        await asyncio.gather(*looks, return_exceptions=True)
        self._thread.shutdown()

    async def _keep(self) -> None:
        while True:
            try:
                if any(purse.limited for purse in list(self._accounts)):
                    await self.look()
                self._well = True
            except RunError as error:
                if self._well:
                    log.warning("what other gateways spend is not known for now: %s", error)
                self._well = False
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Tells every purse what was recorded by now. Who asks while a look is under way shares the
        next one, which begins after it. Raises: RunError."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._under_way))
            self._next.add_done_callback(_heard)
        await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Future[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._under_way, self._next = self._next, None
        accounts = list(self._accounts.items())
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._thread, self._read, [account for _, account in accounts]
        )
        for (purse, _), sums in zip(accounts, found, strict=True):
            purse.hear(*sums)

    # --- in the thread -------------------------------------------------------------------------

    def _read(self, accounts: list[_Account]) -> list[Sums]:
        for account in accounts:
            if account.before is None:
                account.before = self._settled(account)
        sql = (
            "SELECT step, minute, writer = ?, sum(cost_nano) FROM minutes WHERE minute >= ? "
            "GROUP BY 1, 2, 3"
        )
        latest = [
            (str(step), int(minute), bool(own), int(nano or 0))
            for step, minute, own, nano in self._journal.query(
                sql, self._journal.writer, self._from
            )
        ]  # fmt: skip
        found = [_added(account, latest, 2**62) for account in accounts]
        if _minute() - self._from > 2 * LATE_MIN:
            until = _minute() - LATE_MIN
            for account in accounts:
                account.before = _added(account, latest, until)
            self._from = until
        return found

    def _settled(self, account: _Account) -> Sums:
        """What stands in the minutes that do not change any more."""
        found = Sums()
        where, values = ("AND step = ? ", (account.step,)) if account.step is not None else ("", ())
        sql = (
            "SELECT writer = ?, sum(cost_nano) FROM minutes WHERE minute >= ? AND minute < ? "
            f"{where}GROUP BY 1"
        )
        writer = self._journal.writer
        for own, nano in self._journal.query(sql, writer, account.since, self._from, *values):
            found = found.plus(int(nano or 0), own=bool(own))
        return found


def _added(account: _Account, latest: list[tuple[str, int, bool, int]], until: int) -> Sums:
    """An account with what the latest minutes hold of it, up to one of them."""
    found = account.before or Sums()
    for step, minute, own, nano in latest:
        if account.step in (None, step) and account.since <= minute < until:
            found = found.plus(nano, own=own)
    return found


def _minute() -> int:
    return int(time.time() // 60)


def _heard(done: asyncio.Future[None]) -> None:
    """What went wrong was told to whoever still waited."""
    with suppress(asyncio.CancelledError):
        done.exception()
