"""What the tests of table steps share: rows in a stage file, a step run on them, the rows after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from karat.columns import Decision, Table
from karat.decided import apply_decision
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.step import Step
from karat.table import from_batch


class Ctx:
    """As much of a context as a table step touches; scores of `bt` compare within a prompt."""

    def __init__(self, seed: int = 7) -> None:
        self.warnings: list[str] = []
        self._seed = seed

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def within_prompt(self, key: str) -> bool:
        return key.startswith("bt.")

    def seed(self, index: int = 0) -> int:
        return self._seed + index


def run(
    folder: Path, step: Step, rows: list[Row], seed: int = 7, **params: Any
) -> tuple[Decision, list[Row], Ctx]:
    """The decision, and the rows as the next stage would hold them."""
    writer, ctx = StageWriter(folder / "stage.parquet"), Ctx(seed)
    writer.add(rows)
    writer.close({})
    decision = step.function(Table(writer.path), ctx, **step.check(params))
    batches = [batch for batch, _ in apply_decision(writer.path, decision, step.name)]
    return decision, [row for batch in batches for row in from_batch(batch)], ctx


def row(number: int, *scores: dict[str, float], meta: dict[str, Any] | None = None) -> Row:
    """A row with one answer for each mapping of scores."""
    answers = [Response(f"answer {i}", "m", i, scores=one) for i, one in enumerate(scores)]
    return Row(f"row{number}", [Message("user", f"question {number}")], answers, meta=meta or {})


def kept(rows: list[Row]) -> list[list[int]]:
    """Places of the kept responses of each row."""
    return [[i for i, r in enumerate(row.responses) if r.kept] for row in rows]
