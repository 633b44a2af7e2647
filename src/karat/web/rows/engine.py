"""The questions of a view, put to the index with DuckDB.

Of a request only values get into a statement, each as a parameter; the columns are the index's own
numbered ones. The database can open the index and nothing else: no other file, no extension, no
network; its settings are locked, its memory is bounded. A question can be stopped at any time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np

from karat.errors import RunError
from karat.web.rows.asked import Filter, View
from karat.web.rows.files import Places
from karat.web.rows.flat import Names

MEMORY = "512MB"
SHOWN = 50  # values of one facet
REMEMBERED = 64  # summaries of filters
MOST_TWINS = 100  # rows with one id
_FROM = "FROM read_parquet(?, file_row_number = true)"
_LOCKS = (
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class Stop:
    """When a question must end: at a time, or when nobody waits for the answer any more."""

    def __init__(self, limit_s: float) -> None:
        self.until = time.monotonic() + limit_s
        self._asked = threading.Event()
        self._base: duckdb.DuckDBPyConnection | None = None

    def now(self) -> None:
        self._asked.set()
        base = self._base
        if base is not None:
            with suppress(duckdb.Error):  # it answered just now
                base.interrupt()

    @property
    def is_due(self) -> bool:
        return self._asked.is_set() or time.monotonic() >= self.until

    def check(self) -> None:
        """Raises: StoppedError."""
        if self.is_due:
            raise StoppedError("the question took too long; ask for fewer rows")

    @contextmanager
    def over(self, base: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupts `base` once it is due. Raises: StoppedError."""
        self.check()
        self._base = base
        timer = threading.Timer(max(0.0, self.until - time.monotonic()), self.now)
        timer.daemon = True
        timer.start()
        try:
            yield
        except duckdb.InterruptException:
            raise StoppedError("the question took too long; ask for fewer rows") from None
        finally:
            timer.cancel()
            self._base = None


class StoppedError(RunError):
    """A question that was not answered in time, or that nobody waits for."""


class Facet(msgspec.Struct):
    """How many of the rows have each value, most first; `more` values are not listed."""

    values: list[tuple[str, int]]
    more: int = 0


class Summary(msgspec.Struct):
    """What is known of all rows of a filter. `reasons` are (step, reason, rows)."""

    count: int
    accepted: int
    reasons: list[tuple[str, str, int]]
    facets: dict[str, Facet]


