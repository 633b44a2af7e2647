"""The journal: every paid answer, written before it is used. The same record is the ledger row.

Keyed by content (model, request, sample index), so there is no resume mode: a run that starts again
finds what it paid for and buys only what is missing. Cost and provenance cannot disagree, because
answers and attempts are written in one transaction; karat.ledger says what is in them. SQLite in
WAL mode survives kill -9 with everything committed; commits are grouped over a few milliseconds on
a thread of their own, about 5 µs a record instead of 33.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import RunError
from karat.ledger import PUT_BATCH, SCHEMA, VERSION, Attempt, Batch, BatchRow, Record

GROUP_COMMIT_S = 0.004
# In a journal that was empty when it was opened, only what was put since can be found: one bit of a
# key spares nearly every look-up that would find nothing (8 MiB, filled as far as it is used).
FILTER_BITS = 2**26
LOOK_S = 30.0  # that one look into a journal may take
_CLOCK = 20_000  # instructions of SQLite between looks at the clock
_WORKED_OUT = re.compile(r"\b(as|generated)\b", re.IGNORECASE)  # of a column, in its table's SQL
_READ = "SELECT sample, content, finish_reason, more FROM calls WHERE key = ?"
Held = tuple[int, Any, str, str | None]  # sample, content, finish_reason, more


class _Batch(Batch):
    """What will be committed together, and the event its writers wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()
        self.awaited = False
        self.error: Exception | None = None


