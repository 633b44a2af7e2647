"""The sidecar index of a run's rows: their facts as Parquet, in the order of their places.

A million rows are two gigabytes of text and a hundred megabytes of facts, of which a question reads
one or two columns. The file lies in the run's folder under `.index`, or in karat's cache where that
folder may not be written; it names the state of the run it was made of, and is made anew for any
other. `python -m karat.web.rows.index RUN` makes it in a process of its own, which a server uses
for large runs so that its own answers stay quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from karat.errors import KaratError, RunError
from karat.models.weights import cache_dir
from karat.row import digest
from karat.rundir import Run
from karat.web.rows.files import Holding, holding
from karat.web.rows.flat import DICTIONARIES, Names, facts, names_of, needed, schema

VERSION = 1
FOLDER, FILE = ".index", "rows.parquet"
META = b"karat.rows"
GROUP_ROWS = 131_072  # two cores and a million rows: eight of them
Progress = Callable[[float], None]


class About(msgspec.Struct):
    """What an index was made of."""

    version: int
    sources: list[list[object]]
    names: Names


def places(run: Run) -> list[Path]:
    """Where a run's index may lie: beside it, else in the cache."""
    inside = digest(os.fsencode(run.path.resolve())).hex()
    beside = run.path / FOLDER
    # A link would have another folder's file replaced: a run may come from anybody.
    found = [] if beside.is_symlink() else [beside / FILE]
    with suppress(RunError):  # no home directory
        found.append(cache_dir() / "rows" / inside / FILE)
    return found


def about(path: Path) -> About | None:
    """What an index says of itself; None where there is none that can be read."""
    try:
        told = pq.read_metadata(path).metadata or {}
        return msgspec.json.decode(told[META], type=About)
    except (OSError, pa.ArrowException, KeyError, msgspec.DecodeError):
        return None


def fresh(run: Run, held: Holding) -> tuple[Path, Names] | None:
    """The index of this very state of the run, where it is made already."""
    for path in places(run):
        told = about(path)
        if told is not None and told.version == VERSION and told.sources == held.key:
            return path, told.names
    return None


def build(run: Run, held: Holding, progress: Progress = lambda _: None) -> tuple[Path, Names]:
    """Makes the index. Its memory is that of a row group, whatever the number of rows.

    Raises: MovedError; RunError where neither the run's folder nor the cache can be written.
    """
    why: OSError | None = None
    for path in places(run):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path, _written(path, held, progress)
        except OSError as error:
            why = error
    reason = "there is no other place for it" if why is None else why.strerror
    raise RunError(
        f"the index of the rows cannot be written: {reason}; make room, or set KARAT_CACHE to a "
        "folder that may be written"
    )


def _written(path: Path, held: Holding, progress: Progress) -> Names:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Opened first: where nothing may be written, that is known before anything is read.
        beside.unlink(missing_ok=True)  # of a process that ended, or a link to somewhere else
        with beside.open("xb") as stream:
            names = names_of(held)
            told = msgspec.json.encode(About(VERSION, held.key, names))
            shape = schema(names).with_metadata({META: told})
            with pq.ParquetWriter(
                stream, shape, compression="zstd", compression_level=1, use_dictionary=_coded(names)
            ) as writer:
                _fill(writer, shape, held, names, progress)
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    return names


def _coded(names: Names) -> list[str]:
    """Columns of few values; an id or a score is another in each row."""
    few = ["step", "reason", "source", "training", "models.list.element"]
    return [*few, *(f"m{number}" for number in range(len(names.fields)))]


def _fill(
    writer: pq.ParquetWriter, shape: pa.Schema, held: Holding, names: Names, progress: Progress
) -> None:
    waiting: list[pa.RecordBatch] = []
    rows = done = 0
    for part, group, _ in held.groups():
        with part.open(DICTIONARIES) as file:
            columns = needed(file.schema_arrow.names)
            table = file.read_row_group(group, columns=columns).combine_chunks()
        for batch in table.to_batches():
            waiting.append(facts(batch, names).cast(shape))
            rows += batch.num_rows
            done += batch.num_rows
        if rows >= GROUP_ROWS:
            writer.write_table(pa.Table.from_batches(waiting, shape), row_group_size=rows)
            waiting, rows = [], 0
        progress(done / held.count)
    if waiting:
        writer.write_table(pa.Table.from_batches(waiting, shape), row_group_size=max(1, rows))


def main() -> None:
    """Makes the index of the run named on the command line; its progress, then its path."""
    run = Run(sys.argv[1])
    with suppress(OSError):
        os.nice(10)
    pa.set_cpu_count(2)
    told = 0.0

    def progress(share: float) -> None:
        nonlocal told
        if share >= told + 0.01:
            told = share
            sys.stdout.write(f"{share:.2f}\n")
            sys.stdout.flush()

    try:
        build(run, holding(run), progress)
    except KaratError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
