"""A table step on a cluster: its body in one task, what it does to parts in tasks beside it.

The body sees figures of parts and never the rows of all. A step that decides on the whole table at
once still runs, as one process that reads it column by column; the driver never does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from karat import parquet
from karat.columns import Decision, Table
from karat.context import Context, Services
from karat.decided import apply_decision
from karat.errors import KaratError
from karat.executors.ray.job import Order, Steps
from karat.executors.ray.quiet import quiet_client
from karat.executors.ray.tasks import Tasks
from karat.executors.ray.units import unit_size
from karat.executors.rows import of_round
from karat.row import Row
from karat.stage import BATCH_ROWS, StepStats, written
from karat.table import plain, to_batch
from karat.tabled import all_notes, decided, decided_part


class Decided(msgspec.Struct):
    """What a table step did: the parts it left, rows dropped by reason, rows added."""

    parts: list[tuple[str, int]] = []
    dropped: dict[str, int] = {}
    added: int = 0
    notes: dict[str, Any] = {}
    warnings: list[str] = []
    error: Any = None


def conduct(order: Order, steps: Steps, before: Path, folder: Path, cpus: int) -> Decided:
    """Runs the step and writes its parts. karat's own errors are returned: Ray would wrap them."""
    import ray

    made = Decided()
    try:
        recipe = order.recipe(keyless=True)
        services = Services(recipe, quiet_client(recipe), order.scopes)
        services.round = order.round
        made.warnings = services.warnings
        ((label, call),) = steps.calls(recipe.folder)
        tasks = Tasks(ray, cpus)
        table = Table(before, tasks)
        decision = decided(call, table, Context(services, label))
        notes: list[dict[str, Any]] = []
        if decision.each is None:
            _write_whole(made, before, decision, label, folder)
        else:
            sent = msgspec.structs.replace(decision, add=(), notes={}, gather=None)
            for name, rows, dropped, told in tasks.map(
                _write_part, table.parts(), sent, label, folder
            ):
                made.parts.append((name, rows))
                made.dropped = dict(Counter(made.dropped) + Counter(dropped))
                notes.append(told)
        _write_added(made, (of_round(row, services) for row in decision.add), folder)
        made.notes = plain(all_notes(decision, notes))
    except KaratError as error:
        made.error = error
    return made


def _write_part(
    part: Table, decision: Decision, label: str, folder: Path
) -> tuple[str, int, dict[str, int], dict[str, Any]]:
    """Decides on one part and writes it; (file name, rows, drops by reason, notes)."""
    own = decided_part(decision, part, label)
    rows, stats = 0, StepStats(label)
    name = parquet.part_name(part.number)
    with written(folder / name, {}) as writer:
        for batch, reasons in apply_decision(part.path, own, label):
            for reason in reasons:
                stats.drop(reason)
            rows += batch.num_rows
            writer.add_batch(batch)
    return name, rows, stats.dropped, own.notes


def _write_whole(made: Decided, before: Path, decision: Decision, label: str, folder: Path) -> None:
    stats = StepStats(label)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch, reasons in apply_decision(before, decision, label):
            for reason in reasons:
                stats.drop(reason)
            yield batch

    _write_rolling(made, batches(), folder)
    made.dropped = stats.dropped


def _write_added(made: Decided, rows: Iterator[Row], folder: Path) -> None:
    before = sum(count for _, count in made.parts)
    some = iter(lambda: list(islice(rows, BATCH_ROWS)), [])
    _write_rolling(made, map(to_batch, some), folder)
    made.added = sum(count for _, count in made.parts) - before


def _write_rolling(made: Decided, batches: Iterator[pa.RecordBatch], folder: Path) -> None:
    """Into parts of a unit's size, one after another, numbered after those that are there."""
    size = unit_size(None)
    for first in batches:
        name, rows = parquet.part_name(len(made.parts)), 0
        with written(folder / name, {}) as writer:
            for batch in chain([first], batches):
                writer.add_batch(batch)
                rows += batch.num_rows
                if rows >= size:
                    break
        made.parts.append((name, rows))
