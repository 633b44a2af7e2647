"""The mill: a recipe's stages one after another, each row through its steps.

`walk` is the loop everything else exists for. Around it: a stage that is sealed is skipped, a stage
fed by failures is written but not sealed, and whatever ends a run early leaves the journal whole.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from karat.columns import Decision, Table, apply_decision
from karat.context import Context, Services
from karat.errors import KaratError, ProviderError, RecipeError, RowError, RunError
from karat.executors.local import run_rows
from karat.recipe import Recipe
from karat.row import Ids, Row
from karat.stage import Stage, StageWriter, StepStats, cut, read_meta, read_rows, sealed
from karat.step import StepCall
from karat.table import plain

LEAST_WIDTH = 16  # rows under way where no step names a model


class Monitor:
    """What is happening now, for progress lines and reports: stats per step, warnings, spending."""

    def __init__(self, services: Services, labels: list[str]) -> None:
        self.services = services
        self.stats = {label: StepStats(label) for label in labels}
        self.in_flight = dict.fromkeys(labels, 0)
        self.sealed: set[str] = set()
        self.expected: int | None = None  # rows that will enter the current stage
        self.current: list[str] = []


class Mill:
    """Turns the stages of one recipe inside one directory of stage files.

    `limit` keeps only that many rows after every stage: a preview through the same steps, with the
    same seeds, hence the same paid answers as the run that follows.
    """

    def __init__(
        self, recipe: Recipe, services: Services, folder: Path, limit: int | None = None
    ) -> None:
        self.recipe = recipe
        self.services = services
        self.folder = folder
        self.limit = limit
        self.stages = cut(recipe)
        self.monitor = Monitor(services, recipe.labels)

    async def turn(self) -> Path:
        """Runs every stage that is not sealed; returns the last stage's file."""
        before: Path | None = None
        complete = True
        for stage in self.stages:
            path = self.folder / stage.file_name
            if self.limit is None and complete and sealed(path, stage.address):
                self._recall(stage, path)
            elif stage.is_table:
                complete &= await self._table_stage(stage, before, path, complete)
            else:
                complete &= await self._row_stage(stage, before, path, complete)
            before = path
        self._sweep()
        assert before is not None
        return before

    def _recall(self, stage: Stage, path: Path) -> None:
        for saved in read_meta(path)["stats"]:
            stats = msgspec.convert(saved, StepStats)
            self.monitor.stats[stats.label] = stats
            self.monitor.sealed.add(stats.label)
            for warning in stats.notes.get("warnings", []):
                self.services.warn(warning)

    def _sweep(self) -> None:
        """Removes stage files of an earlier form of this recipe, and what a killed run left."""
        names = {stage.file_name for stage in self.stages}
        for path in (*self.folder.glob("*.parquet"), *self.folder.glob("*.tmp")):
            if path.name not in names:
                path.unlink()

    # --- row stages ----------------------------------------------------------------------------

    async def _row_stage(
        self, stage: Stage, before: Path | None, path: Path, fed_whole: bool
    ) -> bool:
        rows, calls = self._source(stage, before)
        self.monitor.current = [label for label, _ in calls]
        self.monitor.expected = await asyncio.to_thread(self._expected, stage, before)
        writer = StageWriter(path)
        failures = written = 0
        seen = len(self.services.warnings)

        async def work(row: Row) -> list[Row]:
            return await walk(row, calls, self.services, self.monitor)

        try:
            width = self._width(stage)
            async with aclosing(run_rows(rows, work, width, self.services.client.stop)) as results:
                async for done in results:
                    failures += sum(row.failed for row in done)
                    if self.limit is not None:
                        done = done[: max(0, self.limit - written)]
                    written += len(done)
                    writer.add(done)
            complete = fed_whole and failures == 0
            self._keep_warnings(self.monitor.stats[stage.labels[0]], seen)
            writer.close(
                self._meta(stage, [self.monitor.stats[name] for name in stage.labels], complete)
            )
        except BaseException:
            writer.abandon()
            raise
        return complete

    def _source(
        self, stage: Stage, before: Path | None
    ) -> tuple[Iterator[Row], list[tuple[str, StepCall]]]:
        """The rows that enter a stage, and the steps that remain to be walked."""
        calls = list(zip(stage.labels, stage.calls, strict=True))
        if before is not None:
            rows = read_rows(before)
        elif calls[0][1].step.kind == "source":
            label, call = calls.pop(0)
            rows = self._read(
                label, call.step.function(Context(self.services, label), **call.params)
            )
        else:
            rows = iter([Row(id="seed")])  # a recipe that begins with a model: one blank row
        return (rows if self.limit is None else islice(rows, self.limit)), calls

    def _expected(self, stage: Stage, before: Path | None) -> int | None:
        """How many rows will enter, where that is known without reading them."""
        rows: int | None = None
        first = stage.calls[0]
        if before is not None:
            rows = Table(before).count()
        elif first.step.kind == "source" and first.step.forecast is not None:
            forecast = first.step.forecast(1, recipe=self.recipe, **first.params)
            rows = forecast.rows if forecast else None
        return rows if rows is None or self.limit is None else min(rows, self.limit)

    def _read(self, label: str, rows: Iterator[Row]) -> Iterator[Row]:
        stats = self.monitor.stats[label]
        with _named(label):
            for row in rows:
                stats.rows_in += 1
                _count(stats, row)
                yield row

    def _width(self, stage: Stage) -> int:
        """Rows under way: enough to keep every model of the stage busy while others are graded."""
        names = {name for call in stage.calls for _, name in call.named("model")}
        calls: int = sum(self.services.client.endpoint(n).provider.concurrency for n in names)
        return max(LEAST_WIDTH, 2 * calls)

    # --- table stages --------------------------------------------------------------------------

    async def _table_stage(
        self, stage: Stage, before: Path | None, path: Path, fed_whole: bool
    ) -> bool:
        label, call = stage.labels[0], stage.calls[0]
        if before is None:
            raise RecipeError(
                f"{self.recipe.where(0)}: works on all rows; put a step before it that makes or "
                "reads some"
            )
        stats = self.monitor.stats[label]
        self.monitor.current, self.monitor.expected = [label], None
        context = Context(self.services, label)
        seen = len(self.services.warnings)
        with _named(label):
            decision = await asyncio.to_thread(
                call.step.function, Table(before), context, **call.params
            )
            if not isinstance(decision, Decision):
                raise TypeError(f"it must return a Decision, and returned {decision!r:.80}")
        stats.rows_in = Table(before).count()
        stats.notes = plain(decision.notes)
        self._keep_warnings(stats, seen)
        writer = StageWriter(path)
        try:
            for batch, reasons in apply_decision(before, decision, label):
                for reason in reasons:
                    stats.drop(reason)
                writer.add_batch(batch)
                await asyncio.sleep(0)
            added = 0
            for row in decision.add:
                writer.add([row])
                added += 1
            stats.rows_out = stats.rows_in - sum(stats.dropped.values()) + added
            writer.close(self._meta(stage, [stats], fed_whole))
        except BaseException:
            writer.abandon()
            raise
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


