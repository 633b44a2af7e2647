"""Reading a journal that others may be writing to: what reports, pages and costs are made of.

The same SQL is asked of both kinds: values stand as `?`, days and providers are told apart in
Python, and nothing is written that one of them reads in another way. `floored` is what they have no
common word for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

from karat.errors import RunError
from karat.journal.address import Address, PostgresAddress, check_psycopg
from karat.ledger import EPOCH_MS

LOOK_S = 30.0  # that one look into a journal may take


class LateError(RunError):
    """A look took longer than it may."""

    def __init__(self, name: str, limit_s: float) -> None:
        super().__init__(
            f"{name} was not read within {limit_s:g} s; ask for less, or move it away if it is "
            "not as karat wrote it"
        )


class Look(Protocol):
    """A journal that is looked at, and cannot be changed."""

    def rows(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT. Raises: LateError, RunError."""

    def end_at(self, until: float) -> None:
        """What is asked from now on is interrupted then, in seconds of the monotonic clock."""


def floored(sql: str) -> str:
    """The whole number at or below a number above 0: SQLite cuts what PostgreSQL rounds."""
    return f"CAST(round(CAST({sql} AS NUMERIC) - 0.5) AS BIGINT)"


def look_up(address: Address, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a SELECT over a journal, empty where there is none yet.

    Only looks, and works while a run is writing. Raises: RunError.
    """
    with looking(address) as look:
        return [] if look is None else list(look.rows(sql, *values))


@contextmanager
def looking(address: Address, limit_s: float = LOOK_S) -> Iterator[Look | None]:
    """A journal to be read; None where there is none yet. Nothing that is asked of it ends later
    than `limit_s` seconds from now. Raises: RunError."""
    opened: AbstractContextManager[Look | None]
    if not isinstance(address, PostgresAddress):
        from karat.journal.sqlite_look import looking as of_file

        opened = of_file(address, limit_s)
    else:
        check_psycopg()
        from karat.journal.postgres_look import looking as of_schema

        opened = of_schema(address, limit_s)
    with opened as look:
        yield look


def is_there(address: Address) -> bool:
    """Whether there is a journal yet. Raises: RunError where a database cannot be asked."""
    if not isinstance(address, PostgresAddress):
        return address.is_file()
    with looking(address) as look:
        return look is not None


def stamp_of(address: Address) -> tuple[int, ...]:
    """What tells a journal, and what is not yet in its file, from what it was; empty where there
    is none. For what is kept of a journal until it changes."""
    found: list[int] = []
    if not isinstance(address, PostgresAddress):
        for one in (address, address.with_name(f"{address.name}-wal")):
            with suppress(OSError):
                now = one.stat()
                found += [now.st_mtime_ns, now.st_size]
    else:
        with suppress(RunError):
            for line in look_up(address, "SELECT count(*), sum(last) FROM writers"):
                found += line
    return tuple(found)


def told(error: RunError, address: Address, name: str) -> str:
    """An error of reading a journal, for whoever only sees pages: where it lies is not theirs to
    know."""
    if isinstance(address, PostgresAddress):
        return f"the database of {name} could not be asked"
    return str(error).replace(str(address), name).replace(f"{address.parent}/", "")


def changed_at(address: Address) -> float:
    """When something was last written, in Unix seconds; 0 where there is none."""
    if not isinstance(address, PostgresAddress):
        try:
            return address.stat().st_mtime
        except OSError:
            return 0.0
    found = look_up(address, "SELECT max(id) FROM attempts")
    return ((found[0][0] >> 20) + EPOCH_MS) / 1000 if found and found[0][0] else 0.0
