"""A journal in PostgreSQL: for the workers of many machines, each of which opens it for itself.

Look-ups of all coroutines gather for a millisecond, and for as long as the one before them is on
its way, into one query on a thread. A server that restarts, is full or cannot be reached is waited
for: answers are kept in memory, and a group that was sent again is counted once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import msgspec
import psycopg

from karat.errors import RunError
from karat.journal.address import PostgresAddress
from karat.journal.base import PATIENCE_S, Group, Held, Journal
from karat.journal.postgres_connect import (
    Base,
    Line,
    Patience,
    connect,
    explain,
    is_away,
)
from karat.journal.postgres_look import as_numbered
from karat.journal.postgres_schema import enter, key_of, migrate
from karat.journal.postgres_write import PUT_BATCH, Letter, find
from karat.ledger import BatchRow, count_from

GATHER_S = 0.001
OPEN_S = 15.0  # in which a server that is being started is up
QUERY_S = 10.0  # a query that blocks the event loop does not wait for a server that is away
PAUSE_S = 0.5  # between tries of a worker that joins
RECLAIM_S = 15.0  # in which the server notices that a connection of ours is gone
_MARK = (
    "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('calls', 'rowid')::regclass), 0)"
)


class _Asked:
    """Look-ups that go together."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.found: asyncio.Future[dict[bytes, Held]] = asyncio.get_running_loop().create_future()


def _begun(address: PostgresAddress) -> tuple[int, int]:
    """(number of a new writer, what is recorded by now). Raises: psycopg.Error, RunError."""
    base = connect(address, OPEN_S)
    try:
        migrate(base, address)
        enter(base, address)
        ((writer,),) = base.execute("INSERT INTO writers DEFAULT VALUES RETURNING id")
        ((now,),) = base.execute(_MARK)
    finally:
        base.close()
    return writer, now


class PostgresJournal(Journal):
    """Up to three connections: one writes, one looks up, one answers queries."""

    address: PostgresAddress

    def __init__(
        self, address: PostgresAddress, *, since: int | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        super().__init__(address)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._patience = Patience(address, patience_s, self._tell, lambda: self.waiting)
        self._writer_line = Line(address, self._begin_writing)
        self._reader_line = Line(address, partial(enter, address=address))
        self._query_line = Line(address, partial(enter, address=address))
        self._asking = threading.Lock()
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="karat-look-up")
        self._claimed = False
        self._numbers = count(1)
        self._next: _Asked | None = None
        self._under_way = False
        # A worker joins a run whose others wait for a server that is away, and waits with them.
        until = time.monotonic() + (0.0 if since is None else patience_s)
        while True:
            try:
                self._writer, now = _begun(address)
                break
            except psycopg.Error as error:
                if time.monotonic() >= until or not is_away(error):
                    raise explain(error, address) from error
                time.sleep(PAUSE_S)
        self.since = now if since is None else since
        count_from(self._writer)

    @property
    def writer(self) -> int:
        """What tells this process's sums of `minutes` and `latencies` from those of others."""
        return int(self._writer)

    # --- look-ups ------------------------------------------------------------------------------

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        wanted = list(keys)
        if not wanted:
            return {}
        asked = self._next
        if asked is None:
            asked = self._next = _Asked()
            if not self._under_way:
                self._loop = asyncio.get_running_loop()
                self._loop.call_later(GATHER_S, self._look)
        asked.keys.update(wanted)
        try:
            found = await asyncio.shield(asked.found)
        except psycopg.Error as error:
            raise explain(error, self.address) from error
        return {key: found[key] for key in wanted if key in found}

    def _look(self) -> None:
        asked, self._next = self._next, None
        if asked is None or self._under_way:
            self._next = asked
            return
        self._under_way = True
        keys = list(asked.keys)
        future = asyncio.get_running_loop().run_in_executor(
            self._reading, self._patience.persist, self._reader_line, partial(find, keys=keys)
        )
        future.add_done_callback(partial(self._looked, asked))

    def _looked(self, asked: _Asked, future: asyncio.Future[dict[bytes, Held]]) -> None:
        self._under_way = False
        error = future.exception()
        if error is None:
            asked.found.set_result(future.result())
        else:
            asked.found.set_exception(error)
            asked.found.exception()  # told to whoever still waits for it
        self._look()

    def mark(self) -> int:
        ((last,),) = self.query(_MARK)
        return int(last)

    def earlier(self, key: bytes) -> bool:
        found = self.query("SELECT 1 FROM calls WHERE key = ? AND rowid <= ?", key, self.since)
        return next(found, None) is not None

    def query(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        def ask(base: Base) -> list[tuple[Any, ...]]:
            return base.execute(as_numbered(sql), values).fetchall()

        try:
            with self._asking:  # not while rows are taken: who takes them may ask again
                found = self._patience.persist(self._query_line, ask, QUERY_S)
        except psycopg.Error as error:
            raise explain(error, self.address) from error
        yield from found

    # --- writing, in the thread ----------------------------------------------------------------

    def _commit(self, group: Group) -> None:
        letter = Letter(group, self._writer, next(self._numbers))
        group.before = self._patience.persist(self._writer_line, letter.send)

    def _commit_batch(self, row: BatchRow) -> None:
        values = msgspec.structs.astuple(row)

        def put(base: Base) -> None:
            with base.transaction():
                base.execute("SET LOCAL synchronous_commit = on")
                base.execute(PUT_BATCH, values)

        self._patience.persist(self._writer_line, put)

    def _begin_writing(self, base: Base) -> None:
        enter(base, self.address)
        if self._claimed:
            self._lock(base, RECLAIM_S)

    def claim(self) -> None:
        def act(base: Base) -> None:
            if self._claimed:  # a connection made anew has it already
                base.execute("SELECT 1")
            else:
                self._lock(base, 0.0)

        try:
            self._thread.submit(self._patience.persist, self._writer_line, act, OPEN_S).result()
        except psycopg.Error as error:
            raise explain(error, self.address) from error
        self._claimed = True

    def _lock(self, base: Base, most_s: float) -> None:
        """The lock ends with the connection that writes, so nothing is written without it."""
        until = time.monotonic() + most_s
        while True:
            key = key_of(self.address, "run")
            ((got,),) = base.execute("SELECT pg_try_advisory_lock($1)", (key,))
            if got:
                return
            if time.monotonic() >= until or self._patience.hurried.is_set():
                raise RunError(
                    f"{self.address} is in use by another karat; wait for it to end, or name "
                    "another schema"
                )
            self._patience.hurried.wait(0.2)

    # --- the rest ------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._loop = asyncio.get_running_loop()
        super()._flush()

    def _tell(self, text: str) -> None:
        if self._loop is None or self._loop.is_closed():
            self.say(text)
            return
        with suppress(RuntimeError):  # closed in this moment
            self._loop.call_soon_threadsafe(self._say, text)

    def _say(self, text: str) -> None:
        self.say(text)

    def _hurry(self) -> None:
        self._patience.hurried.set()

    def _explain(self, error: BaseException) -> RunError:
        return explain(error, self.address)

    def _shut(self) -> None:
        self._patience.hurried.set()  # nobody waits for a look-up any more
        self._reading.shutdown()
        for line in (self._writer_line, self._reader_line, self._query_line):
            line.drop()
