"""Rows through the steps of a stage into a writer: what one machine does with all of them, and what
one worker of many does with its share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing

import msgspec

from karat.context import Context, Services
from karat.executors.local import run_rows
from karat.peers import Peers
from karat.recipe import Recipe
from karat.row import Row, digest
from karat.stage import Stage, StepStats
from karat.step import StepCall
from karat.walk import Monitor, count, named, walk

LEAST_WIDTH = 16  # rows under way where no step names a model


class Walk(msgspec.Struct):
    """What rows of one stage go through. `width` rows are under way at once, and at most `limit`
    rows come out."""

    calls: list[tuple[str, StepCall]]
    services: Services
    monitor: Monitor
    width: int
    peers: Peers | None = None
    limit: int | None = None


async def walk_rows(rows: Iterator[Row], way: Walk, add: Callable[[list[Row]], None]) -> int:
    """Walks rows through their steps and hands on what comes out, in their order.

    Returns how many of them failed and wait for another try.
    """
    failures = taken = 0

    async def work(row: Row) -> list[Row]:
        return await walk(row, way.calls, way.services, way.monitor, way.peers)

    stop = way.services.client.stop
    async with aclosing(run_rows(rows, work, way.width, stop)) as results:
        async for done in results:
            failures += sum(row.failed for row in done)
            if way.limit is not None:
                done = done[: max(0, way.limit - taken)]
            taken += len(done)
            add(done)
    return failures


def source_rows(
    stage: Stage, services: Services, stats: StepStats
) -> tuple[Iterator[Row], list[tuple[str, StepCall]]]:
    """The rows a recipe begins with, and the steps of its first stage that remain to be walked."""
    calls = list(zip(stage.labels, stage.calls, strict=True))
    if calls[0][1].step.kind == "source":
        label, call = calls.pop(0)
        rows = _read(stats, call.step.function(Context(services, label), **call.params))
        return (of_round(row, services) for row in rows), calls
    # A recipe that begins with a model: one blank row.
    return iter([of_round(Row(id="seed"), services)]), calls


def of_round(row: Row, services: Services) -> Row:
    """A row that is new to a recipe; in a later round it has another id, hence other seeds."""
    if services.round.number > 1:
        row.id = digest(row.id, str(services.round.number), size=8).hex()
    return row


def _read(stats: StepStats, rows: Iterator[Row]) -> Iterator[Row]:
    with named(stats.label):
        for row in rows:
            stats.rows_in += 1
            count(stats, row)
            yield row


def width(stage: Stage, services: Services) -> int:
    """Rows under way: enough to keep every model of the stage busy while others are graded."""
    recipe: Recipe = services.recipe
    client = services.client
    names = {name for call in stage.calls for _, name in recipe.asked(call)}
    calls: int = sum(client.endpoint(name).provider.concurrency for name in names)
    rewards = {name for call in stage.calls for _, name in call.named("reward")}
    servers = {s.identity(): s for r in rewards for s in recipe.graders.servers(r).values()}
    calls += sum(server.width(1) for server in servers.values())
    return max(LEAST_WIDTH, 2 * calls)


def finish_stats(stats: Sequence[StepStats], services: Services) -> None:
    """Puts what steps counted and asked for into the notes of their figures."""
    for one in stats:
        if counts := services.counts.get(one.label):
            one.notes["counts"] = dict(sorted(counts.items()))
        if asked := services.asked.get(one.label):
            one.notes["strata"] = sorted(map(list, asked))
