"""A reward's check on a terminal: findings first, each with what to change."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.checking.findings import Finding, Verdict
from karat.report.cells import LINE, clean, money

COLOURS = {"error": "bold red", "warning": "bold yellow", "note": "bold"}


def verdict_text(verdict: Verdict) -> RenderableType:
    """All that was found, measured, and could not be seen."""
    parts: list[RenderableType] = [Text.assemble(("reward  ", "bold"), clean(verdict.reward, LINE))]
    for finding in verdict.findings:
        parts += [Text(), *_finding(finding)]
    if not verdict.findings:
        parts += [Text(), Text("nothing found that is wrong", "bold green")]
    facts = Table.grid(padding=(0, 2, 0, 0))
    for name, value in verdict.figures.items():
        facts.add_row(clean(name, LINE), clean(value, 2 * LINE))
    parts += [Text(), facts, Text()] if verdict.figures else [Text()]
    if verdict.passed:
        parts.append(Text(f"passed     {', '.join(verdict.passed)}"))
    reasons: dict[str, list[str]] = {}
    for name, reason in verdict.unchecked.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        parts.append(Text.assemble(f"not seen   {', '.join(names)}: ", clean(reason, LINE)))
    requests = f", {verdict.asked:,} requests" if verdict.asked else ""
    parts.append(Text(f"asked      {verdict.scores:,} scores{requests}, {money(verdict.cost_usd)}"))
    return Group(*parts)


def _finding(one: Finding) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_row("", clean(one.seen, 5 * LINE))
    grid.add_row("why", clean(one.why, 5 * LINE))
    grid.add_row("do", clean(one.change, 5 * LINE))
    return [Text.assemble((one.severity, COLOURS[one.severity]), f"  {one.check}"), grid]
