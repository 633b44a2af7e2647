"""Looking at journals in PostgreSQL: a few connections for each database, shared by all looks.

A page that shows five hundred runs asks five hundred schemas of one database; a connection of its
own for each look would take milliseconds, and for each schema all that the server has.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import psycopg

from karat.journal.address import PostgresAddress
from karat.journal.look import LateError
from karat.journal.postgres_connect import Base, connect, explain
from karat.journal.postgres_schema import version_of

MOST = 4  # connections to one database
IDLE_S = 60.0  # after which one is not trusted, nor kept
_PIECES = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\?")
_CANCELED = "57014"


@lru_cache(maxsize=1024)
def as_numbered(sql: str) -> str:
    """`?` outside of quotes becomes $1, $2 and so on."""
    number = 0

    def place(found: re.Match[str]) -> str:
        nonlocal number
        if found[0] != "?":
            return found[0]
        number += 1
        return f"${number}"

    return _PIECES.sub(place, sql)


class _Pool:
    """The connections of this process to one database."""

    def __init__(self, address: PostgresAddress) -> None:
        self.process = os.getpid()
        self._address = address
        self._free = threading.BoundedSemaphore(MOST)
        self._one = threading.Lock()
        self._idle: list[tuple[float, Base]] = []

    @contextmanager
    def borrow(self, begin: str, limit_s: float) -> Iterator[Base]:
        """A connection in a transaction that `begin` begins; it is rolled back afterwards."""
        if not self._free.acquire(timeout=limit_s):
            raise LateError(str(self._address), limit_s)
        try:
            base = self._begun(begin)
            sound = False
            try:
                yield base
                base.execute("ROLLBACK")
                sound = True
            finally:
                if sound:
                    with self._one:
                        self._idle.append((time.monotonic(), base))
                else:
                    base.close()
        finally:
            self._free.release()

    def _begun(self, begin: str) -> Base:
        while (base := self._take()) is not None:
            try:
                base.execute(begin)
                return base
            except psycopg.OperationalError:  # the server was started anew meanwhile
                base.close()
        base = connect(self._address)
        base.execute(begin)
        return base

    def _take(self) -> Base | None:
        with self._one:
            old = [base for at, base in self._idle if at < time.monotonic() - IDLE_S]
            self._idle = [one for one in self._idle if one[1] not in old]
            found = self._idle.pop()[1] if self._idle else None
        for base in old:
            base.close()
        return found

    def close(self) -> None:
        with self._one:
            idle, self._idle = self._idle, []
        if self.process == os.getpid():  # a child's copy of them is the parent's to close
            for _, base in idle:
                with suppress(psycopg.Error):
                    base.close()


_pools: dict[PostgresAddress, _Pool] = {}
_pools_lock = threading.Lock()
_known: set[PostgresAddress] = set()  # schemas whose tables this karat reads


def _pool(address: PostgresAddress) -> _Pool:
    server = address.server
    with _pools_lock:
        found = _pools.get(server)
        if found is None or found.process != os.getpid():
            found = _pools[server] = _Pool(server)
        return found


@atexit.register
def close_pools() -> None:
    """Lets go of every connection that looks have kept."""
    with _pools_lock:
        pools = list(_pools.values())
        _pools.clear()
    for pool in pools:
        pool.close()


class PostgresLook:
    """A schema that is looked at; see karat.journal.look.Look."""

    def __init__(self, base: Base, address: PostgresAddress, begin: str, limit_s: float) -> None:
        self._base, self._address, self._begin, self._limit_s = base, address, begin, limit_s
        self._until = time.monotonic() + limit_s
        self._set_at = time.monotonic()  # when the server was told what is left

    def rows(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        try:
            self._tell_time()
            yield from self._base.execute(as_numbered(sql), values).fetchall()
        except psycopg.Error as error:
            if error.sqlstate != _CANCELED:
                raise explain(error, self._address) from error
            with suppress(psycopg.Error):  # the transaction ended with it
                self._base.execute("ROLLBACK")
                self._base.execute(self._begin)
                self._set_at = 0.0
            raise LateError(str(self._address), self._limit_s) from error

    def end_at(self, until: float) -> None:
        self._until, self._set_at = until, 0.0

    def _tell_time(self) -> None:
        now = time.monotonic()
        if now - self._set_at > min(0.1, self._limit_s / 10):
            left = max(1, round((self._until - now) * 1000))
            self._base.execute(f"SET LOCAL statement_timeout = {left}")
            self._set_at = now


@contextmanager
def looking(address: PostgresAddress, limit_s: float) -> Iterator[PostgresLook | None]:
    """In a transaction that cannot write. Raises: RunError."""
    begin = (
        f"BEGIN READ ONLY; SET LOCAL search_path TO {address.quoted}; "
        f"SET LOCAL statement_timeout = {max(1, round(limit_s * 1000))}"
    )
    try:
        with _pool(address).borrow(begin, limit_s) as base:
            if address not in _known:
                if not version_of(base, address):
                    yield None
                    return
                _known.add(address)
            yield PostgresLook(base, address, begin, limit_s)
    except psycopg.Error as error:
        raise explain(error, address) from error
