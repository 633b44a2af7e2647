"""The Parquet files that hold a run's rows, and single rows out of them by their place.

A place is a row's number in the run: accepted ones in file order, then dropped ones, through all
the parts of either. While a run has no result yet, the newest stage stands for it. Files are
replaced while somebody looks at them, so each is opened by what it was when it was found: a page
never mixes two states of a run.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from karat import parquet, places
from karat.errors import RunError
from karat.rundir import Run
from karat.stage import read_meta
from karat.table import SCHEMA

Places = NDArray[np.int64]


class NoRowsError(RunError):
    """The run has written no rows yet."""


class MovedError(RunError):
    """The run has written its rows anew since they were found."""


class Part(msgspec.Struct, frozen=True):
    """One file as it was found. `starts` are the first rows of its row groups, and its end."""

    path: Path
    size: int
    changed_ns: int
    starts: tuple[int, ...]

    @property
    def rows(self) -> int:
        return self.starts[-1]

    @contextmanager
    def open(self, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
        """Raises: MovedError when the file is another one by now, or not there."""
        try:
            with self._stream() as stream:
                metadata = _metadata(self.path, self.size, self.changed_ns)
                with pq.ParquetFile(
                    stream,
                    metadata=metadata,
                    read_dictionary=list(dictionaries),
                    pre_buffer=places.is_remote(self.path),
                ) as file:
                    yield file
        except FileNotFoundError:
            raise _moved() from None
        except (OSError, pa.ArrowException) as error:
            raise RunError(f"{self.path.name} of this run cannot be read: {error}") from error

    def _stream(self) -> BinaryIO:
        if places.is_remote(self.path):
            changed, size = places.stamp(self.path) or (0, 0)
            stream = places.ranges(self.path)  # of the object as it is now, or an error
        else:
            stream = self.path.open("rb")
            now = os.fstat(stream.fileno())
            changed, size = now.st_mtime_ns, now.st_size
        if (size, changed) != (self.size, self.changed_ns):
            stream.close()
            raise _moved()
        return stream


def _moved() -> MovedError:
    return MovedError("the run is writing its rows anew; load the page again")


class Holding(msgspec.Struct, frozen=True):
    """Where a run's rows are. `final`: in its results, the `accepted` ones first."""

    parts: tuple[Part, ...]
    final: bool
    ranking: str | None = None
    accepted: int = 0  # how many; of a stage, where none are told apart, all

    @property
    def count(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def key(self) -> list[list[object]]:
        """What tells this state of the run from any other."""
        return [[part.path.name, part.size, part.changed_ns] for part in self.parts]

    def groups(self) -> Iterator[tuple[Part, int, int]]:
        """(file, row group, place of its first row), in the order of the places."""
        before = 0
        for part in self.parts:
            for group, start in enumerate(part.starts[:-1]):
                if part.starts[group + 1] > start:  # a file without rows has an empty one
                    yield part, group, before + start
            before += part.rows

    def read(
        self, places: Sequence[int], columns: Sequence[str] | None,
        shape: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda batch: batch,
    ) -> pa.Table:  # fmt: skip
        """The rows at these places, in their order, each row group read once.

        `shape` is done to the rows of one row group before the next is read, so that long texts
        are cut before they add up. Raises: MovedError.
        """
        found: list[pa.RecordBatch] = []
        order: list[int] = []
        for part, group, inside, asked in self._grouped(places):
            with part.open() as file:
                table = file.read_row_group(group, columns=None if columns is None else [*columns])
            (batch,) = table.take(pa.array(inside)).combine_chunks().to_batches()
            found.append(shape(batch))
            order += asked
        if not found:
            raise NoRowsError("there is no such row")
        return pa.Table.from_batches(found).take(pa.array(np.argsort(order)))

    def _grouped(self, places: Sequence[int]) -> Iterator[tuple[Part, int, list[int], list[int]]]:
        """(file, row group, rows inside it, which of `places` they are)."""
        bounds = list(accumulate((part.rows for part in self.parts), initial=0))
        by_group: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        for number, place in enumerate(places):
            where = bisect_right(bounds, place) - 1
            part = self.parts[where]
            row = place - bounds[where]
            group = bisect_right(part.starts, row) - 1
            inside, asked = by_group.setdefault((where, group), ([], []))
            inside.append(row - part.starts[group])
            asked.append(number)
        for (where, group), (inside, asked) in sorted(by_group.items()):
            yield self.parts[where], group, inside, asked

    def find(self, identity: str) -> list[int]:
        """The places of every row with this id, read from the ids themselves."""
        found: list[int] = []
        before = 0
        for part in self.parts:
            with part.open() as file:
                for group, start in enumerate(part.starts[:-1]):
                    found += (before + start + rows_with(file, group, identity)).tolist()
            before += part.rows
        return found


def rows_with(file: pq.ParquetFile, group: int, identity: str) -> NDArray[np.int64]:
    """Which rows of a row group have this id."""
    ids = file.read_row_group(group, columns=["id"], use_threads=False).column("id")
    same = pc.fill_null(pc.equal(ids, identity), False)
    return np.flatnonzero(same.to_numpy())


def holding(run: Run) -> Holding:
    """Where a run's rows are now. Raises: NoRowsError."""
    accepted, dropped = parts_of(run.accepted_file), parts_of(run.dropped_file)
    if accepted and dropped:
        ranking = read_meta(run.accepted_file).get("ranking")
        rows = sum(part.rows for part in accepted)
        return Holding((*accepted, *dropped), True, ranking, rows)
    for path in sorted(parquet.tables(run.stages), key=_changed, reverse=True):
        if parts := parts_of(path):
            return Holding(parts, False, accepted=sum(part.rows for part in parts))
    raise NoRowsError(
        "This run has written no rows yet: they can be seen once its first stage is whole"
    )


def stage_files(folder: Path) -> list[Path]:
    """A run's stages in the order they were walked, earlier rounds of a stage before later."""
    return sorted(parquet.tables(folder), key=lambda path: (path.name[:2], _changed(path)))


def _changed(path: Path) -> int:
    try:
        return (parquet.stamp(path) or (0, 0))[0]
    except OSError:
        return 0


def parts_of(path: Path) -> tuple[Part, ...]:
    """The files of a table as they are now, in order; none where one is not there, not whole, or
    no file of rows."""
    try:
        found = [part_of(file) for file in parquet.files(path)]
    except OSError:
        return ()
    whole = tuple(part for part in found if part is not None)
    return whole if len(whole) == len(found) else ()


def part_of(path: Path) -> Part | None:
    """The file as it is now; None where it is not there, not whole, or no file of rows."""
    try:
        if not places.is_remote(path) and not stat.S_ISREG(path.stat().st_mode):
            return None  # a pipe would be waited for
        stamp = places.stamp(path)
        if stamp is None:
            return None
        changed, size = stamp
        metadata = _metadata(path, size, changed)
        if set(SCHEMA.names) - set(metadata.schema.to_arrow_schema().names):
            return None
    except (OSError, pa.ArrowException):
        return None
    sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return Part(path, size, changed, tuple(accumulate(sizes, initial=0)))


@lru_cache(maxsize=64)
def _metadata(path: Path, size: int, changed_ns: int) -> pq.FileMetaData:
    return parquet.pq_metadata(path)
