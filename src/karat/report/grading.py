"""Grading in the report: what a graded row cost, who decided, and what the grades are worth.

Cost is told per row and not only in all, because that is the figure which says what the next
hundred thousand rows will cost, and whether a cheaper grader should be asked first. Figures stay
where steps noted them, in the funnel; here stands which steps they are of, and what only the
journal knows. A terminal gets a line for each step, the page (grading_page) shows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from karat.journal import Journal
from karat.ledger import dollars
from karat.mill import Mill
from karat.recipe import Recipe
from karat.report.cells import LINE, clean, grid, money
from karat.report.recommendation import plain
from karat.signature import verifier_names
from karat.step import StepCall

DECIDED, ASKED = "decided by ", "asked "  # how a route counts; see steps/_route
DRAWN, ON = "answers_drawn", "rows_drawn_on"  # how best_of does
ROLES = ("reward", "judge")
# Steps whose results a page shows; of `grade`, those that are routes.
SHOWN = ("meter", "debias", "cross_validate", "best_of", "reject")

Notes = dict[str, Any]


def grading(mill: Mill, journal: Journal) -> dict[str, Any]:
    """By step: `graded` rows, what they cost and by whom they were decided; `compared` graders.

    `steps` are those that grading_page shows, with what their notes leave out: the scores of
    theirs that compare `within_prompt` only, and the `unit` of lengths.
    """
    recipe = mill.recipe
    found: dict[str, Any] = {"graded": {}, "compared": {}, "steps": {}}
    for label, call in zip(recipe.labels, recipe.steps, strict=True):
        stats = mill.monitor.stats[label]
        route = list(call.params.get("route", ()))
        if (route or list(call.named("reward"))) and stats.rows_in:
            counts = stats.notes.get("counts", {})
            cost, costs = _cost(journal, label), _costs(journal, label, call, recipe)
            found["graded"][label] = {
                "rows": stats.rows_in,
                "cost_usd": cost,
                "cost_per_row_usd": None if cost is None else cost / stats.rows_in,
                "decided": _counted(counts, DECIDED),
                "asked": _counted(counts, ASKED),
                "reward": call.params.get("reward"),
                "route": route,
                "costs_usd": costs,
            }
        if "compared" in stats.notes:
            found["compared"][label] = stats.notes
        if call.step.path in SHOWN:
            keys = [call.params[name] for name in ("by", "held_out") if call.params.get(name)]
            found["steps"][label] = {
                "step": call.step.path,
                "within_prompt": [key for key in keys if recipe.graders.within_prompt(key)],
                "unit": call.params.get("unit"),
            }
    return found


def _counted(counts: dict[str, int], begin: str) -> dict[str, int]:
    return {name[len(begin) :]: n for name, n in counts.items() if name.startswith(begin)}


def _cost(journal: Journal, step: str, models: Sequence[str] | None = None) -> float | None:
    """Dollars a step's rewards and judges (all, or those `models`) have cost; None when some price
    is unknown."""
    only = "" if models is None else f"AND model IN ({', '.join('?' * len(models))})"
    ((nano, unpriced),) = journal.query(
        "SELECT sum(cost_nano), sum(unpriced) FROM minutes WHERE step = ? AND role IN (?, ?) "
        + only, step, *ROLES, *(models or ()),
    )  # fmt: skip
    return dollars(nano, unpriced)


def _costs(journal: Journal, step: str, call: StepCall, recipe: Recipe) -> dict[str, float | None]:
    """The same for each grader of a route. Graders that ask one model are left out: which of them
    it was paid for cannot be told."""
    names = [name for name in call.params.get("route", ()) if name not in verifier_names()]
    behind = {name: recipe.graders.lineage(name, recipe.models) for name in names}
    asked = [model for models in behind.values() for model in models]
    return {
        name: _cost(journal, step, models)
        for name, models in behind.items()
        if all(asked.count(model) == 1 for model in models)
    }


def notes_of(report: dict[str, Any], step: str) -> Iterator[tuple[str, Notes]]:
    """(label, what it noted) of every step of that name."""
    steps = report.get("grading", {}).get("steps", {})
    for one in report["funnel"]:
        if steps.get(one["label"], {}).get("step") == step:
            yield one["label"], one.get("notes", {})


# --- in words ------------------------------------------------------------------------------------


def in_words(report: dict[str, Any]) -> Iterator[str]:
    """A line for each step: what it found, in the order of the recipe's kinds of steps."""
    for label, one in report.get("grading", {}).get("graded", {}).items():
        yield _graded(label, one)
    for label, notes in notes_of(report, "best_of"):
        yield _drawn(label, notes, report)
    for label, notes in notes_of(report, "debias"):
        yield _debiased(label, notes)
    for label, notes in notes_of(report, "meter"):
        yield _metered(label, notes)


def _graded(label: str, one: dict[str, Any]) -> str:
    decided = ", ".join(
        f"{name} {count / one['rows']:.0%}"
        for name, count in sorted(one["decided"].items(), key=lambda item: -item[1])
    )
    each = "price unknown" if one["cost_usd"] is None else f"{money(one['cost_per_row_usd'])}"
    by = f" by {one['reward']}" if one.get("reward") else ""
    text = f"{label}: {one['rows']:,} rows graded{by}, {each} a row"
    return f"{text}; decided by {decided}" if decided else text


def _drawn(label: str, notes: Notes, report: dict[str, Any]) -> str:
    rows = next(step["rows_in"] for step in report["funnel"] if step["label"] == label)
    counts = notes.get("counts", {})
    more, on = counts.get(DRAWN, 0), counts.get(ON, 0)
    each = more / rows if rows else 0.0
    return f"{label}: {each:.1f} more answers a row; {on:,} of {rows:,} rows drew any"


def _debiased(label: str, notes: Notes) -> str:
    before, after = (notes[key]["spearman"] for key in ("before", "after"))
    if before is None or after is None:
        return f"{label}: {notes['by']}: {notes['graded']:,} answers graded, nothing to take off"
    flipped = notes["flipped"]
    moved = "" if flipped is None else f"; {flipped:.0%} of pairs changed places"
    return f"{label}: {notes['by']} with length: Spearman {plain(before)} → {plain(after)}{moved}"


def _metered(label: str, notes: Notes) -> str:
    if not (curve := notes.get("curve")):
        return f"{label}: {notes['by']}: too few answers to measure"
    first, last = curve["rungs"][0], curve["rungs"][-1]
    text = (
        f"{label}: {notes['by']} {plain(first['grading']['value'])} → best of {last['k']} "
        f"{interval(last['grading'])}"
    )
    if last["held"] is None:
        return f"{text}; nothing held out"
    held = f"{plain(first['held']['value'])} → {interval(last['held'])}"
    over = ", over-optimised" if curve["warning"] else ""
    return f"{text}; {notes['held_out']} {held}{over}; recommended n: {curve['recommended']}"


def interval(found: dict[str, float]) -> str:
    """value (low … high)."""
    return f"{plain(found['value'])} ({plain(found['low'])} … {plain(found['high'])})"


# --- on a terminal -------------------------------------------------------------------------------


def grading_lines(report: dict[str, Any]) -> Iterator[RenderableType]:
    """The same for a terminal, and how far graders agree; nothing where nothing was graded."""
    yield from (clean(line, 10 * LINE) for line in in_words(report))
    for label, notes in report.get("grading", {}).get("compared", {}).items():
        yield from _compared(label, notes)


def _compared(label: str, notes: Notes) -> Iterator[RenderableType]:
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
    value, low, high = ("?" if end is None else plain(end) for end in figure)
    return f"{value} ({low} … {high})"
