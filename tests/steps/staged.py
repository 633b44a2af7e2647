"""What the tests of table steps share: rows in a stage file, a step run on them, the rows after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from karat.columns import Decision, Table
from karat.decided import apply_decision
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.step import Step
from karat.table import from_batch
from karat.tabled import all_notes, decided_part


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


def settled(decision: Decision, table: Table, label: str = "step") -> Decision:
    """The decision on all of a table in one file, whether or not it is made part by part."""
    (part,) = table.parts()
    own = decided_part(decision, part, label)
    return replace(own, add=decision.add, notes=all_notes(decision, [own.notes]))


def run(
    folder: Path, step: Step, rows: list[Row], seed: int = 7, **params: Any
) -> tuple[Decision, list[Row], Ctx]:
    """The decision, and the rows as the next stage would hold them."""
    writer, ctx = StageWriter(folder / "stage.parquet"), Ctx(seed)
    writer.add(rows)
    writer.close({})
    table = Table(writer.path)
    decision = settled(step.function(table, ctx, **step.check(params)), table, step.name)
    batches = [batch for batch, _ in apply_decision(writer.path, decision, step.name)]
    return decision, [row for batch in batches for row in from_batch(batch)], ctx


def row(number: int, *scores: dict[str, float], meta: dict[str, Any] | None = None) -> Row:
    """A row with one answer for each mapping of scores."""
    answers = [Response(f"answer {i}", "m", i, scores=one) for i, one in enumerate(scores)]
    return Row(f"row{number}", [Message("user", f"question {number}")], answers, meta=meta or {})


def kept(rows: list[Row]) -> list[list[int]]:
    """Places of the kept responses of each row."""
    return [[i for i, r in enumerate(row.responses) if r.kept] for row in rows]
