"""The end of a run: its rows as accepted.parquet and dropped.parquet.

Both hold the columns of a stage behind three plain ones a person looks for first: the text of the
prompt, the text of the best kept response, and its score.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from karat.columns import best_texts, first_kept, last_texts, score_values
from karat.licensing.rows import Licences
from karat.rundir import Run
from karat.stage import read_batches, written
from karat.table import SCHEMA

FINAL_SCHEMA = pa.schema(
    [
        ("prompt", pa.string()), ("response", pa.string()), ("score", pa.float64()), *SCHEMA,
        ("licences", pa.list_(pa.string())), ("training", pa.string()),
    ]
)  # fmt: skip


def write_results(last: Path, run: Run, ranking: str | None, licences: Licences) -> tuple[int, int]:
    """Splits the last stage into accepted and dropped rows; returns how many of each.

    `ranking` is the score the rows were chosen by; it fills the column `score` and is kept in the
    files' metadata. Raises: RunError.
    """
    meta, counts = {"ranking": ranking}, [0, 0]
    with (
        written(run.dropped_file, meta, FINAL_SCHEMA) as dropped,
        written(run.accepted_file, meta, FINAL_SCHEMA) as accepted,
    ):
        for batch in read_batches(last):
            wide = _widen(batch, ranking, licences)
            live = pc.is_null(wide.column("dropped"))
            for place, (writer, mask) in enumerate(((accepted, live), (dropped, pc.invert(live)))):
                part = wide.filter(mask)
                counts[place] += part.num_rows
                writer.add_batch(part)
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
