"""Opening the file of a journal for writing, reading an answer, and what to do about its errors."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from karat.errors import RunError
from karat.ledger import ADD_CRC, SCHEMA, VERSION, crc_of

BUSY_S = 30.0  # for which others may hold the file
WITHOUT_CRC = 3  # the format before answers had a checksum; it is taken, and made today's
_READ = "SELECT sample, content, finish_reason, more, crc FROM calls WHERE key = ?"
DAMAGED = object()


def find(base: sqlite3.Connection, key: bytes) -> Any:
    """What is held under a key: Held, None, or DAMAGED where it is not what was written."""
    try:
        hit = base.execute(_READ, (key,)).fetchone()
    except sqlite3.OperationalError as error:
        if "decode" in str(error):  # a wrong bit that leaves no text
            return DAMAGED
        raise
    if hit is None:
        return None
    *held, crc = hit
    try:
        sound = crc is None or crc == crc_of(*held)  # None: written by format 3
    except (AttributeError, TypeError):  # of another type than was written
        sound = False
    return tuple(held) if sound else DAMAGED


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a journal, which is made where there is none. Raises: RunError."""
    try:
        base = sqlite3.connect(path, check_same_thread=False, timeout=BUSY_S)
        _to_wal(base)
        base.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing committed
        if _version(base) in (0, WITHOUT_CRC):
            _make(base, path)
        check_version(_version(base), path)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return base


def try_writing(base: sqlite3.Connection, path: Path) -> None:
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
    """The tables, or what format 3 lacks of them, once, whoever else is about to make them."""
    base.execute("BEGIN IMMEDIATE")
    try:
        if _version(base) == WITHOUT_CRC:
            base.execute(ADD_CRC)
            base.execute(f"PRAGMA user_version = {VERSION}")
        elif _version(base) == 0:
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


def check_version(version: int, path: Path) -> None:
    """Raises: RunError for a format that this karat does not read."""
    if version != VERSION:
        raise RunError(
            f"{path} was written by another version of karat (format {version}, this one reads "
            f"{VERSION}); use that version, or another --out"
        )


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
