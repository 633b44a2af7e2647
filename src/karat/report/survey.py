"""A survey of any data set: how varied its texts are, what groups they fall into, what repeats.

It reads what karat wrote (a run, a stage) and what anybody wrote (whatever the step `read` can),
holds no more than a sample of it in memory, and needs no model: embeddings come from the table that
karat ships.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.balance import balance
from karat.curation.clusters import group, how_many, names
from karat.curation.diversity import NEAR, NEAR_WINDOW, SAMPLE, diversity
from karat.curation.embedding import embed
from karat.curation.minhash import NearDuplicates
from karat.curation.shingles import normalise
from karat.errors import RecipeError
from karat.report.survey_source import On, Source

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


class Repeat(msgspec.Struct):
    """A text that occurs word for word more than once, and how often."""

    text: str
    times: int


class Survey(msgspec.Struct):
    """What `karat diversity` found. `measures` is that of curation.diversity, with intervals.

    `on` is what a text is called. `exact` is the share of texts that are word for word an earlier
    one; `pairs` are of different texts. Of `questions` rows the question alone was measured.
    texts_N are those in the sample, label_N their groups (-1: no known word), vectors_ND theirs.
    """

    name: str
    on: str
    column: str | None
    questions: int
    measures: dict[str, Any]
    groups: list[Group]
    columns: dict[str, dict[str, Any]]
    exact: float
    repeats: list[Repeat]
    pairs: list[Pair]
    left_out: dict[str, int]
    texts: list[str]
    label: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def as_tree(self) -> dict[str, Any]:
        """Everything but the texts themselves, for programs."""
        return {
            "name": self.name, "on": self.on, "column": self.column, "questions": self.questions,
            "measures": self.measures, "clusters": msgspec.to_builtins(self.groups),
            "columns": self.columns, "exact_duplicates": self.exact,
            "repeats": msgspec.to_builtins(self.repeats),
            "near_duplicates": msgspec.to_builtins(self.pairs), "left_out": self.left_out,
        }  # fmt: skip


def survey(
    data: Path, on: On = "prompt", clusters: int | None = None, *, column: str | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Survey:  # fmt: skip
    """Surveys a run, a stage or accepted.parquet, or any file or folder `read` can read.

    `column` names another text than `on`: a column of a file (`instances.0.input` for a place
    inside one), of karat's own rows a field of meta. `clusters` is how many groups to look for; by
    default √(n/2), 2 to 24. `say` is told what is done, as it takes a while.
    Raises: RecipeError when there is nothing to survey.
    """
    noun = "text" if column else on
    source, rng = Source(data, on, column), random.Random(0)
    texts, counts, seen = list[str](), _Columns(), 0
    say(f"reading {source.name}")
    for text, meta in source.rows():
        counts.add(meta)
        seen += 1
        if len(texts) < SAMPLE:
            texts.append(text)
        elif (place := int(rng.random() * seen)) < SAMPLE:
            texts[place] = text
    if not texts:
        raise RecipeError(f"{data} has no {column or on} to measure; {source.why_none()}")
    many = f"{len(texts):,}{f' of {seen:,}' if seen > len(texts) else ''}"
    say(f"measuring {many} {noun}{'' if seen == 1 else 's'}")
    measures = {**diversity(texts, intervals=True), "rows": seen}
    say("looking for clusters and repeats")
    vectors_ND = embed(texts)
    known = np.flatnonzero(vectors_ND.any(axis=1))
    label = np.full(len(texts), -1)
    label[known] = group(vectors_ND[known], clusters or how_many(len(known)))
    size = np.bincount(label[known], minlength=0)
    groups = [Group(name, int(n)) for name, n in zip(names(texts, label), size, strict=True)]
    often, pairs, exact = _repeats(texts)
    return Survey(
        source.name, noun, column, source.questions, measures, groups, counts.balances(seen),
        exact, often, pairs, source.left_out, texts, label, vectors_ND,
    )  # fmt: skip


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


def _repeats(texts: list[str]) -> tuple[list[Repeat], list[Pair], float]:
    """The texts that occur most often, the most alike of different ones, and the share of texts
    that are word for word an earlier one."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(" ".join(text.split()), text)
    counts = Counter(" ".join(text.split()) for text in texts)
    often = [Repeat(first[key], n) for key, n in counts.most_common(PAIRS) if n > 1]
    return often, _pairs(list(first.values())), 1 - len(first) / len(texts)


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
