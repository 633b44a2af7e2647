"""Rows as Arrow columns and back: the one schema of every Parquet file of a run.

The schema is fixed rather than inferred, so that a file's first rows never decide what later rows
may hold. Scores are a list of (key, value) because their keys depend on the recipe, and every
ordinary reader takes a list of structs where not all take a map. `meta` is a JSON string.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from karat.row import Message, Response, Row

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCORE = pa.struct([("key", pa.string()), ("value", pa.float64())])
RESPONSE = pa.struct(
    [
        ("content", pa.string()),
        ("model", pa.string()),
        ("index", pa.int32()),
        ("finish_reason", pa.string()),
        ("call", pa.string()),
        ("scores", pa.list_(SCORE)),
        ("kept", pa.bool_()),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("responses", pa.list_(RESPONSE)),
        ("source", pa.string()),
        ("meta", pa.string()),
        ("calls", pa.list_(pa.string())),
        ("dropped", pa.string()),
        ("failed", pa.bool_()),
    ]
)
BARE = [name for name in SCHEMA.names if name != "responses"]


def _text(value: str) -> str:
    """Text as UTF-8 can hold it: a lone surrogate, which a model can write, becomes '?'."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _offsets(lists: Sequence[Sequence[object] | dict[str, float]]) -> pa.Array:
    ends, total = [0], 0
    for items in lists:
        total += len(items)
        ends.append(total)
    return pa.array(ends, pa.int32())


def _strings(values: Iterable[str]) -> pa.Array:
    return pa.array([_text(value) for value in values], pa.string())


def _message_array(rows: Sequence[Row]) -> pa.Array:
    flat = list(chain.from_iterable(row.messages for row in rows))
    items = pa.StructArray.from_arrays(
        [_strings(m.role for m in flat), _strings(m.content for m in flat)], fields=list(MESSAGE)
    )
    return pa.ListArray.from_arrays(_offsets([row.messages for row in rows]), items)


def _score_array(flat: Sequence[Response]) -> pa.Array:
    pairs = [pair for response in flat for pair in response.scores.items()]
    items = pa.StructArray.from_arrays(
        [
            _strings(k for k, _ in pairs),
            pa.array([v for _, v in pairs], pa.float64()),
        ],
        fields=list(SCORE),
    )
    return pa.ListArray.from_arrays(_offsets([response.scores for response in flat]), items)


def _response_array(rows: Sequence[Row]) -> pa.Array:
    flat = list(chain.from_iterable(row.responses for row in rows))
    columns = [
        _strings(r.content for r in flat),
        _strings(r.model for r in flat),
        pa.array([r.index for r in flat], pa.int32()),
        _strings(r.finish_reason for r in flat),
        _strings(r.call for r in flat),
        _score_array(flat),
        pa.array([r.kept for r in flat], pa.bool_()),
    ]
    items = pa.StructArray.from_arrays(columns, fields=list(RESPONSE))
    return pa.ListArray.from_arrays(_offsets([row.responses for row in rows]), items)


def to_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as one record batch of SCHEMA."""
    calls = pa.ListArray.from_arrays(
        _offsets([row.calls for row in rows]), _strings(chain.from_iterable(r.calls for r in rows))
    )
    columns = [
        _strings(row.id for row in rows),
        _message_array(rows),
        _response_array(rows),
        _strings(row.source for row in rows),
        pa.array([_text(_dump(row.meta)) for row in rows], pa.string()),
        calls,
        pa.array([None if r.dropped is None else _text(r.dropped) for r in rows], pa.string()),
        pa.array([row.failed for row in rows], pa.bool_()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _dump(meta: dict[str, Any]) -> str:
    if not meta:
        return "{}"
    try:
        return orjson.dumps(meta).decode()
    except TypeError:  # a lone surrogate, an integer of 65 bits, a set out of a user's step
        return orjson.dumps(plain(meta)).decode()


def plain(value: Any) -> Any:
    """The nearest JSON value: what a file may hold beyond JSON becomes its text."""
    if isinstance(value, dict):
        return {_text(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, np.generic | np.ndarray):
        inner = value.tolist()
        return str(inner) if isinstance(inner, np.generic) else plain(inner)
    if isinstance(value, int):  # JSON knows no largest integer, its readers do
        return value if -(2**63) <= value < 2**64 else str(value)
    return value if value is None or isinstance(value, float) else str(value)


def _split(flat: list[Any], offsets: list[int]) -> Iterator[list[Any]]:
    for start, end in pairwise(offsets):
        yield flat[start:end]


def _lists(array: pa.ListArray, flat: list[Any]) -> Iterator[list[Any]]:
    """Cuts `flat`, made from array.flatten(), into the array's lists."""
    starts = array.offsets.to_pylist()
    first = starts[0] if starts else 0
    return _split(flat, [start - first for start in starts])


def _columns(array: pa.StructArray) -> list[Any]:
    return [array.field(index) for index in range(array.type.num_fields)]


def _responses(array: pa.ListArray) -> Iterator[list[Response]]:
    content, model, index, finish, call, scores, kept = _columns(array.flatten())
    keys, values = _columns(scores.flatten())
    pairs = list(zip(keys.to_pylist(), values.to_pylist(), strict=True))
    flat = [
        Response(text, writer, sample, reason, key, dict(graded), flag)
        for text, writer, sample, reason, key, graded, flag in zip(
            content.to_pylist(),
            model.to_pylist(),
            index.to_pylist(),
            finish.to_pylist(),
            call.to_pylist(),
            _lists(scores, pairs),
            kept.to_pylist(),
            strict=True,
        )
    ]
    return _lists(array, flat)


def from_batch(batch: pa.RecordBatch) -> list[Row]:
    """The rows of one record batch of SCHEMA, or of BARE: then they have no responses."""
    if batch.num_rows == 0:
        return []
    ids, messages, source, meta, calls, dropped, failed = map(batch.column, BARE)
    roles, contents = _columns(messages.flatten())
    turns = [
        Message(role, content)
        for role, content in zip(roles.to_pylist(), contents.to_pylist(), strict=True)
    ]
    return [
        Row(*fields)
        for fields in zip(
            ids.to_pylist(),
            _lists(messages, turns),
            _responses(batch.column("responses"))
            if "responses" in batch.schema.names
            else ([] for _ in range(batch.num_rows)),
            source.to_pylist(),
            ({} if text == "{}" else orjson.loads(text) for text in meta.to_pylist()),
            _lists(calls, calls.flatten().to_pylist()),
            dropped.to_pylist(),
            failed.to_pylist(),
            strict=True,
        )
    ]