class Engine:
    """One index, open for questions from several threads."""

    def __init__(self, path: Path, names: Names) -> None:
        self.names = names
        self.path = path
        self._base = duckdb.connect(
            config={
                "threads": 2, "memory_limit": MEMORY, "allow_community_extensions": False,
                "autoinstall_known_extensions": False, "autoload_known_extensions": False,
                "python_enable_replacements": False, "temp_directory": "",
            }
        )  # fmt: skip
        opened = str(path.resolve()).replace("'", "''")
        for statement in (f"SET allowed_paths = ['{opened}']", *_LOCKS):
            self._base.execute(statement)
        self._opened = str(path.resolve())
        self._summaries: OrderedDict[Filter, Summary] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        self._base.close()

    def _ask(self, stop: Stop, statement: str, values: Sequence[object] = ()) -> list[Any]:
        with self._cursor(stop) as base:
            return base.execute(statement, [self._opened, *values]).fetchall()

    @contextmanager
    def _cursor(self, stop: Stop) -> Iterator[duckdb.DuckDBPyConnection]:
        base = self._base.cursor()
        try:
            with stop.over(base):
                yield base
        except duckdb.Error as error:
            raise RunError(f"the index of the rows cannot be read: {error}") from error
        finally:
            base.close()

    # --- which rows --------------------------------------------------------------------------

    def _where(self, asked: Filter) -> tuple[str, list[object]]:
        """The condition of a filter without its text, which is not in the index."""
        parts, values = [], list[object]()
        if asked.kept:
            parts.append("kept" if asked.kept == "accepted" else "NOT kept")
        for name in ("step", "reason", "source", "training"):
            if value := getattr(asked, name):
                parts.append(f"{name} = ?")
                values.append(value)
        if asked.model:
            parts.append("list_contains(models, ?)")
            values.append(asked.model)
        if asked.score:
            column = self._score(asked.score, asked.of)
            bounds = ((">=", asked.low), ("<=", asked.high))
            given = [(sign, bound) for sign, bound in bounds if bound is not None]
            parts += [f"{column} {sign} ?" for sign, _ in given] or [f"{column} IS NOT NULL"]
            values += [bound for _, bound in given]
        for name, value in asked.meta:
            parts.append(f"m{self.names.fields.index(name)} = ?")
            values.append(value)
        return (f"WHERE {' AND '.join(parts)}" if parts else ""), values

    def _score(self, key: str, of: str) -> str:
        return f"s{self.names.scores.index(key)}{f'_{of}' if of else ''}"

    def _order(self, view: View) -> str:
        """Rows without a value come last either way; equals stay in the order of the run."""
        columns = {
            "": "", "length": "length", "prompt": "prompt", "responses": "responses",
            "reason": "step, reason",
        }  # fmt: skip
        column = columns.get(view.sort)
        if column is None:
            of = view.filter.of if view.sort == view.filter.score else ""
            column = self._score(view.sort, of)
        way = "DESC" if view.down else "ASC"
        parts = [f"{one.strip()} {way} NULLS LAST" for one in column.split(",") if one]
        return f"ORDER BY {', '.join([*parts, 'file_row_number'])}"

    def places(
        self, view: View, stop: Stop, first: int = 0, count: int | None = None,
        among: Places | None = None,
    ) -> Places:  # fmt: skip
        """The places of the view's rows in its order, from the `first` on; its text is passed over.
        `among`: of these rows only."""
        where, values = self._where(view.filter)
        if among is not None:
            where += f"{' AND' if where else 'WHERE'} file_row_number IN (SELECT unnest(?))"
            values.append(among.tolist())
        order = self._order(view)
        if count is None:
            statement = f"SELECT file_row_number {_FROM} {where} {order}"
        else:
            statement = f"SELECT file_row_number {_FROM} {where} {order} LIMIT ? OFFSET ?"
            values += [count, first]
        with self._cursor(stop) as base:
            found = base.execute(statement, [self._opened, *values]).fetchnumpy()
        return np.asarray(found["file_row_number"], np.int64)

    def rank(self, view: View, place: int, stop: Stop) -> int | None:
        """How many of the view's rows come before the one at `place`; None where it is not one."""
        where, values = self._where(view.filter)
        found = self._ask(
            stop,
            f"SELECT before FROM (SELECT file_row_number AS place, row_number() OVER "
            f"({self._order(view)}) - 1 AS before {_FROM} {where}) WHERE place = ?",
            [*values, place],
        )
        return int(found[0][0]) if found else None

    def find(self, identity: str, stop: Stop) -> list[int]:
        """The places of the rows with this id."""
        statement = f"SELECT file_row_number {_FROM} WHERE id = ? ORDER BY 1 LIMIT {MOST_TWINS}"
        return [int(place) for (place,) in self._ask(stop, statement, [identity])]

    # --- what is known of them ---------------------------------------------------------------

    def facts(self, places: Sequence[int], stop: Stop) -> list[dict[str, Any]]:
        """The index's columns of these rows, in their order."""
        if not len(places):
            return []
        asked = [int(place) for place in places]
        with self._cursor(stop) as base:
            listed = ", ".join(map(str, asked))
            found = base.execute(
                f"SELECT * {_FROM} WHERE file_row_number IN ({listed})", [self._opened]
            )
            columns = [column[0] for column in found.description or ()]
            rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
        by_place = {row["file_row_number"]: row for row in rows}
        return [by_place[place] for place in asked]

    def summary(self, asked: Filter, stop: Stop) -> Summary:
        """Counts of the filter's rows by every value that can be filtered by; its text is passed
        over."""
        asked = msgspec.structs.replace(asked, q="")
        with self._lock:
            if asked in self._summaries:
                self._summaries.move_to_end(asked)
                return self._summaries[asked]
        found = self._summed(asked, stop)
        with self._lock:
            self._summaries[asked] = found
            if len(self._summaries) > REMEMBERED:
                self._summaries.popitem(last=False)
        return found

    def _summed(self, asked: Filter, stop: Stop) -> Summary:
        where, values = self._where(asked)
        counted = [self.names.fields.index(name) for name in self.names.counted]
        columns = ["source", "training", "models", *(f"m{number}" for number in counted)]
        sets = ", ".join(["(kept, step, reason)", *(f"({column})" for column in columns)])
        found = self._ask(
            stop,
            f"SELECT grouping_id(kept, {', '.join(columns)}), kept, step, reason, "
            f"{', '.join(columns)}, count(*) {_FROM} {where} GROUP BY GROUPING SETS ({sets})",
            values,
        )
        facets: dict[str, dict[str, int]] = {column: {} for column in columns}
        accepted = count = 0
        reasons: list[tuple[str, str, int]] = []
        for mask, kept, step, reason, *rest, rows in found:
            # Of `mask` each bit that is 0 is a column this line was grouped by.
            which = next(n for n in range(len(columns) + 1) if not mask >> len(columns) - n & 1)
            if which == 0:
                count += rows
                accepted += rows if kept else 0
                if not kept:
                    reasons.append((step or "", reason or "", rows))
                continue
            value = rest[which - 1]
            for one in value if isinstance(value, list) else [value]:
                if one:
                    into = facets[columns[which - 1]]
                    into[one] = into.get(one, 0) + rows
        names = ["source", "training", "model", *(f"meta.{name}" for name in self.names.counted)]
        listed = {name: _facet(facets[column]) for name, column in zip(names, columns, strict=True)}
        reasons.sort(key=lambda one: (-one[2], one))
        return Summary(count, accepted, reasons, listed)

    def ranges(self, stop: Stop) -> dict[str, tuple[float, float]]:
        """The lowest and the highest score of any candidate in the run, by key."""
        if not self.names.scores:
            return {}
        parts = [f"min(s{n}_worst), max(s{n}_best)" for n in range(len(self.names.scores))]
        (line,) = self._ask(stop, f"SELECT {', '.join(parts)} {_FROM}")
        ends = zip(line[::2], line[1::2], strict=True)
        return {
            key: end for key, end in zip(self.names.scores, ends, strict=True) if None not in end
        }


def _facet(counts: dict[str, int]) -> Facet:
    listed = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return Facet(listed[:SHOWN], max(0, len(listed) - SHOWN))
