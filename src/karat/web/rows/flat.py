"""A row's facts as plain columns: what filters, sorting and counts need, without its texts.

The same columns are written into the index and worked out for the rows of a page while there is no
index yet, so that both say the same. A row's score is that of the response that was kept; where
none was, the best of its candidates, so that dropped rows can be sorted too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import first_kept, last_texts, owners
from karat.web.rows.files import Holding

MOST_SCORES, MOST_FIELDS = 40, 24
MOST_VALUE = 120  # characters of a field's value that can be filtered by
MOST_KINDS = 2000  # different values of a field that is counted on the page
SAMPLED = 100_000  # rows in which the fields of `meta` are looked for
NEEDED = ("id", "messages", "responses", "source", "meta", "dropped")
FIELD = "responses.list.element."
DICTIONARIES = (f"{FIELD}scores.list.element.key", f"{FIELD}model")


class Names(msgspec.Struct, frozen=True):
    """What stands behind the index's columns s0, s1 … and m0, m1 …; `counted` are the fields with
    few enough values to be counted."""

    scores: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()


def names_of(holding: Holding) -> Names:
    """The scores and the fields of a run's rows. Of fields those most rows have."""
    keys: Counter[str] = Counter()
    fields: Counter[str] = Counter()
    values: dict[str, set[str]] = {}
    total = max(1, sum(1 for _ in holding.groups()))
    each = max(1, total * holding.count // SAMPLED // total)
    for number, (part, group, _) in enumerate(holding.groups()):
        with part.open(DICTIONARIES[:1]) as file:
            table = file.read_row_group(group, columns=[f"{FIELD}scores.list.element.key", "meta"])
        for chunk in table.column("responses").chunks:
            found = chunk.flatten().field("scores").flatten().field("key")
            keys.update(key for key in found.dictionary.to_pylist() if key)
        if number % each == 0:
            _fields(table.column("meta"), fields, values)
    scores = tuple(sorted(key for key, _ in keys.most_common(MOST_SCORES)))
    common = tuple(sorted(name for name, _ in fields.most_common(MOST_FIELDS)))
    counted = tuple(name for name in common if len(values[name]) <= MOST_KINDS)
    return Names(scores, common, counted)


def _fields(meta: pa.ChunkedArray, fields: Counter[str], values: dict[str, set[str]]) -> None:
    for text in meta.to_pylist():
        for name, value in _loaded(text).items():
            said = _said(value)
            if said is not None and len(name) <= MOST_VALUE:
                fields[name] += 1
                kinds = values.setdefault(name, set())
                if len(kinds) <= MOST_KINDS:
                    kinds.add(said)


def _loaded(text: str | None) -> dict[str, Any]:
    if not text or text == "{}":
        return {}
    try:
        found = orjson.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _said(value: Any) -> str | None:
    """A field's value as a filter names it; None for what is long, nested or absent."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, str | int | float) else ""
    return text if 0 < len(text) <= MOST_VALUE else None


def schema(names: Names) -> pa.Schema:
    """The index's columns."""
    fields = [
        ("id", pa.string()), ("kept", pa.bool_()), ("step", pa.string()), ("reason", pa.string()),
        ("source", pa.string()), ("training", pa.string()), ("models", pa.list_(pa.string())),
        ("prompt", pa.int64()), ("length", pa.int64()), ("responses", pa.int32()),
    ]  # fmt: skip
    for number in range(len(names.scores)):
        fields += [(f"s{number}{end}", pa.float64()) for end in ("", "_best", "_worst")]
    fields += [(f"m{number}", pa.string()) for number in range(len(names.fields))]
    return pa.schema(fields)


def needed(columns: Iterable[str]) -> list[str]:
    """Of a file's columns those that `facts` reads."""
    have = set(columns)
    return [name for name in (*NEEDED, "training") if name in have]


def facts(batch: pa.RecordBatch, names: Names) -> pa.RecordBatch:
    """The rows' facts, in the columns of `schema`."""
    responses = batch.column("responses")
    flat = responses.flatten()
    dropped = batch.column("dropped")
    step, reason = _reasons(dropped)
    chosen = first_kept(responses)
    texts = pc.utf8_length(flat.field("content")).take(chosen)
    absent = pa.nulls(batch.num_rows, pa.string())
    columns = [
        batch.column("id"), pc.is_null(dropped), step, reason, batch.column("source"),
        batch.column("training") if "training" in batch.schema.names else absent,
        _models(responses, flat),
        pc.cast(pc.utf8_length(last_texts(batch.column("messages"))), pa.int64()),
        pc.cast(texts, pa.int64()),
        pc.cast(pc.list_value_length(responses), pa.int32()),
        *_scores(responses, flat, chosen, names.scores),
        *_values(batch.column("meta"), names.fields),
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, schema=schema(names))


def _reasons(dropped: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The step that dropped each row, and why, without the detail in brackets."""
    coded = dropped.dictionary_encode()
    parts = [split_reason(text) for text in coded.dictionary.to_pylist()]
    steps = pa.array([step for step, _, _ in parts], pa.string()).take(coded.indices)
    return steps, pa.array([why for _, why, _ in parts], pa.string()).take(coded.indices)


def split_reason(text: str) -> tuple[str, str, str]:
    """(step, reason, detail) of what a dropped row says."""
    step, colon, why = text.partition(": ")
    if not colon:
        step, why = "", text
    short, _, detail = why.partition(" (")
    return step, short, detail.removesuffix(")")


def _models(responses: pa.ListArray, flat: pa.StructArray) -> pa.ListArray:
    """The different models of each row's responses."""
    coded = flat.field("model")
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
    known = coded.dictionary.to_pylist()
    owner = owners(responses)
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    named = np.array([*map(bool, known), False])[codes]  # the last stands for no model at all
    width = max(1, len(known))
    pairs = np.unique(owner[named] * width + codes[named])
    ends = np.cumsum(np.bincount(pairs // width, minlength=len(responses)))
    values = pa.array(known, pa.string()).take(pa.array(pairs % width))
    return pa.ListArray.from_arrays(pa.array(np.append(0, ends), pa.int32()), values)


def _scores(
    responses: pa.ListArray, flat: pa.StructArray, chosen: pa.Array, keys: Sequence[str]
) -> list[pa.Array]:
    """Of each key: the row's score, the best and the worst of its candidates'."""
    lists = flat.field("scores")
    pairs = lists.flatten()
    coded = pairs.field("key")
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
    code_of = {key: code for code, key in enumerate(coded.dictionary.to_pylist())}
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    values = pc.cast(pairs.field("value"), pa.float64()).to_numpy(zero_copy_only=False)
    owner = owners(lists)
    starts = responses.offsets.to_numpy().astype(np.int64)
    starts = starts - starts[0]
    at = chosen.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    none_kept = chosen.is_null().to_numpy(zero_copy_only=False)
    made: list[pa.Array] = []
    for key in keys:
        scores_R = np.full(len(lists), np.nan)
        mine = codes == code_of.get(key, -2)
        scores_R[owner[mine]] = values[mine]
        scores_R[~np.isfinite(scores_R)] = np.nan
        best, worst = (_over(pick, scores_R, starts) for pick in (np.fmax, np.fmin))
        own = np.append(scores_R, np.nan)[np.minimum(at, len(scores_R))]
        made += [_found(np.where(none_kept, best, own)), _found(best), _found(worst)]
    return made


def _over(
    pick: np.ufunc, scores_R: NDArray[np.float64], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The best or the worst score of each row; NaN where it has none."""
    over = np.full(len(starts) - 1, np.nan)
    full = starts[1:] > starts[:-1]
    if full.any():
        over[full] = pick.reduceat(scores_R, starts[:-1][full])
    return over


def _found(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _values(meta: pa.Array, fields: Sequence[str]) -> list[pa.Array]:
    """The fields' values, each a column."""
    coded = meta.dictionary_encode()
    loaded = [_loaded(text) for text in coded.dictionary.to_pylist()]
    read: Callable[[str], pa.Array] = lambda name: pa.array(  # noqa: E731
        [_said(one.get(name)) for one in loaded], pa.string()
    )
    return [read(name).take(coded.indices) for name in fields]
