"""mix: human-written rows among the made ones, to a stated share.

Training on nothing but a model's own output narrows what the next model can say; a share of human
rows bounds the loss (FACTS §5: at least 10 to 20%). The human file is read twice, once to choose
and once to add, so that memory does not grow with it, and no row is ever used twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from karat.columns import Decision, Table
from karat.context import Context
from karat.curation.shingles import Hashes, digests, normalise
from karat.errors import RecipeError, RunError
from karat.row import Ids, Row
from karat.step import InputPath, Share, step
from karat.steps.dedupe import turns
from karat.steps.read import read
from karat.table import plain

READ_AT_ONCE = 1024


@step
def mix(
    table: Table,
    ctx: Context,
    *,
    human: InputPath,
    share: Share = 0.2,
    floor: Share = 0.1,
    below: Literal["warn", "error"] = "warn",
    prompt: str | list[str] | None = None,
    messages: str | None = None,
    system: str | None = None,
    response: str | None = None,
    scores: list[str] | None = None,
    licence: str | None = None,
) -> Decision:
    """Adds rows of the file `human` until `share` of the live rows are human: H / (H + others).

    Rows that are human already count. The file is read as by the step `read`, whose parameters
    `prompt`, `messages`, `system`, `response`, `scores` and `licence` mean the same here. Only rows
    with an answer are taken, for they are examples to learn from; of several answers the one that
    `human.preferred` prefers is kept, else the first. A row whose turns are, up to case and white
    space, those of a live row or of an earlier row of the file is left out.

    Which rows are taken depends on the seed only. Where the file has too few, all are taken and a
    warning says so; where the share then stays under `floor`, `below: error` stops the run.

    Raises: RunError with `below: error`.
    Source: accumulating human data bounds the error over generations: Gerstgrasser et al.
    (2404.01413); replacing the last 10% is severe: 2410.13098.
    """
    mapping = {"prompt": prompt, "messages": messages, "system": system, "response": response}
    params = _reading(human=human, scores=scores, licence=licence, **mapping)
    taken, others, already = _live(table)
    wanted = max(0, _needed(others, share) - already)
    skipped = dict.fromkeys(("unusable", "no_answer", "duplicate"), 0)
    fresh = _fresh(ctx, params, taken, skipped)
    count = min(wanted, len(fresh))
    chosen = sorted(ctx.rng().sample(fresh, count))
    total = already + count
    reached = total / (others + total) if others + total else 0.0
    notes = {
        "human": total,
        "added": count,
        "share": reached,
        "wanted": wanted,
        "available": len(fresh),
        "skipped": skipped,
    }
    if not others and not already:
        ctx.warn("no live rows to mix human rows with; none were added")
    elif reached < floor:
        _too_few(ctx, human, notes, others + total, floor, below)
    elif count < wanted:
        ctx.warn(f"{human} has {count:,} usable rows where {wanted:,} were wanted: human rows are "
                 f"{reached:.1%} of all, not {share:.0%}")  # fmt: skip
    return Decision(add=_chosen(ctx, params, chosen), notes=notes)


@mix.rule
def _rule(*, share: float, floor: float, below: str, **reading: Any) -> str | None:
    if share < floor:
        return (
            f"share {share:g} is below floor {floor:g}; raise share, or lower floor if so few "
            "human rows are meant: models trained on nearly only their own output collapse"
        )
    try:
        _reading(**reading)
    except RecipeError as error:
        return str(error)
    return None


def _reading(*, human: str, **given: Any) -> dict[str, Any]:
    """What the step `read` is to do. Raises: RecipeError."""
    return read.check({"path": human, "source": "human", **given})


def _too_few(
    ctx: Context, human: str, notes: dict[str, Any], rows: int, floor: float, below: str
) -> None:
    text = (
        f"human rows are {notes['share']:.1%} of {rows:,}, below the floor of {floor:.0%}: {human} "
        f"had {notes['available']:,} usable rows, {notes['wanted']:,} were wanted"
    )
    if below == "error":
        raise RunError(f"{text}; add human rows, or lower floor, and run again")
    ctx.warn(text)


def _needed(others: int, share: float) -> int:
    """The fewest human rows that are at least `share` of all, beside `others`."""
    # Less a hair, so that 0.2 of 8 others is 2 rows whatever the division's last bit.
    return int(np.ceil(share * others / (1 - share) - 1e-9))


def _live(table: Table) -> tuple[Hashes, int, int]:
    """Digests of the live rows' turns; how many of the rows are not human; how many are."""
    found = [np.zeros(0, np.uint64)]
    rows = human = 0
    for batch in table.batches(["messages", "source"]):
        found.append(digests(normalise(turns(batch.column("messages")))))
        rows += batch.num_rows
        human += pc.sum(pc.equal(batch.column("source"), "human")).as_py() or 0
    return np.concatenate(found), rows - human, human


def _answered(ctx: Context, params: dict[str, Any], skipped: dict[str, int]) -> Iterator[Row]:
    """The rows of the human file that have a prompt and an answer."""
    for row in read.function(ctx, **params):
        if row.dropped is not None:
            skipped["unusable"] += 1
        elif not any(response.content.strip() for response in row.responses):
            skipped["no_answer"] += 1
        else:
            yield row


def _fresh(
    ctx: Context, params: dict[str, Any], taken: Hashes, skipped: dict[str, int]
) -> list[int]:
    """Places, among the answered rows, of those whose prompt is not there yet."""
    rows = _answered(ctx, params, skipped)
    found = [np.zeros(0, np.uint64)]
    while part := list(islice(rows, READ_AT_ONCE)):
        spoken = [
            plain("\n".join(m.content for m in row.messages if m.role != "system")) for row in part
        ]
        found.append(digests(normalise(pa.array(spoken, pa.string()))))
    digest = np.concatenate(found)
    _, first = np.unique(digest, return_index=True)
    fresh = np.sort(first[~np.isin(digest[first], taken)])
    skipped["duplicate"] = len(digest) - len(fresh)
    return [int(place) for place in fresh]


def _chosen(ctx: Context, params: dict[str, Any], places: list[int]) -> Iterator[Row]:
    """The chosen rows, one answer kept in each, under ids that no other step gives."""
    if not places:
        return
    ids, wanted = Ids(), set(places)
    counts = dict.fromkeys(("unusable", "no_answer"), 0)
    for place, row in enumerate(_answered(ctx, params, counts)):
        if place in wanted:
            row.id = ids.assign(row.messages, row.meta, ctx.label)
            _keep_one(row)
            yield row
        if place >= places[-1]:
            return


def _keep_one(row: Row) -> None:
    answers = [response for response in row.responses if response.content.strip()]
    kept = max(answers, key=lambda response: response.scores.get("human.preferred", 0.0))
    for response in row.responses:
        response.kept = response is kept
