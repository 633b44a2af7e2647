"""Tables on disk: a Parquet file, or a folder of them that says in which order they belong.

A run on one machine writes files. A run on many writes folders, each part where its rows were made.
Whoever reads opens either the same way. The folder's list is written last, so a folder without it
is not whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

LISTED = "_karat.json"  # in a folder: its parts in order, and what their writer says of them
META = b"karat"


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
        self, batch_size: int, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Record batches in order; nested columns by dotted path."""
        for path in self.files:
            with opened(path) as file:
                yield from file.iter_batches(batch_size, columns=columns)

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


def opened(path: Path) -> pq.ParquetFile:
    """One Parquet file."""
    return pq.ParquetFile(path)


def pq_metadata(path: Path) -> pq.FileMetaData:
    """What the end of one Parquet file says."""
    with opened(path) as file:
        return file.metadata


def is_folder(path: Path) -> bool:
    return path.is_dir()


def files(path: Path) -> list[Path]:
    """The Parquet files of a table, in order; at least one."""
    if not is_folder(path):
        return [path]
    return [path / part["file"] for part in listed(path)["parts"]]


def counted(path: Path) -> list[tuple[Path, int]]:
    """The Parquet files of a table with the rows of each, in order."""
    if not is_folder(path):
        return [(path, count(path))]
    return [(path / part["file"], int(part["rows"])) for part in listed(path)["parts"]]


def listed(folder: Path) -> dict[str, Any]:
    """What a folder's list says. Raises: FileNotFoundError where it is not whole."""
    found: dict[str, Any] = json.loads((folder / LISTED).read_bytes())
    return found


def list_parts(folder: Path, parts: Sequence[tuple[str, int]], meta: dict[str, Any]) -> None:
    """Makes a folder whole: (file name, rows) of its parts in order, and what is said of them."""
    tree = {"parts": [{"file": name, "rows": rows} for name, rows in parts], "meta": meta}
    beside = folder / f"{LISTED}.tmp"
    beside.write_bytes(json.dumps(tree, sort_keys=True).encode())
    beside.replace(folder / LISTED)


def count(path: Path) -> int:
    """How many rows a table has, read off its end or its list."""
    if is_folder(path):
        return sum(int(part["rows"]) for part in listed(path)["parts"])
    return int(pq_metadata(path).num_rows)


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
