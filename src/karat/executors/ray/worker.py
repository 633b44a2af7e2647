"""A worker: one process of a cluster that walks units, many rows at once.

It is an asyncio program like a run on one machine, with a client and a journal of its own. What is
paid for is in the journal before it is used, so a worker may be lost at any moment.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import ray

from karat import places
from karat.context import Services
from karat.errors import KaratError, RunError
from karat.executors.local import GRACE_S
from karat.executors.ray.job import Done, Order, Steps, Task
from karat.executors.ray.office import Line
from karat.executors.ray.pools import Sent
from karat.executors.ray.units import unit_rows
from karat.executors.rows import Walk, finish_stats, walk_rows, width
from karat.journal import Address, open_journal
from karat.models.client import Client
from karat.peers import Peers
from karat.row import Row
from karat.stage import written
from karat.station import Station
from karat.walk import Monitor


class Job(msgspec.Struct):
    """A row stage as a worker is given it. `since`: what counts as an answer of an earlier run.
    `probe` is a file that every machine must see. `graders` are pools by their rewards' names."""

    order: Order
    steps: Steps
    number: int
    journal: Address
    since: int
    workers: int
    probe: Path
    graders: dict[str, list[Any]] = {}


class Worker:
    """The actor. Errors of karat's own are returned and not raised: Ray would wrap them."""

    def __init__(self, name: str, job: Job, office: Any, peers: Peers | None = None) -> None:
        self.name, self._job, self._peers = name, job, peers
        self._station = Station(name, Line(office), job.workers)
        self._say = lambda text: office.tell.remote(name, text)
        self._client: Client | None = None
        self._under_way = 0
        self._idle = asyncio.Event()

    async def ready(self) -> KaratError | tuple[str, int]:
        """Opens what it needs; returns its machine and process, or what this machine lacks."""
        node = f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:6]}"
        try:
            await self._station.join(node, os.getpid())
            self._open()
        except KaratError as error:
            return error
        return node, os.getpid()

    def _open(self) -> None:
        job = self._job
        if not places.exists(job.probe):
            raise RunError(
                f"{job.probe.parent} is not to be seen; name a place that all machines share in "
                "--data"
            )
        recipe = job.order.recipe()
        self._journal = open_journal(job.journal, shared=True, since=job.since)
        self._journal.say = self._say
        self._client = self._station.client(recipe.models, self._journal, recipe.budget_usd)
        self._services = Services(recipe, self._client, job.order.scopes)
        self._services.round = job.order.round
        for name, copies in job.graders.items():
            self._services.desk.elsewhere[recipe.reward(name).identity] = Sent(copies)
        stage = job.steps.stage(recipe.folder, job.number)
        self._calls = list(zip(stage.labels, stage.calls, strict=True))
        self._width = width(stage, self._services)

    async def turn(self, task: Task) -> Done:
        """Walks one unit. Its file is there when this returns, or is not there."""
        unit = task.unit
        services = self._services.apart()
        monitor = Monitor(services, self._job.steps.labels)
        self._station.begin(task.name, monitor)
        self._under_way += 1
        done = Done(unit.number)
        try:
            way = Walk(self._calls, services, monitor, self._width, self._peers)
            meta: dict[str, Any] = {}
            with written(task.target, meta) as writer:

                def add(rows: list[Row]) -> None:
                    done.rows += len(rows)
                    writer.add(rows)

                done.failures = await walk_rows(unit_rows(unit), way, add)
                done.stats = list(monitor.stats.values())
                finish_stats(done.stats, services)
                done.passing = monitor.passing
                done.warnings = [*self._services.warnings, *services.warnings]
                if self._station.gone:  # the file is another's by now
                    raise RunError(f"worker {self.name} was given up")
                meta |= {"address": task.key, "done": msgspec.to_builtins(done)}
        except KaratError as error:
            # Why no call may be sent any more says more than that this one was not.
            trouble = self._station.trouble
            done.error = trouble if trouble is not None and type(error) is RunError else error
        except Exception as error:
            done.error = RunError(
                f"worker {self.name}, part {unit.number}: {type(error).__name__}: {error}. Nothing "
                "paid for is lost; run again to go on"
            )
        finally:
            self._station.done(task.name)
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        if done.error is not None and self._station.gone:
            await self._end()
        return done

    async def _end(self) -> None:
        """The office knows it no more: its units are others', and so is what it does. Once what is
        under way is recorded the process ends, which the crew sees, and replaces it."""
        await self.close()
        ray.actor.exit_actor()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Ends in order: no call is sent from now on, those under way finish and are recorded.

        Raises: RunError."""
        if self._client is None:
            return
        self._client.stop()
        if self._under_way:
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), GRACE_S)
        with suppress(asyncio.CancelledError):
            await self._services.close()
        await self._journal.close()
        await self._station.leave()
