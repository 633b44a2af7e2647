"""What the terminal shows of a cycle: a line a round, how it ended, and where everything is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import orjson
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from karat.cycling.asked import ASKED, STUDENT
from karat.cycling.lineage import CARD, PAGE, Cycle, cells, verdict
from karat.recipefile import parse

COLUMNS = {
    "round": "round", "reward": "held-out reward, 95%", "gain": "difference", "rows": "rows",
    "human": "human", "answers": "variety", "collapse": "collapse", "cost": "cost",
    "seconds": "time",
}  # fmt: skip


def rounds_table(found: Cycle, folder: Path) -> Group:
    """The rounds, best in bold; the verdict; paths."""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{found.name}: judged by {found.judge}", title_justify="left"
    )
    for name, heading in COLUMNS.items():
        table.add_column(heading, justify="left" if name in ("round", "collapse") else "right")
    for one in found.rounds:
        said = cells(one)
        style = "bold" if one.number == found.best else ""
        table.add_row(*(Text(said[name]) for name in COLUMNS), style=style)
    # A path that is broken over two lines cannot be copied.
    paths = [Text(line, no_wrap=True, overflow="ignore") for line in places(found, folder)]
    return Group(table, Text(verdict(found)), Text(), *paths)


def places(found: Cycle, folder: Path) -> Iterator[str]:
    """Where to look, and how a recipe names the best student."""
    yield f"page    {folder / PAGE}"
    yield f"files   {folder / CARD} says what is where"
    best = found.best_round.student
    last = found.rounds[-1].student
    if best is None:
        more = f"; the last student is {folder / last.folder}" if last is not None else ""
        yield f"best    the base itself, {found.base}{more}"
        return
    yield f"best    {folder / best.folder}"
    yield from _use(folder.absolute(), found.best)


def _use(folder: Path, number: int) -> Iterator[str]:
    """As the recipe that tested the student names it."""
    place = folder / f"round-{number}"
    model = parse(place / "test.yaml")["models"][STUDENT]
    serve = orjson.loads((folder / ASKED).read_bytes()).get("serve")
    if serve is None:
        yield "in a recipe:"
        yield "  models:"
        adapter = f", adapter: {model['adapter']}" if "adapter" in model else ""
        yield f"    student: {{model: {model['model']}{adapter}}}"
        return
    whole = place / "student" / "merged"
    weights = str(whole if whole.is_dir() else place / "student")
    yield f"serve   {serve.replace('{port}', '8000').replace('{model}', shlex.quote(weights))}"
    yield "in a recipe, with that server:"
    yield "  models:"
    yield f"    student: {{model: {model['model']}, base_url: http://127.0.0.1:8000/v1}}"
