"""Rows without lists: what a person wants in a data frame, one line a row or one a response.

The files of a run keep every candidate of a prompt beside it, with its scores as (key, value)
pairs. A frame wants each score as a column of its own. Columns are made batch by batch, each of
those scores that occur in it; what a batch has not is null in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from karat.columns import first_kept, owners, score_values

MOST_FIELDS = 100  # columns made of `meta`; it can hold other keys in every row
PLAIN = ("id", "prompt", "response", "model")
OF_RESPONSE = ("index", "kept", "finish_reason")
OF_ROW = ("source", "dropped", "meta")


def flat_table(batches: Iterable[pa.RecordBatch], *, each_response: bool) -> pa.Table:
    """Batches of a run's results (karat.finish.FINAL_SCHEMA) as one table without lists.

    Columns: id, prompt, response, model; with `each_response` index, kept and finish_reason; every
    score under its key, `reward.attribute`; source, dropped; `meta.FIELD` for each field of `meta`
    that is text, a number or a truth value; and all of `meta` as JSON. A row without a response has
    one line without `each_response`, and none with it.
    """
    made = [_flat(batch, each_response) for batch in batches]
    names = [*PLAIN, *(OF_RESPONSE if each_response else ()), *OF_ROW]
    if not made:
        return pa.table({name: pa.array([], _TYPES.get(name, pa.string())) for name in names})
    found = pa.concat_tables(made, promote_options="default")
    metas = found.column("meta").to_pylist()
    fields = {
        f"meta.{key}": values
        for key, values in _fields(metas).items()
        if f"meta.{key}" not in found.column_names
    }
    for name, column in fields.items():
        found = found.append_column(name, column)
    scores = [name for name in found.column_names if name not in (*names, *fields)]
    order = [*names[: -len(OF_ROW)], *scores, "source", "dropped", *fields, "meta"]
    return found.select(order)


_TYPES = {"index": pa.int32(), "kept": pa.bool_()}


def _flat(batch: pa.RecordBatch, each_response: bool) -> pa.Table:
    """One batch; its scores after all other columns."""
    lists = batch.column("responses")
    responses = lists.flatten()
    if each_response:
        at_row, at_response = pa.array(owners(lists)), pa.array(np.arange(len(responses)))
    else:
        at_row, at_response = pa.array(np.arange(batch.num_rows)), first_kept(lists)
    of_row = {name: batch.column(name).take(at_row) for name in ("id", "prompt", *OF_ROW)}
    columns: dict[str, pa.Array] = {"id": of_row["id"], "prompt": of_row["prompt"]}
    columns["response"] = responses.field("content").take(at_response)
    columns["model"] = responses.field("model").take(at_response)
    for name in OF_RESPONSE if each_response else ():
        columns[name] = responses.field(name).take(at_response)
    columns |= {name: of_row[name] for name in OF_ROW}
    scores = responses.field("scores")
    for key in pc.unique(scores.flatten().field("key")).to_pylist():
        values = score_values(scores, key)
        made = pa.array(values, mask=np.isnan(values)).take(at_response)
        columns[key if key not in columns else f"scores.{key}"] = made
    return pa.table(columns)


def _fields(metas: Sequence[str | None]) -> dict[str, pa.Array]:
    """The plain fields of `meta`, a column each, those that come first in the rows."""
    found: dict[str, list[Any]] = {}
    for place, text in enumerate(metas):
        if text in (None, "{}"):
            continue
        tree = orjson.loads(text)
        for key, value in tree.items() if isinstance(tree, dict) else ():
            if not isinstance(value, str | int | float):
                continue
            if key not in found and len(found) == MOST_FIELDS:
                continue
            found.setdefault(key, [None] * len(metas))[place] = value
    return {key: _column(values) for key, values in found.items()}


def _column(values: list[Any]) -> pa.Array:
    """Numbers as numbers, truth values as such; where rows differ in kind, all as text."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        values = [None if value is None else str(value) for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, OverflowError):  # a whole number of more than 64 bits
        return pa.array([None if value is None else str(value) for value in values])
