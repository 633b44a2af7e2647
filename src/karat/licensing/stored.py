"""The licences that a run's report holds.

A card is made of them when the recipe's keys, servers and files are long gone. What is kept are the
sources; what follows from them is by the terms as they are known now.
"""

from __future__ import annotations

from typing import Any

import msgspec

from karat.licensing.solved import Solved, Source
from karat.licensing.solver import solve


class _Stored(msgspec.Struct, frozen=True):
    sources: tuple[Source, ...]
    rows: int | None = None
    notes: tuple[str, ...] = ()


def from_report(report: dict[str, Any]) -> Solved | None:
    """What follows from the sources in a report; None where it was written before karat counted
    them, or by another version."""
    try:
        held = msgspec.convert(report.get("licences"), _Stored)
    except msgspec.ValidationError:
        return None
    return solve(held.sources, held.rows, held.notes)
