"""A journal in one file: SQLite, for the processes of one machine.

WAL mode survives kill -9 with everything committed; a record costs about 5 µs, where a commit of
its own would take 33. Other processes may write to the same file where all of them say that it is
shared; over a network file system they may not: SQLite's locks do not hold there.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import RunError
from karat.journal.base import Group, Held, Journal, held_of
from karat.journal.look import LateError
from karat.ledger import PUT_BATCH, SCHEMA, VERSION, BatchRow, Record

# In a journal that was empty when it was opened, only what was put since can be found: one bit of a
# key spares nearly every look-up that would find nothing (8 MiB, filled as far as it is used).
FILTER_BITS = 2**26
BUSY_S = 30.0  # for which others may hold the file
_CLOCK = 20_000  # instructions of SQLite between looks at the clock
_WORKED_OUT = re.compile(r"\b(as|generated)\b", re.IGNORECASE)  # of a column, in its table's SQL
_READ = "SELECT sample, content, finish_reason, more FROM calls WHERE key = ?"


class SqliteJournal(Journal):
    """Reads are point look-ups in the event loop's own thread: a few microseconds each."""

    def __init__(self, path: Path, *, shared: bool = False, since: int | None = None) -> None:
        super().__init__(path)
        self.path = path
        self._reader = _connect(path)
        self._writer = _connect(path)
        _try_writing(self._writer, path)
        ((held,),) = self.query("SELECT EXISTS (SELECT 1 FROM calls)")
        self.since = self.mark() if since is None else since
        known = held or shared  # what others write is in no filter
        self._bought: bytearray | None = None if known else bytearray(FILTER_BITS // 8)

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        read, bought = self._reader.execute, self._bought
        found = {}
        try:
            for key in keys:
                if bought is not None:
                    bit = int.from_bytes(key[:4], "little") % FILTER_BITS
                    if not bought[bit >> 3] & 1 << (bit & 7):
                        continue
                hit = read(_READ, (key,)).fetchone()
                if hit is not None:
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

    def _expect(self, records: list[Record]) -> None:
        if self._bought is not None:
            for record in records:
                bit = int.from_bytes(record.key[:4], "little") % FILTER_BITS
                self._bought[bit >> 3] |= 1 << (bit & 7)

    def _commit(self, group: Group) -> None:
        with self._writer as base:  # one transaction
            if group.write(base) < len(group.records):
                for record in group.records:
                    hit: Held = base.execute(_READ, (record.key,)).fetchone()
                    if hit != held_of(record):
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


class SqliteLook:
    """A file that is looked at; see karat.journal.look.Look."""

    def __init__(self, base: sqlite3.Connection, path: Path, limit_s: float) -> None:
        self._base, self._path, self._limit_s = base, path, limit_s
        self.end_at(time.monotonic() + limit_s)

    def rows(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._base.execute(sql, values)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise LateError(str(self._path), self._limit_s) from error
            raise explain(error, self._path) from error

    def end_at(self, until: float) -> None:
        self._base.set_progress_handler(lambda: time.monotonic() >= until, _CLOCK)


@contextmanager
def looking(path: Path, limit_s: float) -> Iterator[SqliteLook | None]:
    """A journal may come from anybody: one that computes what it pretends to hold is none of
    karat's, and no query takes longer than `limit_s` seconds from now."""
    if not path.is_file():
        yield None
        return
    try:
        base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    with closing(base):
        look = SqliteLook(base, path, limit_s)
        held = list(look.rows("SELECT type, rootpage, sql FROM sqlite_master"))
        if not held:
            yield None  # a run has this moment made the file
            return
        ((version,),) = look.rows("PRAGMA user_version")
        _check_version(version, path)
        if any(not _is_plain(*one) for one in held):
            raise RunError(
                f"{path} is another program's database; move it away, or name another --out"
            )
        yield look


def _connect(path: Path) -> sqlite3.Connection:
    try:
        base = sqlite3.connect(path, check_same_thread=False, timeout=BUSY_S)
        _to_wal(base)
        base.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing committed
        if _version(base) == 0:
            _make(base, path)
        _check_version(_version(base), path)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return base


def _try_writing(base: sqlite3.Connection, path: Path) -> None:
    """A file that is read-only, or is held by another program, is found out before answers are paid
    for that could not be kept."""
    try:
        base.execute("BEGIN IMMEDIATE")
        base.execute("DELETE FROM batches WHERE 0")  # to begin alone may become to read alone
        base.rollback()
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _to_wal(base: sqlite3.Connection) -> None:
    """SQLite refuses at once, whatever the timeout, where another process does the same."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            base.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.005)


def _make(base: sqlite3.Connection, path: Path) -> None:
    """The tables, once, whoever else is about to make them."""
    base.execute("BEGIN IMMEDIATE")
    try:
        if _version(base) == 0:
            if base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise RunError(f"{path} is another program's database; name another --out")
            for statement in SCHEMA.split(";"):
                base.execute(statement)
        base.execute("COMMIT")
    except BaseException:
        base.rollback()
        raise


def _version(base: sqlite3.Connection) -> int:
    version: int = base.execute("PRAGMA user_version").fetchone()[0]
    return version


def _check_version(version: int, path: Path) -> None:
    if version != VERSION:
        raise RunError(
            f"{path} was written by another version of karat (format {version}, this one reads "
            f"{VERSION}); use that version, or another --out"
        )


def _is_plain(kind: str, root: int | None, sql: str | None) -> bool:
    """Whether a table or an index holds what is read of it. What a view, a trigger, a virtual
    table or a column that is worked out says is somebody's program."""
    own = sql is None or f"{sql};" in SCHEMA
    return kind in ("table", "index") and bool(root) and (own or not _WORKED_OUT.search(sql or ""))


def explain(error: BaseException, path: Path) -> RunError:
    """What to do about a database error."""
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return RunError(f"no space left to write {path}; free some and run again: it resumes")
    if any(word in text for word in ("malformed", "not a database", "unsupported file format")):
        saved = path.with_name("saved.sqlite")
        return RunError(
            f"{path} is damaged ({text}); `sqlite3 {path} .recover | sqlite3 {saved}` saves what "
            "is readable: put that in its place, without a -wal or -shm; or start anew elsewhere"
        )
    if "locked" in text:
        return RunError(f"{path} is in use by another program; close it and run again")
    if "readonly" in text or "unable to open" in text:  # which a disk without inodes brings, too
        room = "make room, or " if "open" in text else ""
        return RunError(
            f"cannot write {path}; {room}check the folder's permissions, or use another --out"
        )
    return RunError(f"{path}: {text}")
