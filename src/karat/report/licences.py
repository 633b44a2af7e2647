"""What licences ask, as a person reads it on a terminal: blockers first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.licensing.solved import Cause, Finding, Solved
from karat.report.cells import LINE, clean

NAMED = 3  # causes of one finding that are told


def licence_block(found: Solved) -> RenderableType:
    """What stands in the way, what is to be done, what the data may train and be released under;
    nothing of a recipe that uses no model, grader or file."""
    if not found.sources:
        return Group()
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in found.blockers:
        table.add_row(Text("BLOCKER", "bold red"), _told(one))
    for one in found.obligations:
        table.add_row(Text("to do", "yellow"), _told(one))
    table.add_row("may train", clean(found.trains.text, 4 * LINE))
    table.add_row("release as", clean(found.release.text, 4 * LINE))
    for note in found.notes:
        table.add_row("not known", clean(note, 4 * LINE))
    return Group(Text(), Text("licences", "bold"), table, clean(found.about, LINE, "dim"))


def _told(one: Finding) -> Text:
    return clean(f"{one.licence}: {one.text} ({causes(one.causes)})", 10 * LINE)


def causes(found: Sequence[Cause], most: int = NAMED) -> str:
    """The sources a finding is due to, those of most rows first."""
    first = sorted(found, key=lambda one: (-(one.rows or 0), one.role, one.name))
    named = [f"{one.role} {one.name}{_rows(one.rows)}" for one in first[:most]]
    more = len(found) - len(named)
    return ", ".join([*named, *([f"{more:,} more"] if more else [])])


def _rows(rows: int | None) -> str:
    if rows is None:
        return ""
    return f": {rows:,} row" if rows == 1 else f": {rows:,} rows"
