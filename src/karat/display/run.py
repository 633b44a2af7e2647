"""A run as a notebook shows it: the funnel, the scores, what it cost, and its first rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from karat.display import shown
from karat.errors import RecipeError

if TYPE_CHECKING:
    from karat.rundir import Run

ROWS = 3
REASONS = 3  # of one step
MOST = 40  # steps, scores


def run_html(run: Run) -> str:
    """The whole piece of HTML. A run that has not ended, or whose files are damaged, says so."""
    try:
        return shown.fragment(*_report(run.report), *run.accepted.parts(ROWS), _where(run))
    except RecipeError as error:
        return shown.fragment(shown.paragraph(shown.bold(f"run {run.path}")), _said(error))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # A folder may come from anybody, and a cell is to show what can be shown.
        problem = f"report.json cannot be shown ({type(error).__name__}: {error})"
        return shown.fragment(shown.paragraph(shown.bold(f"run {run.path}")), _said(problem))


def _said(what: object) -> shown.Html:
    return shown.paragraph(shown.cell(what, 600))


def _where(run: Run) -> shown.Html:
    return shown.paragraph(shown.small(f"in {run.path}"))


def _report(report: dict[str, Any]) -> list[shown.Html]:
    rows, cost = report["rows"], report["cost_usd"]
    counted = f"{rows['accepted']:,} accepted, {rows['dropped']:,} dropped"
    paid = "cost unknown, a model has no price" if cost is None else f"cost {shown.money(cost)}"
    parts = [shown.paragraph(shown.bold(report["name"]), counted, "·", paid), _funnel(report)]
    scores = [
        [
            key, f"{spread['all']['count']:,}", f"{spread['all']['mean']:.2f}",
            shown.score(spread["accepted"].get("mean")),
        ]
        for key, spread in list(report["scores"].items())[:MOST]
        if spread["all"]["count"]
    ]  # fmt: skip
    if scores:
        head = ["score", "candidates", "mean", "mean of the accepted"]
        parts.append(shown.table(head, scores, "-nnn"))
    if warnings := report["warnings"]:
        lines = [_said(f"warning: {one}") for one in warnings[:MOST]]
        parts.append(shown.folded(shown.count(len(warnings), "warning"), *lines))
    return parts


def _funnel(report: dict[str, Any]) -> shown.Html:
    """A line for each step; the bar is what came out, of the most rows there ever were."""
    steps = report["funnel"][:MOST]
    most = max((max(one["rows_in"], one["rows_out"]) for one in steps), default=0) or 1
    rows = [
        [
            one["label"], f"{one['rows_in']:,}", f"{one['rows_out']:,}",
            shown.bar(one["rows_out"] / most), _reasons(one["dropped"]),
        ]
        for one in steps
    ]  # fmt: skip
    return shown.table(["step", "in", "out", "", "why dropped"], rows, "-nn--")


def _reasons(dropped: dict[str, int]) -> str:
    """The most frequent ones; the last says how many others there are."""
    first = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{count:,} {reason}" for reason, count in first[:REASONS]]
    if rest := sum(count for _, count in first[REASONS:]):
        told.append(f"{rest:,} for other reasons")
    return ", ".join(told)
