"""What `select` kept beside random and longest, and how near the parts of `split` come.

A choice is shown with its controls and never alone: a figure only says something where random
choices do not reach it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from karat.report.cells import LINE, clean, grid

MEASURES = {
    "quality": "mean score", "length": "mean characters", "vendi": "Vendi score",
    "distinct_2": "distinct-2", "novelsum": "NovelSum", "novelsum_density": "NovelSum, by density",
    "facility_location": "facility location",
}  # fmt: skip
MARKS = {"above": " ▲", "below": " ▼", "within": "  "}


def choosing_lines(report: dict[str, Any]) -> Iterator[RenderableType]:
    """A table for each step that selected, some lines for each that split; nothing where none."""
    for one in report["funnel"]:
        notes = one.get("notes", {})
        if "arms" in notes and "between" in notes:
            yield _arms(one["label"], notes)
            yield Text("▲ ▼ above or below what 95% of random choices reach", style="dim")
        if "leakage" in notes:
            yield from (clean(line, 4 * LINE) for line in _parts(one["label"], notes))


def _arms(label: str, notes: dict[str, Any]) -> Table:
    arms, against = notes["arms"], notes["against_random"]
    others = [name for name in arms if name != "random"]
    table = grid(f"{label}: {notes['kept']:,} kept", "random", "95% of it", *others)
    for measure, name in MEASURES.items():
        if measure in notes["between"]:
            low, high = notes["between"][measure]
            cells = [
                f"{_figure(arms[arm][measure])}{MARKS[against[arm].get(measure, 'within')]}"
                if measure in arms[arm] else "  "
                for arm in others
            ]  # fmt: skip
            shown = f"{_figure(low)} … {_figure(high)}"
            table.add_row(name, _figure(arms["random"][measure]), shown, *cells)
    return table


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _parts(label: str, notes: dict[str, Any]) -> Iterator[str]:
    rows = ", ".join(f"{count:,} {name}" for name, count in notes["rows"].items() if count)
    yield (
        f"{label}: {rows}; {notes['clusters']:,} clusters, the largest of "
        f"{notes['largest_cluster']:,} rows"
    )
    for pair, found in notes["leakage"].items():
        shared, cosine = found["shared_runs"], found["cosine"]
        yield (
            f"  {pair}: a row shares at most {shared['most']:.0%} of its runs of eight words, "
            f"cosine at most {cosine['most']:.2f}"
        )
