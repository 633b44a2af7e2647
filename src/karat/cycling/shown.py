"""What the terminal shows of a cycle: a line a round, and how it ended."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from karat.cycling.lineage import Cycle, cells, verdict

COLUMNS = {
    "round": "round", "reward": "held-out reward, 95%", "gain": "difference", "rows": "rows",
    "human": "human", "answers": "variety", "collapse": "collapse", "cost": "cost",
    "seconds": "time",
}  # fmt: skip


def rounds_table(found: Cycle) -> Group:
    """The rounds, best in bold, and the verdict."""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{found.name}: judged by {found.judge}", title_justify="left"
    )
    for name, heading in COLUMNS.items():
        table.add_column(heading, justify="left" if name in ("round", "collapse") else "right")
    for one in found.rounds:
        said = cells(one)
        style = "bold" if one.number == found.best else ""
        table.add_row(*(Text(said[name]) for name in COLUMNS), style=style)
    return Group(table, Text(verdict(found)))
