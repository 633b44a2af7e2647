"""What the driver sees and says of a cluster: figures once a second, and a log of what happened."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from ray.exceptions import RayError

from karat.context import Services
from karat.executors.ray.job import Done, Task
from karat.models.leases import RUN
from karat.walk import Monitor, Seen

LOOK_S = 1.0
NEWS_S = 10.0  # for which the same words are said aloud once


class Watch:
    """Hears of workers and units from a crew, and of everything else from the office."""

    def __init__(
        self, ray: Any, office: Any, services: Services, monitor: Monitor, log: Path
    ) -> None:
        self.office = office
        self._said: dict[str, float] = {}
        self._ray, self._services, self._monitor, self._log = ray, services, monitor, log

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Keeps the monitor up to date while the block runs."""
        limit = self._services.client.budget.limit_nano
        if limit is not None:  # rounds change it on the way
            await self.office.limit.remote(RUN, limit)
        looking = asyncio.create_task(self._keep())
        try:
            yield
        except BaseException:
            with suppress(RayError):
                await self.office.stop.remote()
            raise
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await self._look()

    async def _keep(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        with suppress(RayError):  # another office will be there
            seen: Seen = await self.office.seen.remote()
            self._monitor.hear(seen)
            for text in seen.told:
                self.say(text, aloud=self._is_news(text))

    def _is_news(self, text: str) -> bool:
        """Not what another worker has just said, of the same database for instance."""
        plain = re.sub(r"^worker \S+: |\d+", "", text)
        last, self._said[plain] = self._said.get(plain, -math.inf), time.monotonic()
        return time.monotonic() - last > NEWS_S

    # --- what a crew tells ---------------------------------------------------------------------

    def came(self, worker: str, node: str, pid: int) -> None:
        self.say(f"worker {worker} begins on {node}, process {pid}", aloud=False)

    def lost(self, worker: str, why: str) -> None:
        self.office.lost.remote(worker)
        self.say(f"worker {worker} was lost, another takes its rows: {why}")

    def waits(self, worker: str) -> None:
        free = self._ray.available_resources().get("CPU", 0)
        every = self._ray.cluster_resources().get("CPU", 0)
        text = (
            f"worker {worker} has no place yet: it waits for a CPU, of which {free:g} of {every:g} "
            "are free. It begins when others are done or machines join; fewer --workers need less"
        )
        self.say(text, aloud=self._is_news(text))

    def begun(self, worker: str, task: Task) -> None:
        self.office.begin.remote(worker, task.name)

    def done(self, worker: str, task: Task, done: Done) -> None:
        self._monitor.ended(task.name)
        self.office.done.remote(worker, task.name, done.rows)

    def say(self, text: str, *, aloud: bool = True) -> None:
        """Into the log and, `aloud`, to whoever follows the run."""
        if aloud:
            self._services.client.till.say(text)
        with suppress(OSError), self._log.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")
