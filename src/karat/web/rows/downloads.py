"""The rows of a filter as files: streamed as they are read, so that a million need no memory.

Parquet and JSON hold whole rows, CSV one line a row with what a spreadsheet is for: the prompt, the
response that was kept, its scores. All are in the order of the run, which is how they are read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from karat.columns import best_texts, last_texts
from karat.row import Row
from karat.table import to_batch
from karat.web.respond import as_csv
from karat.web.rows.engine import Stop
from karat.web.rows.files import Holding, Places
from karat.web.rows.flat import Names, facts
from karat.web.rows.search import Search

BATCH_BYTES = 8 * 2**20  # of rows that are written together
AT_ONCE = 256
_CSV = ("id", "prompt", "response", "score", "source", "meta", "dropped", "licences", "training")


def file_name(text: str) -> str:
    """A name that any system takes for a file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:80].strip(".-") or "rows"


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


def parquet(rows: Iterator[pa.RecordBatch], shape: pa.Schema) -> Iterator[bytes]:
    sink = _Sink()
    with pq.ParquetWriter(sink, shape, compression="zstd", compression_level=1) as writer:
        waiting: list[pa.RecordBatch] = []
        size = 0
        for batch in rows:
            waiting.append(batch)
            size += batch.nbytes
            if size >= BATCH_BYTES:
                writer.write_table(pa.Table.from_batches(waiting, shape))
                waiting, size = [], 0
                yield sink.taken()
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, shape))
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A file whose bytes are taken away as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any, /) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def json(rows: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    """One list of whole rows; `meta` is an object in it, and scores are one of key and value."""
    between = b"[\n"
    for batch in rows:
        lines = [
            orjson.dumps(whole(row), option=orjson.OPT_NON_STR_KEYS) for row in batch.to_pylist()
        ]
        yield between + b",\n".join(lines)
        between = b",\n"
    yield b"\n]\n" if between == b",\n" else b"[]\n"


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


def csv(rows: Iterator[pa.RecordBatch], names: Names) -> Iterator[bytes]:
    """Lines in which no cell is a formula; the scores are each row's own, as on the page."""
    heading = True
    for batch in rows:
        text = as_csv(_lines(batch, names), heading=heading)
        heading = False
        yield text.encode("utf-8", "replace")
    if heading:
        (blank,) = _lines(_blank(), names)
        yield as_csv([blank]).partition("\r\n")[0].encode() + b"\r\n"


def _lines(batch: pa.RecordBatch, names: Names) -> list[dict[str, Any]]:
    have = set(batch.schema.names)
    texts = {
        "prompt": last_texts(batch.column("messages")).to_pylist(),
        "response": best_texts(batch.column("responses")).to_pylist(),
    }
    own = {name: batch.column(name).to_pylist() for name in _CSV if name in have}
    own |= texts
    known = facts(batch, names)
    own |= {
        name: known.column(name).to_pylist() for name in ("step", "reason", "models", "responses")
    }
    own |= {key: known.column(f"s{number}").to_pylist() for number, key in enumerate(names.scores)}
    order = [*(name for name in _CSV if name in own), "step", "reason", "models", "responses"]
    order += names.scores
    return [
        dict(zip(order, values, strict=True))
        for values in zip(*(own[n] for n in order), strict=True)
    ]


def _blank() -> pa.RecordBatch:
    """A row of nothing, for the heading of a file without rows."""
    return to_batch([Row(id="")])
