"""Differences between two data sets on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.report.cells import LINE, clean, grid
from karat.report.differences import Differences

LEAST_SHARE = 0.005  # of a value that is shown, on either side


def differences_text(found: Differences) -> RenderableType:
    """All of it."""
    a, b = found.rows
    change = f" ({(b - a) / a:+.0%})" if a else ""
    parts: list[RenderableType] = [
        clean(f"{found.a}: {a:,} rows → {found.b}: {b:,} rows{change}", 4 * LINE, "bold"),
        Text(
            f"{found.both:,} prompts stand in both, {found.answered:,} of them with another answer"
        ),
    ]
    parts += _reasons("only in the first", found.gone)
    parts += _reasons("only in the second", found.new)
    parts += [Text(), _figures(found)]
    for column, values in found.shares.items():
        if all(one == other for one, other in values.values()):
            continue
        parts += [Text(), _shares(column, values)]
    return Group(*parts)


def _reasons(where: str, reasons: dict[str, int]) -> list[RenderableType]:
    if not reasons:
        return [Text(f"0 {where}")]
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    return [clean(f"{sum(reasons.values()):,} {where}: {told}", 10 * LINE)]


def _figures(found: Differences) -> Table:
    table = grid("mean of", "first", "second", "difference, 95% interval")
    for name, told in found.figures.items():
        table.add_row(clean(name, LINE), _number(told["a"]), _number(told["b"]), _change(told))
    return table


def _change(told: dict[str, Any]) -> str:
    if told["change"] is None:
        return "–"
    value, low, high = told["change"]
    clear = "" if low <= 0 <= high else " *"
    return f"{value:+.3g} ({low:+.3g} … {high:+.3g}){clear}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _shares(column: str, values: dict[str, tuple[float, float]]) -> Table:
    table = grid(column, "first", "second", "change")
    for value, (one, other) in values.items():
        if max(one, other) >= LEAST_SHARE:
            table.add_row(
                clean(value or "–", LINE), f"{one:.1%}", f"{other:.1%}", f"{other - one:+.1%}"
            )
    return table
