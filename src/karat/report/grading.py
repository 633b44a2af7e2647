"""Grading in the report: what a graded row cost, who decided, and whether graders agree.

Cost is told per row and not only in all, because that is the figure which says what the next
hundred thousand rows will cost, and whether a cheaper grader should be asked first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from karat.journal import Journal
from karat.mill import Mill
from karat.report.cells import LINE, clean, grid, money

DECIDED, ASKED = "decided by ", "asked "  # how a route counts; see steps/_route
ROLES = ("reward", "judge")


def grading(mill: Mill, journal: Journal) -> dict[str, Any]:
    """By step: `graded` rows, what they cost and by whom they were decided; `compared` graders."""
    found: dict[str, Any] = {"graded": {}, "compared": {}}
    for label, call in zip(mill.recipe.labels, mill.recipe.steps, strict=True):
        stats = mill.monitor.stats[label]
        if list(call.named("reward")) and stats.rows_in:
            counts = stats.notes.get("counts", {})
            cost = _cost(journal, label)
            found["graded"][label] = {
                "rows": stats.rows_in,
                "cost_usd": cost,
                "cost_per_row_usd": None if cost is None else cost / stats.rows_in,
                "decided": _counted(counts, DECIDED),
                "asked": _counted(counts, ASKED),
            }
        if "compared" in stats.notes:
            found["compared"][label] = stats.notes
    return found


def _counted(counts: dict[str, int], begin: str) -> dict[str, int]:
    return {name[len(begin) :]: n for name, n in counts.items() if name.startswith(begin)}


def _cost(journal: Journal, step: str) -> float | None:
    """Dollars a step's rewards and judges have cost; None when some price is unknown."""
    ((nano, unpriced),) = journal.query(
        "SELECT sum(cost_nano), sum(unpriced) FROM minutes WHERE step = ? AND role IN (?, ?)",
        step, *ROLES,
    )  # fmt: skip
    return None if unpriced else (nano or 0) / 1e9


def grading_lines(report: dict[str, Any]) -> Iterator[RenderableType]:
    """The same for a terminal; nothing where nothing was graded."""
    told = report.get("grading", {})
    for label, one in told.get("graded", {}).items():
        decided = ", ".join(
            f"{name} {count / one['rows']:.0%}"
            for name, count in sorted(one["decided"].items(), key=lambda item: -item[1])
        )
        each = "price unknown" if one["cost_usd"] is None else f"{money(one['cost_per_row_usd'])}"
        text = f"{label}: {one['rows']:,} rows graded, {each} a row"
        yield clean(f"{text}; decided by {decided}" if decided else text, 10 * LINE)
    for label, notes in told.get("compared", {}).items():
        yield from _compared(label, notes)


def _compared(label: str, notes: dict[str, Any]) -> Iterator[RenderableType]:
    share = notes["disagreements"] / notes["checked"] if notes["checked"] else 0.0
    yield Text()
    yield clean(
        f"{label}: graders disagree on {notes['disagreements']:,} of {notes['checked']:,} rows "
        f"({share:.0%}); with 95% intervals:", 10 * LINE,
    )  # fmt: skip
    for name, one in notes["compared"].items():
        yield _pairs(name, one)
        yield _leanings(one)
        for word, key in (("Krippendorff's α", "alpha"), ("Fleiss' κ", "fleiss_kappa")):
            if one[key] is not None:
                yield Text(
                    f"{word}, {one['levels']} levels by {one['levels_by']}: {_told(one[key])}"
                )


def _pairs(name: str, one: dict[str, Any]) -> Table:
    table = grid(f"{name}: graders", "κ (quadratic)", "τ_b", "τ_b within", "same order")
    for pair in one["pairs"]:
        figures = (pair[key] for key in ("kappa", "tau_b", "tau_b_within", "pairs_agreed"))
        table.add_row(clean(" · ".join(pair["graders"]), LINE), *map(_told, figures))
    return table


def _leanings(one: dict[str, Any]) -> Table:
    families = sorted({f for told in one["graders"].values() for f in told["family_preference"]})
    table = grid(
        "grader", "no score", "σ per doubled length", *(f"to {f or '?'}" for f in families)
    )
    for key, told in one["graders"].items():
        kin = (told["family_preference"].get(family) for family in families)
        table.add_row(
            clean(key, LINE), _told(told["ungraded"]), _told(told["length_slope"]), *map(_told, kin)
        )
    return table


def _told(figure: list[float | None] | None) -> str:
    """value (low … high); a dash where it is not defined."""
    if figure is None:
        return "–"
    value, low, high = ("?" if end is None else f"{end:.2f}" for end in figure)
    return f"{value} ({low} … {high})"
