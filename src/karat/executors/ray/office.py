"""The hub as an actor, and the way to it: karat.hub is what is said there."""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayActorError, RayTaskError

from karat.errors import KaratError, RunError
from karat.executors.ray.faults import KEPT, why_lost
from karat.hub import Hub, Reply, Report
from karat.journal import Address, look_up
from karat.models.leases import Grant, Need
from karat.models.purses import ledger_of


class Office(Hub):
    """The actor. Where it is lost the run ends: only it knows what was lent and not yet spent, and
    another in its place would lend that again. The next run begins with what the ledger says."""

    def __init__(self, journal: Address, budget_usd: float | None) -> None:
        def query(sql: str, *values: object) -> Any:
            return iter(look_up(journal, sql, *values) or [(None,)])

        super().__init__(ledger_of(query), budget_usd)


class Line:
    """A worker's way to the office; what is raised there is raised here."""

    def __init__(self, office: Any) -> None:
        self._office = office

    async def join(self, worker: str, node: str, pid: int) -> Reply:
        reply: Reply = await _said(self._office.join.remote(worker, node, pid))
        return reply

    async def report(self, worker: str, report: Report) -> Reply:
        reply: Reply = await _said(self._office.report.remote(worker, report))
        return reply

    async def lease(self, worker: str, need: Need) -> Grant:
        grant: Grant = await _said(self._office.lease.remote(worker, need))
        return grant

    async def leave(self, worker: str, report: Report) -> None:
        await _said(self._office.leave.remote(worker, report))


async def _said(ref: Any) -> Any:
    try:
        return await ref
    except RayTaskError as error:
        if isinstance(error.cause, KaratError):
            raise error.cause from None
        raise
    except RayActorError as error:
        raise RunError(
            f"the process that keeps the budgets of this run was lost: {why_lost(error)}. {KEPT}"
        ) from error
