"""The end of a run: its rows as accepted.parquet and dropped.parquet.

Both hold the columns of a stage behind three plain ones a person looks for first: the text of the
prompt, the text of the best kept response, and its score.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from karat import parquet, places
from karat.columns import Table, best_texts, first_kept, last_texts, score_values
from karat.licensing.rows import Licences
from karat.rundir import Run
from karat.stage import disk, read_batches, written
from karat.table import SCHEMA

FINAL_SCHEMA = pa.schema(
    [
        ("prompt", pa.string()), ("response", pa.string()), ("score", pa.float64()), *SCHEMA,
        ("licences", pa.list_(pa.string())), ("training", pa.string()),
    ]
)  # fmt: skip


def write_results(
    last: Table, run: Run, ranking: str | None, licences: Licences
) -> tuple[int, int]:
    """Splits the last stage into accepted and dropped rows; returns how many of each.

    `ranking` is the score the rows were chosen by; it fills the column `score` and is kept in the
    files' metadata. A stage in parts becomes results in parts, each written where its rows are.
    Raises: RunError.
    """
    meta = {"ranking": ranking}
    accepted, dropped = run.accepted_file, run.dropped_file
    if not parquet.is_folder(last.path):
        return _split(last, accepted, dropped, meta, ranking, licences)
    for folder in (accepted, dropped):
        with disk(folder):
            parquet.begin_parts(folder)
    counts = list(last.each(_split_part, accepted, dropped, meta, ranking, licences))
    for place, folder in enumerate((accepted, dropped)):
        parts = [(parquet.part_name(n), found[place]) for n, found in enumerate(counts)]
        with disk(folder):
            parquet.list_parts(folder, parts, meta)
    return sum(kept for kept, _ in counts), sum(gone for _, gone in counts)


def forget_unfinished(run: Run) -> None:
    """Removes the files that an earlier time was writing when it was killed. A store shows none."""
    if places.is_remote(run.data):
        return
    results = [f"{path.stem}.*.tmp" for path in (run.accepted_file, run.dropped_file)]
    for folder, names in ((run.stages, ["*.tmp"]), (run.data, results)):
        for left in (path for name in names for path in folder.glob(name)):
            with suppress(OSError):  # it is only in the way of other files
                left.unlink()


def _split_part(
    part: Table, accepted: Path, dropped: Path, meta: dict[str, Any], ranking: str | None,
    licences: Licences,
) -> tuple[int, int]:  # fmt: skip
    name = parquet.part_name(part.number)
    return _split(part, accepted / name, dropped / name, meta, ranking, licences)


def _split(
    part: Table, to: Path, gone: Path, meta: dict[str, Any], ranking: str | None,
    licences: Licences,
) -> tuple[int, int]:  # fmt: skip
    counts = [0, 0]
    with (
        written(gone, meta, FINAL_SCHEMA) as dropped,
        written(to, meta, FINAL_SCHEMA) as accepted,
    ):
        for batch in read_batches(part.path):
            wide = _widen(batch, ranking, licences)
            live = pc.is_null(wide.column("dropped"))
            for place, (writer, mask) in enumerate(((accepted, live), (dropped, pc.invert(live)))):
                rows = wide.filter(mask)
                counts[place] += rows.num_rows
                writer.add_batch(rows)
    return counts[0], counts[1]


def _widen(batch: pa.RecordBatch, ranking: str | None, licences: Licences) -> pa.RecordBatch:
    responses = batch.column("responses")
    scores = pa.nulls(batch.num_rows, pa.float64())
    if ranking is not None and batch.num_rows:
        flat = score_values(responses.flatten().field("scores"), ranking)
        found = pa.array(flat, mask=np.isnan(flat))
        scores = found.take(first_kept(responses))
    columns = [last_texts(batch.column("messages")), best_texts(responses), scores]
    columns += [*batch.columns, *licences.columns(batch)]
    return pa.RecordBatch.from_arrays(columns, schema=FINAL_SCHEMA)
