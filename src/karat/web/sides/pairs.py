"""The rows of a comparison: pairs of answers to one prompt side by side, and all of them as a file.

Which rows stand beside each other is known from digests; texts are read only of those on a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from starlette.datastructures import QueryParams

from karat.errors import RecipeError, RunError, did_you_mean
from karat.report.side import WORDS
from karat.report.survey_source import own_file, read_foreign
from karat.row import Response, Row
from karat.table import SCHEMA, from_batch
from karat.web.addresses import given, query, row_page, whole
from karat.web.rows.files import Holding, Part, parts_of
from karat.web.sides.data import Data
from karat.web.sides.reading import Compared

SIZE = 10
MOST_PAGE = 1_000_000
AT_ONCE = 8192
WHICH = {
    "differ": "answered differently", "same": "answered the same", "a": "only in A",
    "b": "only in B",
}  # fmt: skip
Places = NDArray[np.int64]


class View(msgspec.Struct, frozen=True):
    """What is shown: both sides as a URL says them, which rows, the score whose change orders them
    ("" for the order of A) and the way round, and the page."""

    a: str = ""
    b: str = ""
    rows: str = "differ"
    sort: str = ""
    dir: str = "desc"
    page: int = 1

    def query(self, **changed: object) -> str:
        """As the part of an address behind its path."""
        values = {**msgspec.to_builtins(self), **changed}
        usual = msgspec.to_builtins(View())
        kept = {k: v for k, v in values.items() if v != usual[k] and v != ""}
        return query(**kept)


class Shown(NamedTuple):
    """One side of a pair: its row, the answer that was chosen, and where it is."""

    row: Row
    answer: Response | None
    href: str

    @property
    def prompt(self) -> list[tuple[str, str]]:
        return [(message.role, message.content) for message in self.row.messages]


class Pair(NamedTuple):
    """What both sides have for a prompt; None where one has nothing. `changes` are (score, A's,
    B's)."""

    a: Shown | None
    b: Shown | None
    changes: list[tuple[str, float | None, float | None]]

    @property
    def prompt(self) -> list[tuple[str, str]]:
        one = self.a or self.b
        assert one is not None
        return one.prompt


class Page(NamedTuple):
    """One page of them, and how many there are."""

    pairs: list[Pair]
    pages: int


def view_of(params: QueryParams) -> View:
    """Raises: RecipeError."""
    asked = given(params, View.__struct_fields__)
    if asked.get("rows", "differ") not in WHICH:
        raise RecipeError(f"rows is one of {', '.join(WHICH)}")
    if asked.get("dir", "desc") not in ("asc", "desc"):
        raise RecipeError("dir is asc or desc")
    page = whole(asked.pop("page", "1"), "page", MOST_PAGE)
    return View(**asked, page=page)


def page_of(found: Compared, a: Data, b: Data, view: View) -> Page:
    """The pairs of a view's page. Raises: RecipeError, RunError."""
    places = _chosen(found, view)
    count = len(places)
    shown = places[(view.page - 1) * SIZE : view.page * SIZE]
    sides = [
        _rows(data, side.places_N[column[column >= 0]])
        for data, side, column in ((a, found.a, shown[:, 0]), (b, found.b, shown[:, 1]))
    ]
    pairs = []
    for at, other in shown.tolist():
        changes = [
            (name, _number(found.a.numbers[name], at), _number(found.b.numbers[name], other))
            for name in found.scores
        ]
        pairs.append(
            Pair(
                sides[0].get(int(found.a.places_N[at])) if at >= 0 else None,
                sides[1].get(int(found.b.places_N[other])) if other >= 0 else None, changes,
            )
        )  # fmt: skip
    return Page([pair for pair in pairs if pair.a or pair.b], max(1, -(-count // SIZE)))


def _chosen(found: Compared, view: View) -> Places:
    """(row of A, row of B) of all that are meant, −1 where a side has none, in their order.

    Raises: RecipeError.
    """
    if view.rows in ("a", "b"):
        mine = found.only(view.rows)
        absent = np.full(len(mine), -1)
        return np.stack([mine, absent] if view.rows == "a" else [absent, mine], axis=1)
    differ = found.differ
    places = found.places_P[differ if view.rows == "differ" else ~differ]
    if not view.sort:
        return places
    if view.sort not in found.scores:
        near = did_you_mean(view.sort[:80], found.scores)
        raise RecipeError(f"both sides have no score '{view.sort[:80]}' of one reward; {near}")
    gaps = found.b.numbers[view.sort][places[:, 1]] - found.a.numbers[view.sort][places[:, 0]]
    order = np.argsort(-gaps if view.dir == "desc" else gaps, kind="stable")  # NaN comes last
    sorted_: Places = places[order]
    return sorted_


def _number(values: NDArray[np.float64], at: int) -> float | None:
    return float(values[at]) if at >= 0 and np.isfinite(values[at]) else None


def _rows(data: Data, places: Places) -> dict[int, Shown]:
    """The rows at these numbers of a side's file. Raises: RunError, RecipeError."""
    wanted = places.tolist()
    if not wanted:
        return {}
    if own_file(data.source) is None:
        rows = (row for row in read_foreign(data.source) if row.dropped is None)
        asked = set(wanted)
        first = enumerate(islice(rows, max(asked) + 1))
        return {at: _shown(row, data) for at, row in first if at in asked}
    table = Holding(_parts(data), True).read(wanted, SCHEMA.names)
    rows_read = [row for batch in table.to_batches() for row in from_batch(batch)]
    return {at: _shown(row, data) for at, row in zip(wanted, rows_read, strict=True)}


def _shown(row: Row, data: Data) -> Shown:
    answer = next(iter(row.kept()), None)
    href = "" if data.file else row_page(data.place.slug, row.id)
    return Shown(row, answer, href)


# --- as a file -----------------------------------------------------------------------------------


def batches(found: Compared, a: Data, b: Data) -> Iterator[pa.RecordBatch]:
    """Every prompt of either side: where it is, whether the answer is the same, words and scores.

    Raises: RunError.
    """
    shape = shape_of(found)
    ids = _ids(a), _ids(b)
    common, differ = found.places_P, found.differ
    for which in ("both", "a", "b"):
        places = common if which == "both" else _chosen(found, View(rows=which))
        for start in range(0, len(places), AT_ONCE):
            part = places[start : start + AT_ONCE]
            same = ~differ[start : start + AT_ONCE] if which == "both" else None
            columns = [pa.array([which] * len(part), pa.string())]
            columns.append(pa.array(same, pa.bool_()) if same is not None
                           else pa.nulls(len(part), pa.bool_()))  # fmt: skip
            for side, own, column in ((found.a, ids[0], part[:, 0]), (found.b, ids[1], part[:, 1])):
                taken = pa.array(np.where(column < 0, 0, column), mask=column < 0)
                rows = pa.array(side.places_N).take(taken)
                columns += [rows, own.take(rows) if own is not None
                            else pa.nulls(len(part), pa.string())]  # fmt: skip
                columns += [_column(side.numbers[n], taken) for n in (*WORDS[:2], *found.scores)]
            yield pa.RecordBatch.from_arrays(columns, schema=shape)


def _column(values: NDArray[np.float64], taken: pa.Array) -> pa.Array:
    return pa.array(values, mask=np.isnan(values)).take(taken)


def _ids(data: Data) -> pa.Array | None:
    """The ids of the rows of a file of karat's own, in its order. Raises: RunError."""
    if own_file(data.source) is None:
        return None
    ids: list[pa.Array] = []
    for part in _parts(data):
        with part.open() as file:
            ids += file.read(columns=["id"]).column("id").chunks
    return pa.chunked_array(ids, pa.string()).combine_chunks()


def _parts(data: Data) -> tuple[Part, ...]:
    """Raises: RunError."""
    parts = parts_of(data.source)
    if not parts:
        raise RunError("the run is writing its rows anew; load the page again")
    return parts


def shape_of(found: Compared) -> pa.Schema:
    """The columns of the file: `row_a` is a row's number in its file, from 0."""
    fields = [("in", pa.string()), ("same_answer", pa.bool_())]
    for side in ("a", "b"):
        fields += [(f"row_{side}", pa.int64()), (f"id_{side}", pa.string())]
        names: Sequence[str] = ("prompt_words", "answer_words", *found.scores)
        fields += [(f"{name}_{side}", pa.float64()) for name in names]
    return pa.schema(fields)


def lines(found: Compared) -> list[dict[str, Any]]:
    """What could be told apart, for a file."""
    return [
        {
            "figure": one.name, "prompts": one.prompts, "mean_a": one.a, "mean_b": one.b,
            "difference": one.apart.value, "low": one.apart.low, "high": one.apart.high,
            "shown": one.shown,
        }
        for one in found.apart
    ]  # fmt: skip
