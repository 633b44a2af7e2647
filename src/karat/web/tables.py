"""Tables as files to keep: JSON, CSV and Parquet, whole or sent as they are made.

A table of a million rows is never in memory: what is sent piece by piece is made of batches. A cell
that a spreadsheet would take for a formula is text.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from karat import parquet
from karat.columns import READ_ROWS

TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
BATCH_BYTES = 8 * 2**20  # of rows that are written together
MOST_NAME = 80  # characters
_JSON = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
# What a spreadsheet takes for a formula. Source: OWASP, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def attachment(name: str, form: str) -> dict[str, str]:
    """The header that makes an answer a file; its name is one that any system takes."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:MOST_NAME].strip(".-") or "karat"
    return {"content-disposition": f'attachment; filename="{plain}.{form}"'}


def check_form(form: str) -> None:
    """Raises: HTTPException 404 for a file of another kind."""
    if form not in TYPES:
        raise HTTPException(404, f"There is no {form} of this; there is {', '.join(TYPES)}")


def table(name: str, rows: pa.Table | Sequence[Mapping[str, Any]], form: str) -> Response:
    """Rows as a file: `form` is json, csv or parquet. Raises: HTTPException 404."""
    check_form(form)
    headers = attachment(name, form)
    if form == "parquet":
        made = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))
        sink = pa.BufferOutputStream()
        pq.write_table(made, sink)
        return Response(sink.getvalue().to_pybytes(), 200, headers, TYPES[form])
    listed = rows.to_pylist() if isinstance(rows, pa.Table) else list(rows)
    text = as_csv(listed) if form == "csv" else orjson.dumps(listed, option=_JSON)
    return Response(text, 200, headers, TYPES[form])


def sent(name: str, pieces: Iterator[bytes], form: str) -> StreamingResponse:
    """A file that is sent as it is made. Raises: HTTPException 404."""
    check_form(form)
    return StreamingResponse(pieces, 200, attachment(name, form), TYPES[form])


def as_csv(rows: Sequence[Mapping[str, Any]], *, heading: bool = True) -> str:
    """Rows as CSV in which no cell is a formula; what is nested is JSON."""
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(out)
    if heading:
        writer.writerow([_cell(name) for name in names])
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list | tuple):
        value = orjson.dumps(value).decode()
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value


# --- piece by piece ------------------------------------------------------------------------------


def csv_pieces(
    batches: Iterable[Sequence[Mapping[str, Any]]], columns: Sequence[str]
) -> Iterator[bytes]:
    """Batches of rows that have all of `columns`, as one CSV; its heading also where there are
    none."""
    yield as_csv([dict.fromkeys(columns)]).partition("\r\n")[0].encode("utf-8", "replace") + b"\r\n"
    for rows in batches:
        yield as_csv(rows, heading=False).encode("utf-8", "replace")


def json_pieces(batches: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Batches of values as one list, a line each."""
    between = b"[\n"
    for values in batches:
        yield between + b",\n".join(orjson.dumps(value, option=_JSON) for value in values)
        between = b",\n"
    yield b"\n]\n" if between == b",\n" else b"[]\n"


def parquet_pieces(batches: Iterable[pa.RecordBatch], shape: pa.Schema) -> Iterator[bytes]:
    """Batches of rows as one Parquet file."""
    sink = _Sink()
    with pq.ParquetWriter(sink, shape, compression="zstd", compression_level=1) as writer:
        waiting: list[pa.RecordBatch] = []
        size = 0
        for batch in batches:
            waiting.append(batch)
            size += batch.nbytes
            if size >= BATCH_BYTES:
                writer.write_table(pa.Table.from_batches(waiting, shape))
                waiting, size = [], 0
                yield sink.taken()
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, shape))
    yield sink.taken()


def joined(path: Path) -> StreamingResponse:
    """A table in parts as one Parquet file. Raises: HTTPException 409."""
    try:
        parts = parquet.Parts(path)
        shape = parts.schema_arrow.remove_metadata()
    except (OSError, pa.ArrowException) as error:
        raise HTTPException(409, f"{path.name} of this run cannot be read: {error}") from error
    batches = (batch.cast(shape) for batch in parts.iter_batches(READ_ROWS))
    return sent(path.stem, parquet_pieces(batches, shape), "parquet")


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
