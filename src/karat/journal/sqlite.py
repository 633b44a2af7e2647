"""A journal in one file: SQLite, for the processes of one machine.

WAL mode survives kill -9 with everything committed; a record costs about 5 µs, where a commit of
its own would take 33. Other processes may write to the same file where all of them say that it is
shared; over a network file system they may not: SQLite's locks do not hold there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import RunError
from karat.journal.base import Group, Held, Journal, held_of
from karat.journal.sqlite_connect import DAMAGED, connect, explain, find, try_writing
from karat.ledger import PUT_BATCH, REPLACE_CALL, BatchRow, Record, line_of

# In a journal that was empty when it was opened, only what was put since can be found: one bit of a
# key spares nearly every look-up that would find nothing (8 MiB, filled as far as it is used).
FILTER_BITS = 2**26
MOST_TOLD = 5


class SqliteJournal(Journal):
    """Reads are point look-ups in the event loop's own thread: a few microseconds each."""

    def __init__(self, path: Path, *, shared: bool = False, since: int | None = None) -> None:
        super().__init__(path)
        self.path = path
        self._reader = connect(path)
        self._writer = connect(path)
        try_writing(self._writer, path)
        ((held,),) = self.query("SELECT EXISTS (SELECT 1 FROM calls)")
        self.since = self.mark() if since is None else since
        self._damaged: set[bytes] = set()
        known = held or shared  # what others write is in no filter
        self._bought: bytearray | None = None if known else bytearray(FILTER_BITS // 8)

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        bought, base = self._bought, self._reader
        found = {}
        try:
            for key in keys:
                if bought is not None:
                    bit = int.from_bytes(key[:4], "little") % FILTER_BITS
                    if not bought[bit >> 3] & 1 << (bit & 7):
                        continue
                hit = find(base, key)
                if hit is DAMAGED:
                    self._tell_damage(key)
                elif hit is not None:
                    found[key] = hit
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        return found

    def mark(self) -> int:
        ((last,),) = self.query("SELECT coalesce(max(rowid), 0) FROM calls")
        return int(last)

    def earlier(self, key: bytes) -> bool:
        found = self.query("SELECT 1 FROM calls WHERE key = ? AND rowid <= ?", key, self.since)
        return next(found, None) is not None

    def query(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._reader.execute(sql, values)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def claim(self) -> None:
        """Nothing to do: who uses a file holds its folder's lock (karat.rundir.Lock)."""

    def _tell_damage(self, key: bytes) -> None:
        """Once of each answer, and of the first few alone: a disk that fails may lose thousands."""
        if key in self._damaged:
            return
        self._damaged.add(key)
        if len(self._damaged) <= MOST_TOLD:
            more = " (more are not told)" if len(self._damaged) == MOST_TOLD else ""
            self.say(
                f"{self.path}: an answer is not what was written (its checksum differs), and is "
                f"bought again; check the disk, and keep a copy of the journal{more}"
            )

    def _expect(self, records: list[Record]) -> None:
        if self._bought is not None:
            for record in records:
                bit = int.from_bytes(record.key[:4], "little") % FILTER_BITS
                self._bought[bit >> 3] |= 1 << (bit & 7)

    def _commit(self, group: Group) -> None:
        with self._writer as base:  # one transaction
            if group.write(base) < len(group.records):
                for record in group.records:
                    hit = find(base, record.key)
                    if hit is DAMAGED:
                        base.execute(REPLACE_CALL, line_of(record))
                    elif hit is not None and hit != held_of(record):
                        group.before[record.key] = hit

    def _commit_batch(self, row: BatchRow) -> None:
        self._writer.execute("PRAGMA synchronous = FULL")
        try:
            with self._writer:
                self._writer.execute(PUT_BATCH, msgspec.structs.astuple(row))
        finally:
            self._writer.execute("PRAGMA synchronous = NORMAL")

    def _explain(self, error: BaseException) -> RunError:
        return explain(error, self.path)

    def _shut(self) -> None:
        self._reader.close()
        self._writer.close()
