"""A table step at work: its decision on a whole stage, or on each part of it where the part is."""

from __future__ import annotations

from typing import Any

from karat.columns import Decision, Table
from karat.context import Context
from karat.step import StepCall
from karat.walk import named


def decided(call: StepCall, table: Table, context: Context) -> Decision:
    """What a table step decides. Raises: RunError for what breaks in it, naming the step."""
    with named(context.label):
        return _checked(call.step.function(table, context, **call.params))


def decided_part(decision: Decision, part: Table, label: str) -> Decision:
    """What holds for one part: the decision itself, unless it is made part by part."""
    if decision.each is None:
        return decision
    with named(label):
        return _checked(decision.each(part))


def all_notes(decision: Decision, told: list[dict[str, Any]]) -> dict[str, Any]:
    """A decision's notes with what its parts had to say, in their order."""
    if decision.each is None or decision.gather is None:
        return decision.notes
    return {**decision.notes, **decision.gather(told)}


def _checked(made: object) -> Decision:
    if not isinstance(made, Decision):
        raise TypeError(f"it must return a Decision, and returned {made!r:.80}")
    return made
