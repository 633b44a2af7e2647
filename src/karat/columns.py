"""A stage as columns: what a table step sees, and what it decides.

A table step reads only the columns it needs, batch by batch, and answers with decisions per row id.
It never builds a million Python objects, and the rows it drops keep their reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat import parquet
from karat.display import shown
from karat.row import Row
from karat.spread import Here, Spread

READ_ROWS = 1024
SHOWN = 5  # rows in a notebook
T = TypeVar("T")


class Decision(msgspec.Struct):
    """What a table step decided.

    `drop` maps row ids to reasons ("below minimum (best 1.2)"). `keep` has one flag per response of
    the live rows, in file order; None leaves all as they are. `scores` has one value per response
    of the live rows for each key it adds, NaN for none; `meta` has fields to add to a row's own, by
    row id. `add` are new rows, put at the end. `notes` go into report.json under the step's label.

    `each` decides on every part of the table where that part is: each(part) gives another Decision,
    on the rows of the part alone. It stands in place of drop, keep, scores and meta. `gather` makes
    notes out of those of the parts, in their order; they are added to `notes`. Both travel between
    processes, as functools.partial of functions of a module does.
    """

    drop: dict[str, str] = {}
    keep: NDArray[np.bool_] | None = None
    scores: dict[str, NDArray[np.float64]] = {}
    meta: dict[str, dict[str, Any]] = {}
    add: Iterable[Row] = ()
    notes: dict[str, Any] = {}
    each: Callable[[Table], Decision] | None = None
    gather: Callable[[list[dict[str, Any]]], dict[str, Any]] | None = None

    def __repr__(self) -> str:
        said = [f"drops {len(self.drop):,}"]
        if self.keep is not None:
            said.append(f"keeps {int(np.sum(self.keep)):,} of {len(self.keep):,} responses")
        said += [f"scores {shown.line(key)}" for key in self.scores]
        said += [f"meta of {len(self.meta):,} rows"] if self.meta else []
        said += ["each part by itself"] if self.each is not None else []
        return f"<decision: {', '.join(said)}>"


class Table:
    """The live rows of a stage (those not dropped), as columns.

    A stage may be in parts, each of which is a table too; `number` says which it is.
    """

    def __init__(self, path: Path, spread: Spread | None = None, number: int = 0) -> None:
        self._path = path
        self._spread = spread
        self.number = number

    def __repr__(self) -> str:
        where = shown.line(str(self._path))
        try:
            return f"<table of {shown.count(self.count(), 'live row')} in {where}>"
        except (OSError, pa.ArrowException):
            return f"<table in {where}, which cannot be read>"

    def _repr_html_(self) -> str:
        columns = {"prompt": self.texts("prompt"), "response": self.texts("response")}
        try:
            texts = [next(batches, [])[:SHOWN] for batches in columns.values()]
        except (OSError, pa.ArrowException):
            texts = [[], []]
        rows = [[prompt or "", best or ""] for prompt, best in zip(*texts, strict=True)]
        head = shown.paragraph(shown.bold(repr(self)[1:-1]))
        return shown.fragment(head, shown.table(list(columns), rows))

    @property
    def spread(self) -> Spread:
        """Where work on the parts is done."""
        return self._spread or Here()

    def parts(self) -> list[Table]:
        """The files of the stage, in order, each to be read by itself."""
        return [Table(path, None, number) for number, path in enumerate(parquet.files(self._path))]

    def each(self, function: Callable[..., T], *shared: Any) -> Iterator[T]:
        """function(part, *shared) of each part, in order, wherever the parts are."""
        return self.spread.map(function, self.parts(), *shared)

    @property
    def path(self) -> Path:
        """The stage file. What a step works out about it may be kept beside it."""
        return self._path

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Record batches of the live rows with these columns only, in file order.

        Columns are those of karat.table.SCHEMA, nested ones by dotted path.
        """
        wanted = [*columns, "dropped"]
        with parquet.damage_told(self._path), parquet.Parts(self._path) as file:
            for batch in file.iter_batches(READ_ROWS, columns=wanted):
                live = batch.filter(pc.is_null(batch.column("dropped")))
                if live.num_rows:
                    yield live

    def count(self) -> int:
        """How many rows are live."""
        return sum(batch.num_rows for batch in self.batches(["id"]))

    def responses(self) -> int:
        """How many responses the live rows have together."""
        one_leaf = self.batches(["responses.list.element.index"])
        return sum(len(batch.column("responses").flatten()) for batch in one_leaf)

    def ids(self) -> list[str]:
        """Ids of the live rows, in file order."""
        return [i for batch in self.batches(["id"]) for i in batch.column("id").to_pylist()]

    def texts(self, on: str) -> Iterator[list[str]]:
        """The text of each live row, batch by batch: `prompt`, `response` or `conversation`."""
        needs = {"prompt": ["messages"], "response": ["responses"]}.get(
            on, ["messages", "responses"]
        )
        for batch in self.batches(needs):
            parts = []
            if on == "prompt":
                parts.append(last_texts(batch.column("messages")))
            elif on == "conversation":
                parts.append(joined_texts(batch.column("messages")))
            if on != "prompt":
                parts.append(best_texts(batch.column("responses")))
            lists = [part.to_pylist() for part in parts]
            yield ["\n".join(filter(None, texts)) for texts in zip(*lists, strict=True)]

    def scores(self, key: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(counts_P, scores_R): responses per live row, and scores flat; NaN where ungraded."""
        counts: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        values: list[NDArray[np.float64]] = [np.zeros(0)]
        for batch in self.batches(["responses.list.element.scores"]):
            responses = batch.column("responses")
            counts.append(np.diff(responses.offsets.to_numpy()).astype(np.int64))
            values.append(score_values(responses.flatten().field("scores"), key))
        return np.concatenate(counts), np.concatenate(values)


def owners(lists: pa.ListArray) -> NDArray[np.int64]:
    """Which list each element is in."""
    return np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))


def score_values(scores: pa.ListArray, key: str) -> NDArray[np.float64]:
    """One value per list of (key, value) pairs; NaN where the key is absent."""
    flat = scores.flatten()
    hits = pc.equal(flat.field("key"), key).to_numpy(zero_copy_only=False).astype(bool)
    out = np.full(len(scores), np.nan)
    out[owners(scores)[hits]] = flat.field("value").to_numpy(zero_copy_only=False)[hits]
    return out


def last_texts(messages: pa.ListArray) -> pa.Array:
    """The content of each list's last message: the turn to be answered. Null for empty lists."""
    ends = messages.offsets.to_numpy()
    base = ends[0] if len(ends) else 0
    last = pa.array(ends[1:] - 1 - base, mask=np.diff(ends) == 0)
    return messages.flatten().field("content").take(last)


def joined_texts(messages: pa.ListArray) -> pa.Array:
    """All contents of each list, joined by line ends."""
    contents = messages.flatten().field("content")
    starts = messages.offsets.to_numpy() - messages.offsets[0].as_py() if len(messages) else [0]
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(starts, pa.int32()), contents), "\n")


def best_texts(responses: pa.ListArray) -> pa.Array:
    """The content of each row's first kept response, or its first where none was chosen."""
    return responses.flatten().field("content").take(first_kept(responses))


def first_kept(responses: pa.ListArray) -> pa.Array:
    """Flat position of each row's first kept response; of its first where none was chosen."""
    starts = responses.offsets.to_numpy().astype(np.int64)
    starts = starts - starts[0]
    flags = responses.flatten().field("kept")
    kept = pc.fill_null(flags, False).to_numpy(zero_copy_only=False).astype(bool)
    unset = pc.is_null(flags).to_numpy(zero_copy_only=False)
    chosen_at = np.append(np.flatnonzero(kept), len(kept))
    first = chosen_at[np.searchsorted(chosen_at, starts[:-1])]
    empty = starts[:-1] == starts[1:]
    missing = first >= starts[1:]
    open_yet = missing & ~empty
    if open_yet.any():
        choice_made = (
            np.add.reduceat(np.append(~unset, False), starts[:-1].clip(max=len(unset))) > 0
        )
        undecided = open_yet & ~choice_made
        first = np.where(undecided, starts[:-1], first)
        missing &= ~undecided
    return pa.array(np.where(missing, 0, first), mask=missing)
