"""Tables of a run made into folders of parts, as a run on many machines writes them."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from karat import Run, parquet


def fold(path: Path, count: int = 3) -> Path:
    """Makes a Parquet file a folder of so many parts of unlike sizes, under the same name."""
    table, meta = pq.read_table(path), parquet.meta(path)
    path.unlink()
    parquet.begin_parts(path)
    cuts = [round(table.num_rows * (part / count) ** 2) for part in range(count + 1)]
    parts = []
    for number, (start, end) in enumerate(pairwise(cuts)):
        name = f"part-{number:06d}.parquet"
        _write(table.slice(start, end - start), path / name)
        parts.append((name, end - start))
    parquet.list_parts(path, parts, meta)
    return path


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=5)


def folded(run: Run, to: Path, count: int = 3) -> Run:
    """A copy of a run whose results and stages are folders of parts."""
    shutil.copytree(run.path, to, dirs_exist_ok=True)
    made = Run(to)
    for path in (made.accepted_file, made.dropped_file, *parquet.tables(made.stages)):
        if path.is_file():
            fold(path, count)
    return made