class Journal:
    """An open journal. Reads are synchronous point lookups; writes wait for the group commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _connect(path)
        self._writer = _connect(path)
        ((held,),) = self.query("SELECT EXISTS (SELECT 1 FROM calls)")
        ((self._last,),) = self.query("SELECT coalesce(max(rowid), 0) FROM calls")
        self._bought: bytearray | None = None if held else bytearray(FILTER_BITS // 8)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="karat-journal")
        self._batch: _Batch | None = None
        self._flushing: set[asyncio.Future[None]] = set()
        self._untold: Exception | None = None  # of a batch that nobody waited for
        self.heard: Callable[[Attempt], None] | None = None  # who is told of each attempt

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        """(sample, content, finish_reason, more) of every key that is recorded."""
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
            raise _explain(error, self.path) from error
        return found

    def earlier(self, key: bytes) -> bool:
        """Whether an answer was recorded before this journal was opened: by an earlier run."""
        found = self.query("SELECT 1 FROM calls WHERE key = ? AND rowid <= ?", key, self._last)
        return next(found, None) is not None

    async def put(self, records: list[Record], attempt: Attempt, *, replace: bool = False) -> None:
        """Returns once answers and attempt are committed; with `replace` in the place of answers
        that are held under the same keys. Raises: RunError (disk full, damage)."""
        batch = self._open_batch()
        if replace:
            batch.replacing += records
        else:
            batch.records += records
        if self._bought is not None:
            for record in records:
                bit = int.from_bytes(record.key[:4], "little") % FILTER_BITS
                self._bought[bit >> 3] |= 1 << (bit & 7)
        batch.attempts.append(attempt)
        if self.heard is not None:
            self.heard(attempt)
        batch.awaited = True
        await batch.done.wait()
        if batch.error is not None:
            raise _explain(batch.error, self.path)

    def note(self, attempt: Attempt) -> None:
        """Records an attempt that brought no answer; written with the next commit."""
        self._open_batch().attempts.append(attempt)
        if self.heard is not None:
            self.heard(attempt)

    @property
    def trouble(self) -> RunError | None:
        """Why attempts that were only noted could not be written, if so."""
        return None if self._untold is None else _explain(self._untold, self.path)

    def note_replays(self, model: str, step: str, role: str, kind: str, count: int) -> None:
        """Counts answers that were found here instead of bought."""
        self._open_batch().replays[(int(time.time() // 60), model, step, role, kind)] += count

    def _open_batch(self) -> _Batch:
        if self._batch is None:
            self._batch = _Batch()
            asyncio.get_running_loop().call_later(GROUP_COMMIT_S, self._flush)
        return self._batch

    def _flush(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, self._commit, batch)
        self._flushing.add(future)
        future.add_done_callback(lambda done: self._settle(done, batch))

    def _settle(self, future: asyncio.Future[None], batch: _Batch) -> None:
        self._flushing.discard(future)
        batch.error = future.exception()  # type: ignore[assignment]  # only Exception gets here
        if batch.error is not None and not batch.awaited:
            self._untold = batch.error
        batch.done.set()

    def _commit(self, batch: _Batch) -> None:
        with self._writer:  # one transaction
            batch.write(self._writer)

    async def put_batch(self, row: BatchRow) -> None:
        """Returns once the row is on the disk itself: a batch is worth more than an answer.

        Raises: RunError.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._commit_batch, row)
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error

    def _commit_batch(self, row: BatchRow) -> None:
        self._writer.execute("PRAGMA synchronous = FULL")
        try:
            with self._writer:
                self._writer.execute(PUT_BATCH, msgspec.structs.astuple(row))
        finally:
            self._writer.execute("PRAGMA synchronous = NORMAL")

    def batches(self) -> list[BatchRow]:
        """All that were ever handed in. Raises: RunError."""
        fields = ", ".join(BatchRow.__struct_fields__)
        return [BatchRow(*row) for row in self.query(f"SELECT {fields} FROM batches")]

    async def close(self) -> None:
        """Commits what is pending. Raises: RunError."""
        try:
            while self._batch is not None or self._flushing:
                self._flush()
                await asyncio.wait(self._flushing)  # not gather, which would cancel what it awaits
        finally:
            self._thread.shutdown()
            self._reader.close()
            self._writer.close()
        if self._untold is not None:
            raise _explain(self._untold, self.path)

    def query(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT over the tables of karat.ledger, for reports. Raises: RunError."""
        try:
            yield from self._reader.execute(sql, values)
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error


def look_up(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a SELECT over the journal in `path`, empty where there is none yet.

    Only looks, and works while a run is writing. Raises: RunError.
    """
    with looking(path) as base:
        return [] if base is None else base.execute(sql, values).fetchall()


@contextmanager
def looking(path: Path, limit_s: float = LOOK_S) -> Iterator[sqlite3.Connection | None]:
    """The journal in `path`, to be read; None where there is none yet.

    A journal may come from anybody: one that computes what it pretends to hold is none of karat's,
    and no query takes longer than `limit_s` seconds from now. Raises: RunError, also for errors of
    SQLite in the block.
    """
    if not path.is_file():
        yield None
        return
    until = time.monotonic() + limit_s
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            end_at(base, until)
            held = base.execute("SELECT type, rootpage, sql FROM sqlite_master").fetchall()
            if not held:
                yield None  # a run has this moment made the file
                return
            _check_version(base, path)
            if any(not _is_plain(*one) for one in held):
                raise RunError(
                    f"{path} is another program's database; move it away, or name another --out"
                )
            yield base
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise RunError(
                f"{path} was not read within {limit_s:g} s; ask for less, or move it away if it is "
                "not as karat wrote it"
            ) from error
        raise _explain(error, path) from error


def end_at(base: sqlite3.Connection, until: float) -> None:
    """What is asked from now on is interrupted then, in seconds of the monotonic clock."""
    base.set_progress_handler(lambda: time.monotonic() >= until, _CLOCK)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        base = sqlite3.connect(path, check_same_thread=False, timeout=30)
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing committed
        version = base.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            if base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise RunError(f"{path} is another program's database; name another --out")
            base.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        _check_version(base, path)
    except sqlite3.Error as error:
        raise _explain(error, path) from error
    return base


def _check_version(base: sqlite3.Connection, path: Path) -> None:
    version = base.execute("PRAGMA user_version").fetchone()[0]
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


def _explain(error: Exception, path: Path) -> RunError:
    """What to do about a database error."""
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return RunError(f"no space left to write {path}; free some and run again: it resumes")
    if any(word in text for word in ("malformed", "not a database", "unsupported file format")):
        return RunError(
            f"{path} is damaged ({text}); `sqlite3 {path} .recover` saves what is readable, "
            "or move it away to start anew"
        )
    if "locked" in text:
        return RunError(f"{path} is in use by another program; close it and run again")
    if "readonly" in text or "unable to open" in text:
        return RunError(
            f"cannot write {path}; check the folder's permissions, or use another --out"
        )
    return RunError(f"{path}: {text}")
