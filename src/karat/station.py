"""A worker's side of the hub: its client with shared limits and budgets, and its word each second.

A station gives its process a client like any run's, whose endpoints divide their limits with those
of the other workers and whose budgets are leased. It knows the hub by four calls alone, so that it
makes no difference whether that is an actor on another machine or an object in the same test.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from karat.context import Services
from karat.errors import KaratError, RunError
from karat.hub import Reply, Report
from karat.journal import Journal
from karat.models.budget import Budget
from karat.models.client import Client
from karat.models.endpoint import Endpoint, budget_name
from karat.models.exchange import Exchange
from karat.models.leases import RUN, Grant, Leased, Need
from karat.models.neighbours import TICK_S
from karat.models.sharing import share_of
from karat.models.spec import EMBEDDED, ModelSpec
from karat.stage import StepStats
from karat.walk import Monitor


class Line(Protocol):
    """The way to the hub: what a worker asks of it, under the names it has there."""

    async def join(self, worker: str, node: str, pid: int) -> Reply: ...

    async def report(self, worker: str, report: Report) -> Reply: ...

    async def lease(self, worker: str, need: Need) -> Grant: ...

    async def leave(self, worker: str, report: Report) -> None: ...


class Station:
    """Of the worker called `name`, of so many `workers` as there are to be. `trouble`: why nothing
    more may be sent, where that is so; `gone`: it was given up, and its units are another's."""

    def __init__(self, name: str, line: Line, workers: int, *, tick_s: float = TICK_S) -> None:
        self.name, self.workers = name, workers
        self._line, self._tick_s = line, tick_s
        self._exchange = Exchange(workers, tick_s)
        self._purses: dict[str, Leased] = {}
        self._client: Client | None = None
        self._monitors: dict[str, Monitor] = {}  # by unit under way
        self._told: set[str] = set()  # warnings that were brought
        self._keeping: asyncio.Task[None] | None = None
        self.trouble: KaratError | None = None
        self.gone = False
        self._term = 0

    # --- what the worker works with ------------------------------------------------------------

    async def join(self, node: str, pid: int) -> None:
        """Before anything else. Raises: RunError."""
        try:
            self._term = (await self._line.join(self.name, node, pid)).term
        except Exception as error:
            raise self._unheard(error) from error

    def client(
        self, models: dict[str, ModelSpec], journal: Journal, budget_usd: float | None
    ) -> Client:
        """The worker's one client; from now on it reports about once a second."""
        budget = self._leased(RUN, "", budget_usd, "the budget")
        self._client = Client(models, journal, budget, self._connect)
        self._keeping = asyncio.ensure_future(self._keep())
        return self._client

    def _connect(self, name: str, spec: ModelSpec) -> Endpoint:
        identity = spec.identity()
        budget: Budget | None = None
        if spec.budget_usd is not None:
            budget = self._leased(name, identity, spec.budget_usd, budget_name(spec))
        apart = spec.format == EMBEDDED
        return Endpoint(
            share_of(spec, self.workers),
            budget=budget,
            mailbox=None if apart else self._exchange.mailbox(identity),
        )

    def _leased(self, name: str, route: str, limit_usd: float | None, said: str) -> Leased:
        made = Leased(limit_usd, self._lease, said, purse=name, route=route)
        self._purses[name] = made
        return made

    async def _lease(self, need: Need) -> Grant:
        try:
            told = msgspec.structs.replace(need, term=self._term)
            return await self._line.lease(self.name, told)
        except Exception as error:
            raise self._unheard(error) from error

    def begin(self, unit: str, monitor: Monitor) -> None:
        """A unit whose figures are reported from now on."""
        self._monitors[unit] = monitor

    def done(self, unit: str) -> None:
        self._monitors.pop(unit, None)

    # --- reports -------------------------------------------------------------------------------

    def report(self) -> Report:
        """What this worker does now; a copy, which does not change any more."""
        made = Report(
            purses=[leased.standing() for leased in self._purses.values()],
            words=self._exchange.words(),
            term=self._term,
        )
        if self._client is not None:
            for name, endpoint in self._client.endpoints.items():
                made.tallies[name] = msgspec.structs.replace(endpoint.tally)
        for unit, monitor in self._monitors.items():
            made.units[unit] = [
                StepStats(one.label, one.rows_in, one.rows_out, dict(one.dropped))
                for one in monitor.stats.values()
            ]
            for label, count in monitor.in_flight.items():
                made.in_flight[label] = made.in_flight.get(label, 0) + count
            self._add_warnings(made, monitor.services)
        return made

    def _add_warnings(self, made: Report, services: Services) -> None:
        made.warnings += [
            text for text in services.warnings
            if text not in self._told and text not in made.warnings
        ]  # fmt: skip

    async def _keep(self) -> None:
        while self.trouble is None:
            report = self.report()
            try:
                reply = await self._line.report(self.name, report)
            except Exception as error:
                self._stop(self._unheard(error))
                return
            self._told |= set(report.warnings)
            if not self._hear(reply):
                await asyncio.sleep(self._tick_s)

    def _hear(self, reply: Reply) -> bool:
        """Does as it is told; whether the next report should come at once."""
        if reply.gone:
            self.gone = True
            self._stop(
                RunError(f"worker {self.name} was given up; its rows are another's. Run again")
            )
        elif reply.stop:
            self._stop(RunError("the run was stopped; run again to go on"))
        self._exchange.heard(reply.others, reply.workers)
        gave = [self._purses[name].give_back() for name in reply.short]
        return any(gave)

    def _stop(self, why: KaratError) -> None:
        self.trouble = why
        if self._client is not None:
            self._client.stop()
        for leased in self._purses.values():
            leased.close()

    def _unheard(self, error: Exception) -> KaratError:
        error = (
            getattr(error, "cause", None) or error
        )  # as Ray has it, whose own text is a traceback
        if isinstance(error, KaratError):
            return error
        return RunError(
            f"worker {self.name} does not reach the hub of its run any more "
            f"({type(error).__name__}: {error}). Everything paid for is kept; run again to go on"
        )

    async def leave(self) -> None:
        """Ends in order, after the last call: what it was lent goes back at once."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        for leased in self._purses.values():
            leased.give_back()
            leased.close()
        if self.trouble is None:
            try:
                await self._line.leave(self.name, self.report())
            except Exception as error:
                self.trouble = self._unheard(error)
