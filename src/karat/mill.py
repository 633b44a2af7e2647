"""The mill: a recipe's stages one after another, each row through its steps.

Around karat.walk: a stage that is sealed is skipped, a stage fed by failures is written but not
sealed, and whatever ends a run early leaves the journal whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import msgspec

from karat import places
from karat.columns import Table
from karat.context import Context, Services
from karat.decided import apply_decision
from karat.executors.rows import Walk, finish_stats, of_round, source_rows, walk_rows, width
from karat.peers import read_peers
from karat.recipe import Recipe
from karat.spread import Spread
from karat.stage import Stage, StepStats, cut, read_meta, read_rows, sealed, written
from karat.table import plain
from karat.tabled import all_notes, decided, decided_part
from karat.walk import Monitor

# What stages are, and what steps and killed runs leave beside them.
LEFT = (".parquet", ".tmp", ".source", ".dedupe", ".split")


class Executor(Protocol):
    """Where stages are carried out, if not in this process. Stages are then folders of parts.

    What happens goes to the monitor as it comes. Each raises RunError, with nothing paid for lost.
    """

    async def rows(
        self, stage: Stage, before: Path | None, folder: Path, fed_whole: bool, expected: int | None
    ) -> int:
        """Walks a row stage into parts; returns how many rows failed."""
        ...

    async def table(self, stage: Stage, before: Path, folder: Path) -> None:
        """Decides a table stage and writes its parts."""
        ...

    def spread(self) -> Spread:
        """Where functions over the parts of a stage are carried out."""
        ...

    def seal(self, folder: Path, meta: dict[str, Any]) -> None:
        """Makes the parts written last a whole stage, with what is said of it."""
        ...


class Mill:
    """Turns the stages of one recipe inside one directory of stage files.

    `limit` keeps only that many rows after every stage: a preview through the same steps, with the
    same seeds, hence the same paid answers as the run that follows. `executor` carries the stages
    out elsewhere; without one they are carried out here.
    """

    def __init__(
        self, recipe: Recipe, services: Services, folder: Path, limit: int | None = None
    ) -> None:
        self.executor: Executor | None = None
        self.recipe = recipe
        self.services = services
        self.folder = folder
        self.limit = limit
        self.stages = cut(recipe)
        self.monitor = Monitor(services, recipe.labels)
        self.used: set[str] = set()  # stage files of this run
        self.rounds = 1  # that are in the result; see karat.rounds

    async def turn(self) -> Path:
        """Runs every stage that is not sealed; returns the last stage's file."""
        last, _ = await self.through(self.stages)
        self.sweep()
        return last

    async def through(
        self, stages: Sequence[Stage], before: Path | None = None, complete: bool = True
    ) -> tuple[Path, bool]:
        """Consecutive stages, fed by the file `before`.

        Returns the last file, and whether all of it is made of rows whose calls were answered.
        """
        for stage in stages:
            path = self.folder / stage.file_name
            self.used.add(path.name)
            for label in stage.labels:
                self.monitor.stats[label] = StepStats(label)
                self.monitor.sealed.discard(label)
                self.services.counts.pop(label, None)
                self.services.asked.pop(label, None)
            if self.limit is None and complete and sealed(path, stage.address):
                self._recall(stage, path)
            elif self.executor is not None:
                complete &= await self._elsewhere(self.executor, stage, before, path, complete)
            elif stage.is_table:
                complete &= await self._table_stage(stage, before, path, complete)
            else:
                complete &= await self._row_stage(stage, before, path, complete)
            before = path
        assert before is not None
        return before, complete

    def _recall(self, stage: Stage, path: Path) -> None:
        for saved in read_meta(path)["stats"]:
            stats = msgspec.convert(saved, StepStats)
            self.monitor.stats[stats.label] = stats
            self.monitor.sealed.add(stats.label)
            for warning in stats.notes.get("warnings", []):
                self.services.warn(warning)

    def sweep(self) -> None:
        """Removes stage files of an earlier form of this recipe, and what a killed run left."""
        for path in places.children(self.folder):
            if path.suffix in LEFT and path.name not in self.used:
                places.remove(path)

    # --- row stages ----------------------------------------------------------------------------

    async def _row_stage(
        self, stage: Stage, before: Path | None, path: Path, fed_whole: bool
    ) -> bool:
        labels = list(stage.labels)
        if before is None:
            first = self.monitor.stats[labels[0]]
            rows, calls = source_rows(stage, self.services, first)
        else:
            rows, calls = read_rows(before), list(zip(labels, stage.calls, strict=True))
        rows = rows if self.limit is None else islice(rows, self.limit)
        self.monitor.begin([label for label, _ in calls])
        self.monitor.expected = await asyncio.to_thread(self._expected, stage)
        seen = len(self.services.warnings)
        peers = None
        if before is not None and stage.calls[0].step.draws:
            peers = await asyncio.to_thread(read_peers, before, self.recipe.seed, labels[0])
        wide = width(stage, self.services)
        way = Walk(calls, self.services, self.monitor, wide, peers, self.limit)
        meta: dict[str, Any] = {}
        with written(path, meta) as writer:
            failures = await walk_rows(rows, way, writer.add)
            complete = fed_whole and failures == 0
            self._keep_warnings(self.monitor.stats[labels[0]], seen)
            stats = [self.monitor.stats[label] for label in labels]
            finish_stats(stats, self.services)
            meta |= self._meta(stage, stats, complete)
        return complete

    def _expected(self, stage: Stage) -> int | None:
        """How many rows will enter, where that is known without reading them."""
        rows: int | None = None
        first = stage.calls[0]
        if stage.number > 1:
            rows = self._live_before(stage)
        elif first.step.kind == "source" and first.step.forecast is not None:
            forecast = first.step.forecast(1, recipe=self.recipe, **first.params)
            rows = forecast.rows if forecast else None
        return rows if rows is None or self.limit is None else min(rows, self.limit)

    def _live_before(self, stage: Stage) -> int:
        """Live rows that enter a stage: what the step before it let out."""
        before = self.stages[stage.number - 2].labels[-1]
        return self.monitor.stats[before].rows_out

    # --- stages that are carried out elsewhere ---------------------------------------------------

    async def _elsewhere(
        self, executor: Executor, stage: Stage, before: Path | None, path: Path, fed_whole: bool
    ) -> bool:
        labels, seen = list(stage.labels), len(self.services.warnings)
        reads = before is None and stage.calls[0].step.kind == "source"
        self.monitor.begin(labels[1:] if reads else labels)
        failures = 0
        if stage.is_table:
            assert before is not None  # a recipe that began with it was refused
            self.monitor.stats[labels[0]].rows_in = self._live_before(stage)
            await executor.table(stage, before, path)
        else:
            self.monitor.expected = await asyncio.to_thread(self._expected, stage)
            failures = await executor.rows(stage, before, path, fed_whole, self.monitor.expected)
        complete = fed_whole and failures == 0
        self._keep_warnings(self.monitor.stats[labels[0]], seen)
        stats = [self.monitor.stats[label] for label in labels]
        executor.seal(path, self._meta(stage, stats, complete))
        return complete

    # --- table stages --------------------------------------------------------------------------

    async def _table_stage(
        self, stage: Stage, before: Path | None, path: Path, fed_whole: bool
    ) -> bool:
        label, call = stage.labels[0], stage.calls[0]
        assert before is not None  # a recipe that began with it was refused
        stats = self.monitor.stats[label]
        self.monitor.begin([label])
        context = Context(self.services, label)
        seen = len(self.services.warnings)
        table = Table(before)
        decision = await asyncio.to_thread(decided, call, table, context)
        stats.rows_in = self._live_before(stage)
        told: list[dict[str, Any]] = []  # notes of parts that were decided by themselves
        meta: dict[str, Any] = {}
        with written(path, meta) as writer:
            for part in [table] if decision.each is None else table.parts():
                own = await asyncio.to_thread(decided_part, decision, part, label)
                told.append(own.notes)
                for batch, reasons in apply_decision(part.path, own, label):
                    for reason in reasons:
                        stats.drop(reason)
                    writer.add_batch(batch)
                    await asyncio.sleep(0)
            added = 0
            for row in decision.add:
                writer.add([of_round(row, self.services)])
                added += 1
            stats.rows_out = stats.rows_in - sum(stats.dropped.values()) + added
            stats.notes = plain(all_notes(decision, told))
            self._keep_warnings(stats, seen)
            meta |= self._meta(stage, [stats], fed_whole)
        return fed_whole

    def _keep_warnings(self, stats: StepStats, seen: int) -> None:
        """Writes new warnings into the stage, so that a run that skips it still gives them."""
        if len(self.services.warnings) > seen:
            stats.notes["warnings"] = self.services.warnings[seen:]

    def _meta(self, stage: Stage, stats: list[StepStats], complete: bool) -> dict[str, Any]:
        return {
            "address": stage.address,
            "complete": complete and self.limit is None,
            "stats": [msgspec.to_builtins(s) for s in stats],
        }