async def walk(
    row: Row, calls: list[tuple[str, StepCall]], services: Services, monitor: Monitor
) -> list[Row]:
    """One row through consecutive steps; several rows come out where the last step fans out."""
    for label, call in calls:
        if row.dropped is not None:
            break
        stats = monitor.stats[label]
        stats.rows_in += 1
        monitor.in_flight[label] += 1
        try:
            with _named(label, f" on row {row.id}"):
                made = await call.step.function(row, Context(services, label, row), **call.params)
                rows = _checked(made, call)
        except (RowError, ProviderError) as error:
            row.dropped, row.failed = f"call failed ({error})", True
            rows = [row]
        finally:
            monitor.in_flight[label] -= 1
        if not rows:
            row.dropped = "nothing usable was written"
            rows = [row]
        if call.step.kind == "fan":
            _name_apart(rows, row.id)
        for out in rows:
            _count(stats, out)
        if call.step.kind == "fan":
            return rows
        (row,) = rows
    return [row]


def _name_apart(rows: list[Row], parent: str) -> None:
    """New ids for rows a step made by copying: decisions, seeds and provenance go by id."""
    ids = {row.id for row in rows}
    if len(rows) > 1 and (len(ids) < len(rows) or parent in ids):
        names = Ids()
        for row in rows:
            row.id = names.assign(row.messages, row.meta, parent)


def _place(error: Exception) -> str:
    """Where in the step's own code an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not Path(f.filename).is_relative_to(Path(__file__).parent)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _count(stats: StepStats, row: Row) -> None:
    """Books a row that leaves a step, and puts the step's label before the reason of a drop."""
    if row.dropped is None:
        stats.rows_out += 1
    else:
        stats.drop(row.dropped)
        row.dropped = f"{stats.label}: {row.dropped}"


def _checked(made: object, call: StepCall) -> list[Row]:
    """What a step returned, as rows. Raises: TypeError when it is none."""
    rows = made if call.step.kind == "fan" else [made]
    if isinstance(made, list) and call.step.kind != "fan":
        raise TypeError("it returned a list; annotate it `-> list[Row]` if it makes several rows")
    if not isinstance(rows, list) or not all(isinstance(row, Row) for row in rows):
        wanted = "a list of rows" if call.step.kind == "fan" else "the row"
        raise TypeError(f"it must return {wanted}, and returned {made!r:.80}")
    return rows


@contextmanager
def _named(label: str, where: str = "") -> Iterator[None]:
    """Turns whatever a step's own code raises into a RunError that names the step."""
    try:
        yield
    except KaratError:
        raise
    except Exception as error:
        raise RunError(
            f"step '{label}' broke{where}: {type(error).__name__}: {error}{_place(error)}. Nothing "
            "paid for is lost: mend the step and run again"
        ) from error
