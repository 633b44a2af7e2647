"""A table step's decision written into its stage: reasons, flags, scores and fields of rows.

Batch by batch and in columns, so that a million rows need no more memory than a thousand. Flags and
scores are in file order over the live rows, which is why their number is checked before any is
written: one too few would shift all that follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat import parquet
from karat.columns import READ_ROWS, Decision, Table, owners
from karat.errors import RunError
from karat.table import RESPONSE, SCORE, plain

Floats = NDArray[np.float64]


def apply_decision(
    path: Path, decision: Decision, label: str
) -> Iterator[tuple[pa.RecordBatch, list[str]]]:
    """Every batch of a stage with the decision written in, and the reasons it gave there.

    Raises: RunError when `keep` or a score has not one value per response of the live rows.
    """
    _check(path, decision, label)
    position = 0
    with parquet.Parts(path) as file:
        for batch in file.iter_batches(READ_ROWS):
            live_P = pc.is_null(batch.column("dropped")).to_numpy(zero_copy_only=False)
            if decision.keep is not None or decision.scores:
                batch, position = _with_responses(batch, live_P, decision, position)
            if decision.meta:
                batch = _with_meta(batch, live_P, decision.meta)
            batch, reasons = _with_reasons(batch, decision.drop, label)
            yield batch, reasons


def _check(path: Path, decision: Decision, label: str) -> None:
    given: dict[str, NDArray[Any]] = {} if decision.keep is None else {"keep": decision.keep}
    given |= {f"scores of '{key}'": values for key, values in decision.scores.items()}
    if not given:
        return
    responses = Table(path).responses()
    for what, values in given.items():
        if np.shape(values) != (responses,):
            raise RunError(
                f"step '{label}': {what} must have one value per response of the live rows, which "
                f"are {responses}; its shape is {np.shape(values)}"
            )


def _with_reasons(
    batch: pa.RecordBatch, drop: Mapping[str, str], label: str
) -> tuple[pa.RecordBatch, list[str]]:
    dropped, reasons = batch.column("dropped").to_pylist(), []
    if drop:
        ids = batch.column("id").to_pylist()
        for row, (identity, was) in enumerate(zip(ids, dropped, strict=True)):
            if was is None and identity in drop:
                dropped[row] = f"{label}: {drop[identity]}"
                reasons.append(drop[identity])
    return _set(batch, "dropped", pa.array(dropped, pa.string())), reasons


def _with_meta(
    batch: pa.RecordBatch, live_P: NDArray[np.bool_], meta: Mapping[str, Mapping[str, Any]]
) -> pa.RecordBatch:
    """Adds fields to the live rows they are meant for."""
    ids, held = batch.column("id").to_pylist(), batch.column("meta").to_pylist()
    for row in np.flatnonzero(live_P):
        if more := meta.get(ids[row]):
            fields = {**orjson.loads(held[row]), **more}
            held[row] = orjson.dumps(plain(fields)).decode()
    return _set(batch, "meta", pa.array(held, pa.string()))


def _with_responses(
    batch: pa.RecordBatch, live_P: NDArray[np.bool_], decision: Decision, position: int
) -> tuple[pa.RecordBatch, int]:
    """Writes the next flags and scores into the responses of the batch's live rows."""
    lists = batch.column("responses")
    flat = lists.flatten()
    offsets = lists.offsets.to_numpy()
    live_R = np.repeat(live_P, np.diff(offsets))
    here = slice(position, position + int(live_R.sum()))
    arrays = {field.name: flat.field(field.name) for field in RESPONSE}
    if decision.keep is not None:
        flags = arrays["kept"].to_pylist()
        for where, flag in zip(np.flatnonzero(live_R), decision.keep[here], strict=True):
            flags[where] = bool(flag)
        arrays["kept"] = pa.array(flags, pa.bool_())
    if decision.scores:
        values = {key: _spread(found[here], live_R) for key, found in decision.scores.items()}
        arrays["scores"] = _with_scores(arrays["scores"], values)
    items = pa.StructArray.from_arrays(list(arrays.values()), fields=list(RESPONSE))
    marked = pa.ListArray.from_arrays(pa.array(offsets - offsets[0], pa.int32()), items)
    return _set(batch, "responses", marked), here.stop


def _spread(values: Floats, live_R: NDArray[np.bool_]) -> Floats:
    """The live responses' values among all of the batch; NaN for the others."""
    spread_R = np.full(len(live_R), np.nan)
    spread_R[live_R] = values
    return spread_R


def _with_scores(scores: pa.ListArray, values: Mapping[str, Floats]) -> pa.ListArray:
    """Each list of (key, value) with these keys added, or replaced where they were."""
    flat = scores.flatten()
    owner = owners(scores)
    new = {key: np.flatnonzero(~np.isnan(found)) for key, found in values.items()}
    replaced = np.zeros(len(owner), np.bool_)
    for key, at in new.items():
        same = pc.equal(flat.field("key"), key).to_numpy(zero_copy_only=False).astype(bool)
        replaced |= same & np.isin(owner, at)
    stays = np.flatnonzero(~replaced)
    kept = flat.take(pa.array(stays))
    keys = [kept.field("key"), *(pa.array([key] * len(at), pa.string()) for key, at in new.items())]
    found = [kept.field("value"), *(pa.array(values[key][at]) for key, at in new.items())]
    place_S = np.concatenate([owner[stays], *new.values()])
    order = pa.array(np.argsort(place_S, kind="stable"))
    items = pa.StructArray.from_arrays(
        [pa.concat_arrays(keys).take(order), pa.concat_arrays(found).take(order)],
        fields=list(SCORE),
    )
    ends = np.cumsum(np.bincount(place_S, minlength=len(scores)))
    return pa.ListArray.from_arrays(pa.array(np.append(0, ends), pa.int32()), items)


def _set(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    place = batch.schema.get_field_index(name)
    return batch.set_column(place, batch.schema.field(place), values)
