"""A line from workers to a hub in the same process, for tests."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from karat.hub import Hub, Reply, Report
from karat.models.leases import Grant, Need


class Near:
    """What travels is pickled, as it is between machines. `down`: the hub is gone."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.down = hub, False

    async def _ask(self, method: Callable[..., Any], *args: object) -> Any:
        if self.down:
            raise ConnectionError("the actor died")
        return pickle.loads(pickle.dumps(method(*pickle.loads(pickle.dumps(args)))))

    async def join(self, worker: str, node: str, pid: int) -> Reply:
        return await self._ask(self.hub.join, worker, node, pid)

    async def report(self, worker: str, report: Report) -> Reply:
        return await self._ask(self.hub.report, worker, report)

    async def lease(self, worker: str, need: Need) -> Grant:
        return await self._ask(self.hub.lease, worker, need)

    async def leave(self, worker: str, report: Report) -> None:
        await self._ask(self.hub.leave, worker, report)
