"""What the tests of table steps on parts share: the same step on one file and on parts of it."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace
from parted import Elsewhere, applied, in_one_file, in_parts

from karat.columns import Table
from karat.row import Row
from karat.step import Step
from karat.table import plain

CUTS = (1, 2, 7)


class Apart(Elsewhere):
    """As a cluster has it: nothing is shared, and arrays that arrive cannot be written to."""

    def map(
        self, function: Callable[..., Any], items: Sequence[Any], *shared: Any
    ) -> Iterator[Any]:
        return iter([sent(sent(function)(*sent((item, *shared)))) for item in items])


def sent(value: Any) -> Any:
    """The value on the other side."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(one) for one in buffers])


class Ctx:
    """As much of a context as a table step touches; scores of `bt` compare within a prompt."""

    label = "step"

    def __init__(self, folder: Path) -> None:
        self.warnings: list[str] = []
        self._folder = folder

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def within_prompt(self, key: str) -> bool:
        return key.startswith("bt.")

    def scale(self, key: str) -> tuple[float, float] | None:
        return (0.0, 4.0) if key.startswith("hs.") else None

    def seed(self, index: int = 0) -> int:
        return 7 + index

    def rng(self) -> random.Random:
        return random.Random(7)

    def path(self, value: str) -> Path:
        return self._folder / value


class Outcome(NamedTuple):
    """Rows as the next stage holds them, notes and warnings. Equal where all of it is, NaN too."""

    rows: list[Row]
    notes: dict[str, Any]
    warnings: list[str]

    @property
    def bytes(self) -> bytes:
        return msgspec.json.encode(self._asdict())


def outcome(table: Table, step: Step, folder: Path, params: dict[str, Any]) -> Outcome:
    ctx = Ctx(folder)
    decision = step.function(table, ctx, **step.check(params))
    rows, notes = applied(table, replace(decision, add=list(decision.add)), step.name)
    return Outcome(rows, plain(notes), ctx.warnings)


def same(
    folder: Path, step: Step, rows: Sequence[Row], cuts: Sequence[int | Sequence[int]] = CUTS,
    **params: Any,
) -> tuple[list[Row], dict[str, Any]]:  # fmt: skip
    """(rows, notes) of the step on one file, which are those on any parts of it."""
    whole = outcome(in_one_file(folder / "one.parquet", rows), step, folder, params)
    for number, cut in enumerate(cuts):
        parts = in_parts(folder / f"parts-{number}", rows, cut, Apart())
        assert outcome(parts, step, folder, params).bytes == whole.bytes, cut
    return whole.rows, whole.notes
