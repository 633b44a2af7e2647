"""Looking at a journal's file while a run may be writing to it."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from karat.errors import RunError
from karat.journal.look import LateError
from karat.journal.sqlite_connect import WITHOUT_CRC, check_version, explain
from karat.ledger import SCHEMA, VERSION

_CLOCK = 20_000  # instructions of SQLite between looks at the clock
_WORKED_OUT = re.compile(r"\b(as|generated)\b", re.IGNORECASE)  # of a column, in its table's SQL


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
        check_version(VERSION if version == WITHOUT_CRC else version, path)
        if any(not _is_plain(*one) for one in held):
            raise RunError(
                f"{path} is another program's database; move it away, or name another --out"
            )
        yield look


def _is_plain(kind: str, root: int | None, sql: str | None) -> bool:
    """Whether a table or an index holds what is read of it. What a view, a trigger, a virtual
    table or a column that is worked out says is somebody's program."""
    own = sql is None or f"{sql};" in SCHEMA
    return kind in ("table", "index") and bool(root) and (own or not _WORKED_OUT.search(sql or ""))
