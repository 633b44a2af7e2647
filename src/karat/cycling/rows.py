"""Steps of a cycle's joins: what all rounds so far accepted, none of it replaced.

Source: Gerstgrasser et al. (2404.01413): a set that each round replaces collapses, while one that
accumulates keeps its error bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

from karat.columns import Decision, Table
from karat.context import Context
from karat.row import Row
from karat.step import InputPath, step
from karat.steps._mix_files import earlier_rows


@step
def rounds(ctx: Context, *, files: list[InputPath]) -> Iterator[Row]:
    """The accepted rows of all rounds, earlier rounds first, with `meta.round` from 1.

    A row that its recipe put into the validation or test part is dropped, and the others lose
    their part: all that is left is trained on.
    """
    for number, file in enumerate(files, 1):
        for row in earlier_rows(ctx.path(file), number, ctx=ctx):
            row.meta["round"] = number  # whatever the rows read in said
            if row.meta.pop("split", "train") not in ("train", None):
                row.dropped = "rounds: not of the train part"
            yield row


@step
def ranked(table: Table, ctx: Context, *, by: str) -> Decision:
    """Changes nothing; says by which score the rounds chose, for exports of pairs."""
    return Decision(notes={"ranking": by})
