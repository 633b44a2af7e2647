"""A survey of any data set: how varied its texts are, what groups they fall into, what repeats.

It reads what karat wrote (a run, a stage) and what anybody wrote (whatever the step `read` can),
holds no more than a sample of it in memory, and needs no model: embeddings come from the table that
karat ships.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from karat.columns import Table
from karat.curation.balance import balance
from karat.curation.clusters import group, how_many, names
from karat.curation.diversity import NEAR, NEAR_WINDOW, SAMPLE, diversity
from karat.curation.embedding import embed
from karat.curation.minhash import NearDuplicates
from karat.curation.shingles import normalise
from karat.errors import RecipeError
from karat.row import Row
from karat.rundir import Run
from karat.steps.read import read
from karat.table import SCHEMA

On = Literal["prompt", "response", "conversation"]

FIRST = ("topic", "task")  # columns shown first
MOST_COLUMNS = 12
MOST_VALUES = 1_000  # of a column; one with more is text, not a category
MOST_CHARS = 80  # of a value
PAIRS = 3


class Group(msgspec.Struct):
    """Texts about the same: a name of keywords, and how many."""

    name: str
    texts: int


class Pair(msgspec.Struct):
    """Two texts alike; `similarity` is the Jaccard similarity of their words and word pairs."""

    similarity: float
    first: str
    second: str


class Survey(msgspec.Struct):
    """What `karat diversity` found. `measures` is that of curation.diversity, with intervals.

    texts_N are those in the sample, label_N their groups (-1: no known word), vectors_ND theirs.
    """

    name: str
    on: str
    measures: dict[str, Any]
    groups: list[Group]
    columns: dict[str, dict[str, Any]]
    pairs: list[Pair]
    left_out: dict[str, int]
    texts: list[str]
    label: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def as_tree(self) -> dict[str, Any]:
        """Everything but the texts themselves, for programs."""
        return {
            "name": self.name, "on": self.on, "measures": self.measures,
            "clusters": msgspec.to_builtins(self.groups), "columns": self.columns,
            "near_duplicates": msgspec.to_builtins(self.pairs), "left_out": self.left_out,
        }  # fmt: skip


def survey(data: Path, on: On = "prompt", clusters: int | None = None) -> Survey:
    """Surveys a run, a stage or accepted.parquet, or any file or folder `read` can read.

    `clusters` is how many groups to look for; by default √(n/2), 2 to 24.
    Raises: RecipeError when there is nothing to survey.
    """
    source, rng = _Source(data, on), random.Random(0)
    texts, counts, seen = list[str](), _Columns(), 0
    for text, meta in source.rows():
        counts.add(meta)
        seen += 1
        if len(texts) < SAMPLE:
            texts.append(text)
        elif (place := int(rng.random() * seen)) < SAMPLE:
            texts[place] = text
    if not texts:
        raise RecipeError(f"{data} has no {on} to measure; {source.why_none()}")
    measures = {**diversity(texts, intervals=True), "rows": seen}
    vectors_ND = embed(texts)
    known = np.flatnonzero(vectors_ND.any(axis=1))
    label = np.full(len(texts), -1)
    label[known] = group(vectors_ND[known], clusters or how_many(len(known)))
    size = np.bincount(label[known], minlength=0)
    groups = [Group(name, int(n)) for name, n in zip(names(texts, label), size, strict=True)]
    return Survey(
        source.name, on, measures, groups, counts.balances(seen), _pairs(texts), source.left_out,
        texts, label, vectors_ND,
    )  # fmt: skip


class _Source:
    """Where the texts come from. `left_out` counts rows without one, by reason."""

    def __init__(self, data: Path, on: On) -> None:
        self.name = str(data)
        self.left_out: dict[str, int] = {}
        self._data, self._on = data, on

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(text, meta) of every row that has a text. Raises: RecipeError."""
        table = self._table()
        found = self._foreign() if table is None else self._own(table)
        for text, meta in found:
            if text.strip():
                yield text, meta
            else:
                self._leave(f"no {self._on}")

    def why_none(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
        return f"left out: {reasons}" if reasons else "it is empty"

    def _leave(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def _table(self) -> Table | None:
        """The rows of a file that karat wrote."""
        path = self._data
        if path.is_dir() and (path / "recipe.yaml").is_file():
            path = Run.open(path).accepted_file
            if not path.is_file():
                raise RecipeError(
                    f"{self._data} has no {path.name}: run it to the end; nothing is paid for twice"
                )
        if path.suffix != ".parquet" or not path.is_file():
            return None
        try:
            held = set(pq.read_schema(path).names)
        except (OSError, pa.ArrowException) as error:
            raise RecipeError(f"{path} is not Parquet: {error}") from None
        return Table(path) if held >= set(SCHEMA.names) else None

    def _own(self, table: Table) -> Iterator[tuple[str, dict[str, Any]]]:
        batches = table.batches(["meta", "source"])
        for texts, batch in zip(table.texts(self._on), batches, strict=True):
            metas, sources = (batch.column(name).to_pylist() for name in ("meta", "source"))
            for text, meta, source in zip(texts, metas, sources, strict=True):
                yield text, {"source": source, **orjson.loads(meta)}

    def _foreign(self) -> Iterator[tuple[str, dict[str, Any]]]:
        params = read.check({"path": str(self._data)})
        for row in read.function(_Reader(), **params):
            if row.dropped is not None:
                self._leave(row.dropped.partition(" (")[0])
            else:
                yield _text(row, self._on), row.meta


class _Reader:
    """As much of a step's context as `read` touches: paths are the user's, warnings go nowhere.

    What it would warn of, which columns it took, can be seen in the result.
    """

    def path(self, name: str) -> Path:
        return Path(name)

    def warn(self, text: str) -> None:
        pass


def _text(row: Row, on: On) -> str:
    """A row's text, as Table.texts has it."""
    turns = [message.content for message in row.messages]
    answer = [response.content for response in row.kept()[:1]]
    if on == "prompt":
        return turns[-1] if turns else ""
    return "\n".join(filter(None, answer if on == "response" else [*turns, *answer]))


class _Columns:
    """How many rows have each value of each column that may be a category."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._text: set[str] = set()

    def add(self, meta: dict[str, Any]) -> None:
        for column, value in meta.items():
            if column in self._text or not isinstance(value, str | bool | int):
                continue
            counts = self._counts.setdefault(column, Counter())
            counts[str(value)] += 1
            if len(counts) > MOST_VALUES or len(str(value)) > MOST_CHARS:
                self._text.add(column)
                del self._counts[column]

    def balances(self, rows: int) -> dict[str, dict[str, Any]]:
        """The balance of the columns that half of the rows have, each value twice on average."""
        kept = {
            column: {**balance(counts), "rows": counts.total()}
            for column, counts in self._counts.items()
            if 1 < len(counts) <= counts.total() / 2 and counts.total() >= rows / 2
        }
        first = [column for column in FIRST if column in kept]
        others = sorted(column for column in kept if column not in FIRST)
        return {column: kept[column] for column in [*first, *others][:MOST_COLUMNS]}


def _pairs(texts: list[str]) -> list[Pair]:
    """The texts that are most alike, of each group of repeats one pair."""
    near = NearDuplicates(NEAR, window=NEAR_WINDOW)
    near.add(normalise(pa.array(texts, pa.string())))
    found = near.resolve()
    repeats = np.flatnonzero(found.repeats >= 0)
    order = repeats[np.argsort(-found.similarity[repeats], kind="stable")]
    pairs: dict[int, Pair] = {}
    for place in order.tolist():
        other = int(found.repeats[place])
        if other not in pairs:
            pairs[other] = Pair(float(found.similarity[place]), texts[other], texts[place])
        if len(pairs) == PAIRS:
            break
    return list(pairs.values())
