"""The stages of a run on a Ray cluster, driven from one process that never holds their rows.

What a stage is, whether it is sealed and what its figures are is decided where it is on one
machine: in the mill. Here its rows are cut into units, handed to a crew, and the parts that come
back are listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from karat import parquet, places
from karat.context import Services
from karat.errors import RunError
from karat.executors.ray.cluster import Cluster, connect, cpus, gpus, is_one_machine, leave
from karat.executors.ray.crew import Crew
from karat.executors.ray.job import Done, Order, Pool, Steps, Task, check_steps
from karat.executors.ray.office import Office
from karat.executors.ray.pools import pools, start, stop, told_late
from karat.executors.ray.source import read_source
from karat.executors.ray.tables import conduct
from karat.executors.ray.tasks import Tasks
from karat.executors.ray.units import Unit, cut_units, unit_size
from karat.executors.ray.watch import Watch
from karat.executors.ray.worker import Job, Worker
from karat.executors.rows import width
from karat.journal import Address
from karat.peers import read_peers
from karat.stage import Stage, StepStats, disk
from karat.walk import Monitor

AT_ONCE = 2  # units of a worker, so that the end of one does not leave it idle


class RayExecutor:
    """Carries out the stages of one run. `journal` is the address of the run's journal, `since`
    what counts as an answer of an earlier run, `log` a file that is told what happens."""

    def __init__(
        self, cluster: Cluster, services: Services, monitor: Monitor, journal: Address, since: int,
        log: Path,
    ) -> None:  # fmt: skip
        monitor.executor = "ray"  # whoever looks on knows it while Ray starts
        self.cluster, self.services, self.monitor = cluster, services, monitor
        self.journal, self.since = journal, since
        check_steps(services.recipe.steps)
        self._ray, self._own = connect(cluster, services.recipe.folder)
        self._pools = pools(services.recipe, cluster.pools, gpus(self._ray))
        on_cpus = sum(pool.copies for pool in self._pools.values() if not pool.gpus)
        self.workers = cluster.workers or max(1, cpus(self._ray) - on_cpus)
        if isinstance(journal, Path) and not is_one_machine(self._ray):
            raise RunError(
                "this cluster has several machines, and a journal in a file is for one; name a "
                "PostgreSQL database in --journal postgresql://…"
            )
        self._watch = Watch(self._ray, self._office(), services, monitor, log)

    def _office(self) -> Any:
        """On this machine: with it the driver is gone, too."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), False)
        made = self._ray.remote(Office).options(num_cpus=0, scheduling_strategy=here)
        return made.remote(self.journal, self.services.recipe.budget_usd)

    def order(self) -> Order:
        recipe = self.services.recipe
        return Order(
            recipe.portable(), recipe.folder, recipe.origin, self.services.scopes,
            self.services.round,
        )  # fmt: skip

    async def rows(
        self, stage: Stage, before: Path | None, folder: Path, fed_whole: bool, expected: int | None
    ) -> int:
        """Walks a row stage into the parts of `folder`; returns how many rows failed.

        The figures of its steps go to the monitor, as they come. Raises: RunError.
        """
        with disk(folder):
            await asyncio.to_thread(parquet.begin_parts, folder)
        calls = list(zip(stage.labels, stage.calls, strict=True))
        if before is None and calls[0][1].step.kind == "source":
            calls = calls[1:]
        recipe, first = self.services.recipe, stage.labels[0]
        peers = None
        if before is not None and stage.calls[0].step.draws:
            peers = await asyncio.to_thread(read_peers, before, recipe.seed, first)
        probe = folder / ".here"
        with disk(folder):
            await asyncio.to_thread(places.write_whole, probe, b"")
        order = self.order()
        graders = start(self._ray, order, self._pools_of(stage))
        job = Job(
            order, Steps.of(recipe, calls), stage.number, self.journal, self.since, self.workers,
            probe, graders,
        )  # fmt: skip
        waiting = asyncio.create_task(told_late(graders, self._watch.say))
        at_once = self._at_once(stage, before, expected)
        crew = Crew(self._maker(job, peers, at_once), self.workers, at_once, self._watch)
        made = _Made(self.monitor, self.services)
        feeding = asyncio.create_task(
            self._feed(crew, made, stage, before, folder, fed_whole, expected)
        )
        try:
            async with self._watch.looking():
                async for done in crew.results():
                    made.add(done)
                await feeding
        finally:
            for one in (feeding, waiting):
                one.cancel()
            await asyncio.gather(feeding, waiting, return_exceptions=True)
            await stop(self._ray, graders)
        self._parts = made.parts()
        return made.failures

    async def table(self, stage: Stage, before: Path, folder: Path) -> None:
        """Decides a table stage and writes its parts. Raises: RunError."""
        with disk(folder):
            await asyncio.to_thread(parquet.begin_parts, folder)
        ((label, call),) = zip(stage.labels, stage.calls, strict=True)
        steps = Steps.of(self.services.recipe, [(label, call)])
        conducting = self._ray.remote(conduct).options(num_cpus=1, max_retries=5)
        under_way = conducting.remote(self.order(), steps, before, folder, cpus(self._ray))
        try:
            done = await under_way
        except asyncio.CancelledError:  # whoever connected may begin another run in this folder
            self._ray.cancel(under_way, force=True)
            raise
        for text in done.warnings:
            self.services.warn(text)
        if done.error is not None:
            raise done.error
        stats = self.monitor.stats[label]
        stats.dropped, stats.notes = done.dropped, done.notes
        stats.rows_out = stats.rows_in - sum(done.dropped.values()) + done.added
        self._parts = done.parts

    def spread(self) -> Tasks:
        """Functions over the parts of a stage as tasks of the cluster."""
        return Tasks(self._ray, cpus(self._ray))

    def seal(self, folder: Path, meta: dict[str, Any]) -> None:
        """Lists the parts of the stage that was carried out last. Raises: RunError."""
        with disk(folder):
            parquet.list_parts(folder, self._parts, meta)
            places.remove(_source(folder))

    def _pools_of(self, stage: Stage) -> dict[str, Pool]:
        """The pools of the rewards that a stage grades with."""
        graders = self.services.recipe.graders
        rewards = {name for call in stage.calls for _, name in call.named("reward")}
        behind = {name for reward in rewards for name in graders.behind(reward)}
        return {name: pool for name, pool in self._pools.items() if name in behind}

    def _at_once(self, stage: Stage, before: Path | None, expected: int | None) -> int:
        """Units a worker walks at once: as many as keep its share of the calls under way."""
        rows = parquet.count(before) if before is not None else expected
        share = -(-width(stage, self.services) // self.workers)
        return max(AT_ONCE, 1 + -(-share // unit_size(rows)))

    async def _feed(
        self, crew: Crew, made: _Made, stage: Stage, before: Path | None, folder: Path,
        fed_whole: bool, expected: int | None,
    ) -> None:  # fmt: skip
        """Puts the units on the crew's list; those whose parts are there already count as done.

        Parts of a stage that was not fed whole have no key: what they are made of changes once the
        rows that failed are tried again, in ways that no unit shows (a step that drops duplicates).
        """
        try:
            async for unit in self._units(made, stage, before, folder, expected):
                target = folder / unit.file_name
                key = unit.key(stage.address) if fed_whole else ""
                held = await asyncio.to_thread(_held, target, key) if key else None
                if held is None:
                    crew.units.add(Task(f"{stage.file_name}:{unit.number}", unit, target, key))
                else:
                    made.add(held)
        except BaseException as error:
            crew.fail(error)
            raise
        crew.units.close()

    async def _units(
        self, made: _Made, stage: Stage, before: Path | None, folder: Path, expected: int | None
    ) -> AsyncIterator[Unit]:
        if before is not None:
            for unit in await asyncio.to_thread(cut_units, before):
                yield unit
            return
        source = _source(folder)
        steps = Steps.of(self.services.recipe, list(zip(stage.labels, stage.calls, strict=True)))
        size = unit_size(expected)
        read = self._ray.remote(num_returns="streaming", max_retries=3)(read_source)
        async for ref in read.remote(self.order(), steps, stage.address, source, size):
            found = await ref
            if isinstance(found, Exception):
                raise found
            if isinstance(found, Unit):
                yield found
            else:
                made.read(*found)

    def _maker(self, job: Job, peers: Any, at_once: int) -> Any:
        actor = self._ray.remote(Worker)
        options = {
            "num_cpus": 1, "max_restarts": 0, "max_task_retries": 0,
            "max_concurrency": at_once + 4, "scheduling_strategy": "SPREAD",
        }  # fmt: skip
        shared, office = self._ray.put(peers), self._watch.office
        return lambda name: actor.options(**options).remote(name, job, office, shared)

    def close(self) -> None:
        """Leaves the cluster, and ends one that was started for this run."""
        if self._own:
            leave(self._ray)
        else:  # whoever connected goes on, and the office would stay
            self._ray.kill(self._watch.office)


class _Made:
    """The parts of a stage as they come, and their figures added up."""

    def __init__(self, monitor: Monitor, services: Services) -> None:
        self._monitor, self._services = monitor, services
        self._rows: dict[int, int] = {}
        self.failures = 0

    def add(self, done: Done) -> None:
        self._rows[done.number] = done.rows
        self.failures += done.failures
        self._monitor.passing += done.passing
        for one in done.stats:
            add_stats(self._monitor.stats[one.label], one)
        for text in done.warnings:
            self._services.warn(text)

    def read(self, stats: StepStats, warnings: list[str]) -> None:
        """What a source had to say once it was read."""
        add_stats(self._monitor.stats[stats.label], stats)
        for text in warnings:
            self._services.warn(text)

    def parts(self) -> list[tuple[str, int]]:
        return [(parquet.part_name(number), rows) for number, rows in sorted(self._rows.items())]


def add_stats(total: StepStats, more: StepStats) -> None:
    """Adds the figures of other rows of the same step."""
    strata = [*total.notes.get("strata", []), *more.notes.get("strata", [])]
    total.add(more)
    if strata:
        total.notes["strata"] = [list(one) for one in sorted({tuple(one) for one in strata})]


def _held(target: Path, key: str) -> Done | None:
    """What a part says that an earlier run of the same stage made, None where it did not."""
    meta = parquet.meta(target)
    if meta.get("address") != key:
        return None
    try:
        done = msgspec.convert(meta.get("done"), Done)
    except msgspec.ValidationError:  # as another version wrote it
        return None
    return None if done.failures else done


def _source(folder: Path) -> Path:
    """Where the rows are that a stage read in."""
    return folder.with_name(f"{folder.name}.source")
