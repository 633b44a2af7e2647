"""Tables on disk: a Parquet file, or a folder of them that says in which order they belong.

A run on one machine writes files. A run on many writes folders, each part where its rows were made.
Whoever reads opens either the same way, on this machine or at a URL. The folder's list is written
last, so a folder without it is not whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from karat import places
from karat.errors import RunError

LISTED = "_karat.json"  # in a folder: its parts in order, and what their writer says of them
META = b"karat"
ENDING = ".parquet"


class DamagedError(RunError, OSError):
    """A table of a run cannot be read; also an OSError, for those who have words of their own."""


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """What to do about a table of a run that is damaged within. Raises: DamagedError."""
    try:
        yield
    except (FileNotFoundError, DamagedError):
        raise
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(
            f"{path} is damaged ({' '.join(str(error).split())[:200]}): remove it and run again; "
            "nothing is paid for twice"
        ) from error


class Group(NamedTuple):
    """A row group of a table, `number` in `file`; `first` is the place of its first row in all."""

    file: Path
    number: int
    first: int
    rows: int


class Parts:
    """The Parquet files of a table, opened to be read; a context manager.

    Raises: FileNotFoundError for nothing there, or a folder that is not whole; OSError or
    ArrowException for what cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = files(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        return None

    def iter_batches(
        self, batch_size: int = 65_536, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Record batches in order; nested columns by dotted path."""
        for path in self.files:
            yield from batches(path, batch_size, columns)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All of it in memory."""
        tables = []
        for path in self.files:
            with opened(path) as file:
                tables.append(file.read(columns=columns))
        return pa.concat_tables(tables) if len(tables) > 1 else tables[0]

    @property
    def num_rows(self) -> int:
        return count(self.path)

    @property
    def schema_arrow(self) -> pa.Schema:
        with opened(self.files[0]) as file:
            return file.schema_arrow

    @property
    def num_row_groups(self) -> int:
        return sum(pq_metadata(path).num_row_groups for path in self.files)

    def groups(self) -> list[Group]:
        """Its row groups in order, from the ends of its files."""
        sizes = [(path, n, size) for path in self.files for n, size in enumerate(_sizes(path))]
        bounds = pairwise(accumulate((size for _, _, size in sizes), initial=0))
        return [
            Group(path, number, first, end - first)
            for (path, number, _), (first, end) in zip(sizes, bounds, strict=True)
        ]


def _sizes(path: Path) -> list[int]:
    held = pq_metadata(path)
    return [held.row_group(number).num_rows for number in range(held.num_row_groups)]


def batches(
    path: Path, batch_size: int, columns: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """Record batches of one Parquet file, or of some of its row groups, in order."""
    with opened(path) as file:
        if not places.is_remote(path):
            numbers = None if groups is None else list(groups)
            yield from file.iter_batches(batch_size, row_groups=numbers, columns=columns)
        else:
            numbers = list(range(file.num_row_groups) if groups is None else groups)
            yield from _ahead(file, batch_size, columns, numbers)


def foreign_batches(
    path: Path, batch_size: int, columns: Sequence[str], buffer: int
) -> Iterator[pa.RecordBatch]:
    """Record batches of somebody else's file, whose one row group may be all of it: a column is
    read page by page through a buffer of so many bytes."""
    source = places.ranges(path) if places.is_remote(path) else nullcontext(path)
    with source as where, pq.ParquetFile(where, buffer_size=buffer) as file:
        yield from file.iter_batches(batch_size, columns=columns)


def _ahead(
    file: pq.ParquetFile, batch_size: int, columns: Sequence[str] | None, numbers: list[int]
) -> Iterator[pa.RecordBatch]:
    """The batches of a store's file, a row group fetched while the one before is used.

    Group by group, because Arrow keeps all that it fetched for a reader until that is done.
    """

    def fetched(number: int) -> list[pa.RecordBatch]:
        return list(file.iter_batches(batch_size, [number], columns))

    with ThreadPoolExecutor(1, "karat-fetch") as thread:
        coming = [thread.submit(fetched, number) for number in numbers[:1]]
        for number in [*numbers[1:], None]:
            found = coming.pop().result() if coming else []
            if number is not None:
                coming.append(thread.submit(fetched, number))
            yield from found


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """One Parquet file; of a store's only what is asked for is fetched. Pages that karat wrote
    carry checksums: a wrong bit is an error and no wrong row."""
    options = {"page_checksum_verification": True, **options}
    if not places.is_remote(path):
        with pq.ParquetFile(path, **options) as file:
            yield file
        return
    with (
        places.ranges(path) as stream,
        pq.ParquetFile(stream, pre_buffer=True, **options) as file,
    ):
        yield file


def pq_metadata(path: Path) -> pq.FileMetaData:
    """What the end of one Parquet file says."""
    with opened(path) as file:
        return file.metadata


def is_folder(path: Path) -> bool:
    return places.is_dir(path)


def is_table(path: Path) -> bool:
    """Whether it is a folder of parts. Raises: OSError."""
    return places.is_file(path / LISTED)


def exists(path: Path) -> bool:
    """Whether there is a table: a file, or a folder that is whole. Raises: OSError."""
    return places.is_file(path) or places.is_file(path / LISTED)


def stamp(path: Path) -> tuple[int, int] | None:
    """(time of the last change in ns, bytes) of a table's file or list, which is another after each
    writing; None where there is none. Raises: OSError."""
    return places.stamp(path / LISTED if is_folder(path) else path)


def tables(folder: Path) -> list[Path]:
    """The tables in a folder of stages by name, those among them that are not whole."""
    return [path for path in places.children(folder) if path.suffix == ENDING]


def files(path: Path) -> list[Path]:
    """The Parquet files of a table, in order; at least one."""
    if not is_folder(path):
        return [path]
    return [path / part["file"] for part in listed(path)["parts"]]


def part_name(number: int) -> str:
    """What a part of a table that karat writes in parts is called."""
    return f"part-{number:06d}{ENDING}"


def counted(path: Path) -> list[tuple[Path, int]]:
    """The Parquet files of a table with the rows of each, in order."""
    if not is_folder(path):
        return [(path, count(path))]
    return [(path / part["file"], int(part["rows"])) for part in listed(path)["parts"]]


def listed(folder: Path) -> dict[str, Any]:
    """What a folder's list says.

    Raises: FileNotFoundError where it is not whole, OSError where the list is not karat's.
    """
    try:
        found: dict[str, Any] = json.loads(places.read_bytes(folder / LISTED))
        names = [str(part["file"]) for part in found["parts"]]
        sizes = [int(part["rows"]) for part in found["parts"]]
        sound = isinstance(found["meta"], dict) and min(sizes, default=0) >= 0
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{folder / LISTED} is not as karat writes it ({error!r})") from None
    # A run may come from anybody: its list must not name files elsewhere.
    odd = any("/" in name or name.startswith(".") or not name.isprintable() for name in names)
    if not sound or odd or not all(names):
        raise OSError(f"{folder / LISTED} is not as karat writes it")
    return found


def begin_parts(folder: Path) -> None:
    """Makes room for a table in parts: what was there is not whole from now on. Raises: OSError."""
    if places.is_file(folder):
        places.remove(folder)
    places.remove(folder / LISTED)
    places.make_folder(folder)
    if not places.is_remote(folder):  # what killed writers left
        for left in folder.glob("*.tmp"):
            left.unlink(missing_ok=True)


def list_parts(folder: Path, parts: Sequence[tuple[str, int]], meta: dict[str, Any]) -> None:
    """Makes a folder whole: (file name, rows) of its parts in order, and what is said of them.

    Other files in it, of an earlier form of the table, are removed.
    """
    tree = {"parts": [{"file": name, "rows": rows} for name, rows in parts], "meta": meta}
    places.write_whole(folder / LISTED, json.dumps(tree, sort_keys=True).encode())
    stays = {LISTED, *(name for name, _ in parts)}
    for path in places.children(folder):
        if path.name not in stays:
            places.remove(path)


def count(path: Path) -> int:
    """How many rows a table has, read off its end or its list."""
    if is_folder(path):
        return sum(int(part["rows"]) for part in listed(path)["parts"])
    return int(pq_metadata(path).num_rows)


def schema(path: Path) -> pa.Schema:
    """The columns of a table."""
    with Parts(path) as file:
        return file.schema_arrow


def meta(path: Path) -> dict[str, Any]:
    """What the table's writer said about it under `karat`; empty where it said nothing, and where
    there is nothing to be read."""
    try:
        if is_folder(path):
            found: dict[str, Any] = listed(path)["meta"]
        else:
            found = json.loads(pq_metadata(path).metadata[META])
        return found
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return {}
