"""A table in parts, and a spread that shares nothing: what a cluster is to a table step."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from karat import parquet
from karat.columns import Decision, Table
from karat.decided import apply_decision
from karat.row import Row
from karat.stage import written
from karat.table import from_batch
from karat.tabled import all_notes, decided_part


def packed(value: Any) -> tuple[bytes, list[bytes]]:
    """A value as it travels: arrays that arrive cannot be written to."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    return data, [bytes(one) for one in buffers]


def size(value: tuple[bytes, list[bytes]]) -> int:
    return len(value[0]) + sum(map(len, value[1]))


class Elsewhere:
    """Functions, items, bundles and results travel as bytes; what is done comes in any order.

    `moved` counts the bytes of bundles, `told` those of items and results.
    """

    def __init__(self, ways: int = 1, seed: int = 0) -> None:
        self.ways = ways
        self.moved = self.told = 0
        self._rng = random.Random(seed)

    def map(
        self, function: Callable[..., Any], items: Sequence[Any], *shared: Any
    ) -> Iterator[Any]:
        sent = [packed((function, (item, *shared))) for item in items]
        made = self._anyhow(sent)
        self.told += sum(map(size, sent)) + sum(map(size, made))
        return (pickle.loads(data, buffers=buffers) for data, buffers in made)

    def exchange(
        self, split: Callable[..., Any], join: Callable[..., Any], items: Sequence[Any],
        *shared: Any,
    ) -> Iterator[Any]:  # fmt: skip
        sent = [packed((split, (item, self.ways, *shared))) for item in items]
        self.told += sum(map(size, sent))
        dealt = [pickle.loads(data, buffers=buffers) for data, buffers in self._anyhow(sent)]
        assert all(len(bundles) == self.ways for bundles in dealt)
        self.moved += sum(size(packed(bundle)) for bundles in dealt for bundle in bundles)
        met = [[bundles[way] for bundles in dealt] for way in range(self.ways)]
        made = self._anyhow([packed((join, (one, *shared))) for one in met])
        self.told += sum(map(size, made))
        return (pickle.loads(data, buffers=buffers) for data, buffers in made)

    def _anyhow(self, calls: list[tuple[bytes, list[bytes]]]) -> list[tuple[bytes, list[bytes]]]:
        """The results in order, however they came about."""
        done: dict[int, tuple[bytes, list[bytes]]] = {}
        for place in self._rng.sample(range(len(calls)), len(calls)):
            function, args = pickle.loads(calls[place][0], buffers=calls[place][1])
            done[place] = packed(function(*args))
        return [done[place] for place in range(len(calls))]


def in_one_file(path: Path, rows: Sequence[Row]) -> Table:
    """The rows as a stage file."""
    with written(path, {}) as writer:
        writer.add(list(rows))
    return Table(path)


def in_parts(
    folder: Path, rows: Sequence[Row], cuts: int | Sequence[int], spread: Any = None
) -> Table:
    """The same as a folder of so many parts, or of parts that end at these rows."""
    if isinstance(cuts, int):
        cuts = [len(rows) * number // cuts for number in range(1, cuts)]
    bounds = [0, *cuts, len(rows)]
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, (first, end) in enumerate(pairwise(bounds)):
        name = f"part-{number:06d}.parquet"
        with written(folder / name, {}) as writer:
            writer.add(list(rows[first:end]))
        parts.append((name, end - first))
    parquet.list_parts(folder, parts, {})
    return Table(folder, spread)


def applied(table: Table, decision: Decision, label: str = "step") -> tuple[list[Row], dict]:
    """The rows as the next stage would hold them, decided part by part, and the notes."""
    rows: list[Row] = []
    told: list[dict[str, Any]] = []
    if decision.each is not None:
        decision = pickle.loads(pickle.dumps(decision))
    for part in [table] if decision.each is None else table.parts():
        own = decided_part(decision, part, label)
        told.append(own.notes)
        for batch, _ in apply_decision(part.path, own, label):
            rows += from_batch(batch)
    rows += decision.add
    return rows, all_notes(decision, told)
