"""The rows of a filter as files: streamed as they are read, so that a million need no memory.

Parquet and JSON hold whole rows, CSV one line a row with what a spreadsheet is for: the prompt, the
response that was kept, its scores. All are in the order of the run, which is how they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from karat.columns import best_texts, last_texts
from karat.web.rows.engine import Stop
from karat.web.rows.files import Holding, Places
from karat.web.rows.flat import Names, facts
from karat.web.rows.search import Search
from karat.web.tables import csv_pieces, json_pieces, parquet_pieces

AT_ONCE = 256
# The columns of CSV: of the row, its texts, its facts; scores follow.
_TEXTS = ("prompt", "response")
_OWN = ("id", *_TEXTS, "score", "source", "meta", "dropped", "licences", "training")
_KNOWN = ("step", "reason", "models", "responses")


def batches(held: Holding, places: Places | None, stop: Stop) -> Iterator[pa.RecordBatch]:
    """The rows at these places (None: all), which must be in order, a bounded number at a time.

    Raises: MovedError, StoppedError.
    """
    wanted = None if places is None else places.tolist()
    position = 0
    for part, group, first in held.groups():
        size = part.starts[group + 1] - part.starts[group]
        inside: list[int] | None = None
        if wanted is not None:
            begin = position
            while position < len(wanted) and wanted[position] < first + size:
                position += 1
            inside = [place - first for place in wanted[begin:position]]
            if not inside:
                continue
        with part.open() as file:
            table = file.read_row_group(group)
        if inside is not None:
            table = table.take(pa.array(inside))
        for batch in table.combine_chunks().to_batches(AT_ONCE):
            stop.check()
            yield batch


def found(held: Holding, search: Search, stop: Stop) -> Iterator[pa.RecordBatch]:
    """The rows a search finds, as it finds them, to its end."""
    given = 0
    while given < len(search.hits) or not search.done:
        stop.check()
        search.until(given + AT_ONCE, stop)
        hits = np.array(search.hits[given:], np.int64)
        given += len(hits)
        yield from batches(held, hits, stop)


def pieces(
    held: Holding, form: str, rows: Iterator[pa.RecordBatch], names: Names | None
) -> Iterator[bytes]:
    """Rows as a file of a form; CSV needs the `names` of the index."""
    with held.parts[0].open() as file:
        shape = file.schema_arrow.remove_metadata()
    if form == "parquet":
        return parquet_pieces((batch.cast(shape) for batch in rows), shape)
    if form == "json":
        return json(rows)
    assert names is not None
    return csv(rows, shape, names)


def json(rows: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    """One list of whole rows; `meta` is an object in it, and scores are one of key and value."""
    return json_pieces([whole(row) for row in batch.to_pylist()] for batch in rows)


def whole(row: dict[str, Any]) -> dict[str, Any]:
    """A row as programs read it best: fields and scores as objects."""
    meta = row.get("meta") or "{}"
    try:
        fields: Any = orjson.loads(meta)
    except ValueError:
        fields = meta
    responses = [
        {**one, "scores": {score["key"]: score["value"] for score in one["scores"] or ()}}
        for one in row.get("responses") or ()
    ]
    return {**row, "meta": fields, "responses": responses}


def csv(rows: Iterator[pa.RecordBatch], shape: pa.Schema, names: Names) -> Iterator[bytes]:
    """A line a row of this `shape`; the scores are each row's own, as on the page."""
    columns = [*(name for name in _OWN if name in {*shape.names, *_TEXTS}), *_KNOWN, *names.scores]
    return csv_pieces((_lines(batch, columns, names) for batch in rows), columns)


def _lines(batch: pa.RecordBatch, columns: list[str], names: Names) -> list[dict[str, Any]]:
    known = facts(batch, names)
    cells = {
        "prompt": last_texts(batch.column("messages")),
        "response": best_texts(batch.column("responses")),
        **{name: known.column(name) for name in _KNOWN},
        **{key: known.column(f"s{number}") for number, key in enumerate(names.scores)},
    }  # fmt: skip
    listed = [
        (cells[name] if name in cells else batch.column(name)).to_pylist() for name in columns
    ]
    return [dict(zip(columns, values, strict=True)) for values in zip(*listed, strict=True)]
