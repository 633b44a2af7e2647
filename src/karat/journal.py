"""The journal: every paid answer, written before it is used. The same record is the ledger row.

Keyed by content (model, request, sample index), so there is no resume mode: a run that starts again
finds what it paid for and buys only what is missing. Cost and provenance cannot disagree, because
they are one record. SQLite in WAL mode survives kill -9 with everything committed; commits are
grouped over a few milliseconds on a thread of their own, about 5 µs a record instead of 33.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import RunError

GROUP_COMMIT_S = 0.004
VERSION = 2


class Record(msgspec.Struct):
    """One sample of one call, and what it cost.

    `request` is the key of the first sample bought by the same HTTP request: latency, status,
    retries and the body are that request's. Tokens and cost are the sample's own share; over one
    request they add up exactly. `cost_nano` is billionths of a dollar, None when no price is known.
    """

    key: bytes
    request: bytes
    kind: str  # chat or score
    model: str
    step: str
    row: str
    sample: int
    content: str
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False  # the service reported no tokens; these are counted from characters
    cost_nano: int | None = None
    latency_ms: float = 0.0
    queue_ms: float = 0.0
    ttft_ms: float | None = None
    status: int = 200
    retries: int = 0
    started: float = 0.0  # Unix seconds
    body: str | None = None  # the request, on the first sample only
    scope: str = ""  # run seed, step and its parameters but n: what a plan may count as recorded


COLUMNS = Record.__struct_fields__
_TYPES = {
    "key": "BLOB NOT NULL UNIQUE", "request": "BLOB NOT NULL", "sample": "INTEGER",
    "prompt_tokens": "INTEGER", "completion_tokens": "INTEGER", "estimated": "INTEGER",
    "cost_nano": "INTEGER", "latency_ms": "REAL", "queue_ms": "REAL", "ttft_ms": "REAL",
    "status": "INTEGER", "retries": "INTEGER", "started": "REAL",
}  # fmt: skip
_SCHEMA = f"""
CREATE TABLE calls ({", ".join(f"{c} {_TYPES.get(c, 'TEXT')}" for c in COLUMNS)});
CREATE TABLE failures (started REAL, model TEXT, step TEXT, row TEXT, status INTEGER,
                       retries INTEGER, message TEXT);
PRAGMA user_version = {VERSION};
"""
_INSERT = f"INSERT OR IGNORE INTO calls VALUES ({', '.join('?' * len(COLUMNS))})"
_READ = "SELECT sample, content, finish_reason FROM calls WHERE key = ?"


class _Batch:
    """Records that will be committed together, and the event their writers wait for."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.failures: list[tuple[Any, ...]] = []
        self.done = asyncio.Event()
        self.error: Exception | None = None


class Journal:
    """An open journal. Reads are synchronous point lookups; writes wait for the group commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _connect(path)
        self._writer = _connect(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="karat-journal")
        self._batch: _Batch | None = None
        self._flushing: set[asyncio.Future[None]] = set()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, tuple[int, str, str]]:
        """(sample, content, finish_reason) of every key that is recorded."""
        read = self._reader.execute
        found = {}
        try:
            for key in keys:
                hit = read(_READ, (key,)).fetchone()
                if hit is not None:
                    found[key] = hit
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error
        return found

    async def put(self, records: list[Record]) -> None:
        """Returns once the records are committed. Raises: RunError (disk full, damaged file)."""
        batch = self._open_batch()
        batch.rows += [msgspec.structs.astuple(record) for record in records]
        await batch.done.wait()
        if batch.error is not None:
            raise _explain(batch.error, self.path)

    def note_failure(
        self, started: float, model: str, step: str, row: str, status: int, retries: int, text: str
    ) -> None:
        """Records a call that failed for good; written with the next commit."""
        self._open_batch().failures.append((started, model, step, row, status, retries, text))

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
        batch.done.set()

    def _commit(self, batch: _Batch) -> None:
        with self._writer:  # one transaction
            self._writer.executemany(_INSERT, batch.rows)
            if batch.failures:
                self._writer.executemany(
                    "INSERT INTO failures VALUES (?,?,?,?,?,?,?)", batch.failures
                )

    async def close(self) -> None:
        """Commits what is pending. Raises: RunError."""
        try:
            while self._batch is not None or self._flushing:
                self._flush()
                await asyncio.gather(*self._flushing, return_exceptions=True)
        finally:
            self._thread.shutdown()
            self._reader.close()
            self._writer.close()

    def query(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT over `calls` and `failures`, for reports. Raises: RunError."""
        try:
            yield from self._reader.execute(sql, values)
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error


def look_up(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a SELECT over the journal in `path`, empty where there is none yet.

    Only looks, and works while a run is writing. Raises: RunError.
    """
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            _check_version(base, path)
            return base.execute(sql).fetchall()
    except sqlite3.Error as error:
        raise _explain(error, path) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        base = sqlite3.connect(path, check_same_thread=False, timeout=30)
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing committed
        version = base.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            if base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise RunError(f"{path} is another program's database; name another --out")
            base.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
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
