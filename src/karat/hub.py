"""The hub: where the workers of a cluster meet, over budgets, shared limits and what each is doing.

One small process holds it. Nothing here waits or sends: each worker says once a second what it does
and gets an answer, so that whoever is silent holds up nobody, and a hub of a hundred workers takes
a few hundredths of a core. Rows and answers never pass through it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from karat.errors import RunError
from karat.live import Pace
from karat.models.endpoint import Tally
from karat.models.exchange import Table, Words
from karat.models.leases import RUN, Grant, Need, Standing
from karat.models.neighbours import STALE_S, Neighbour
from karat.models.purses import Keeper, Ledger
from karat.stage import StepStats
from karat.walk import Seen, WorkerState

MOST_GONE = 1024  # workers that are no more and are still listed
RECKONED = 10  # looks at what the dead spent, as often as it is asked what is seen


class Report(msgspec.Struct):
    """What a worker does now. Sums are since it began, figures of units since each began.

    `units` are those under way with their figures by step, `in_flight` rows by step, `tallies` by
    model, `purses` where it stands with each, `words` what it says of each endpoint's limits;
    `warnings` are those that no report has brought yet. `term` is what the reply to its joining
    said.
    """

    units: dict[str, list[StepStats]] = {}
    in_flight: dict[str, int] = {}
    tallies: dict[str, Tally] = {}
    purses: list[Standing] = []
    words: dict[str, list[Neighbour]] = {}
    warnings: list[str] = []
    term: int = 0


class Reply(msgspec.Struct):
    """`others`: what other workers say of the endpoints. `short`: purses to which it should give
    back what it does not need. `stop`: nothing more is to be sent. `gone`: it was given up, its
    units are another's and it must end. `term`: how many of its name were there before it, by
    which one that was given up and still talks is told from the one in its place."""

    workers: int
    others: dict[str, Words] = {}
    short: list[str] = []
    stop: bool = False
    gone: bool = False
    term: int = 0


class _Worker:
    """What is known of one worker."""

    def __init__(self, name: str, node: str, pid: int, now: float) -> None:
        self.name, self.node, self.pid, self.seen_at = name, node, pid, now
        self.restarts = self.term = 0
        self.end = ""  # left or lost
        self.said = Report()
        self.open: set[str] = set()  # units it has begun
        self.units = self.rows = 0  # that are done

    @property
    def here(self) -> bool:
        return not self.end

    def rows_now(self) -> int:
        """Rows that have gone through, those of units under way among them."""
        entered = sum(
            stats[0].rows_in for unit, stats in self.said.units.items() if unit in self.open
        )
        return self.rows + max(0, entered - sum(self.said.in_flight.values()))


class Hub:
    """All methods return at once. `ledger` says what is recorded as spent over a route, or with an
    empty one in all; see karat.models.purses.ledger_of."""

    def __init__(
        self, ledger: Ledger, budget_usd: float | None = None, *,
        clock: Callable[[], float] = time.monotonic, stale_s: float = STALE_S,
    ) -> None:  # fmt: skip
        self.keeper = Keeper(ledger, budget_usd)
        self._clock, self._stale_s = clock, stale_s
        self._table = Table(clock, stale_s)
        self._workers: dict[str, _Worker] = {}
        self._past: dict[str, Tally] = {}  # by model, of workers that are no more
        self._warnings: dict[str, None] = {}
        self._told: list[str] = []
        self._pace = Pace()
        self._stopped = False
        self._to_reckon = 0

    # --- workers -------------------------------------------------------------------------------

    def join(self, worker: str, node: str, pid: int) -> Reply:
        """A worker begins; one of a name that was there takes that one's place."""
        before, made = self._workers.get(worker), _Worker(worker, node, pid, self._clock())
        if before is not None:
            self.lost(worker)
            made.restarts = before.restarts + (before.end == "lost")
            made.term = before.term + 1
            made.units, made.rows = before.units, before.rows
        self._workers[worker] = made
        self._table.join(worker)
        reply = self._reply()
        reply.term = made.term
        return reply

    def report(self, worker: str, report: Report) -> Reply:
        """Takes what a worker does; it does so about once a second."""
        one = self._here(worker, report.term)
        if one is None:
            return Reply(0, gone=True, stop=True)
        one.seen_at, one.said = self._clock(), report
        self._warnings |= dict.fromkeys(report.warnings)
        reply = self._reply()
        reply.short = self.keeper.hear(worker, report.purses)
        reply.others = self._table.exchange(worker, report.words)
        return reply

    def lease(self, worker: str, need: Need) -> Grant:
        """What a worker that is short may spend. Raises: RunError for one that was given up."""
        if self._here(worker, need.term) is None:
            raise RunError(
                f"worker {worker} was given up and its rows are another's; nothing paid for is lost"
            )
        return self.keeper.ask(worker, need, self._count())

    def leave(self, worker: str, report: Report) -> None:
        """It ends in order; `report` is its last."""
        one = self._here(worker, report.term)
        if one is not None:
            self.report(worker, report)
            self.keeper.leave(worker, report.purses)
            self._part(one, "left")

    def lost(self, worker: str) -> None:
        """It died, or nobody hears of it any more."""
        one = self._workers.get(worker)
        if one is not None and one.here:
            self.keeper.lost(worker)
            self._part(one, "lost")

    def _part(self, one: _Worker, end: str) -> None:
        self._to_reckon = RECKONED  # once all have left it is exact
        self._table.forget(one.name)
        for name, tally in one.said.tallies.items():
            tally.in_flight = tally.errands = 0
            self._past.setdefault(name, Tally()).add(tally)
        one.said, one.end = Report(), end
        one.open.clear()
        gone = [name for name, other in self._workers.items() if not other.here]
        for name in gone[:-MOST_GONE]:
            del self._workers[name]

    def _here(self, worker: str, term: int) -> _Worker | None:
        """The worker that speaks, None where it was given up."""
        one = self._workers.get(worker)
        return one if one is not None and one.here and one.term == term else None

    def _count(self) -> int:
        return sum(one.here for one in self._workers.values())

    def _reply(self) -> Reply:
        return Reply(self._count(), stop=self._stopped)

    # --- units ---------------------------------------------------------------------------------

    def begin(self, worker: str, unit: str) -> None:
        """A worker begins a unit."""
        one = self._workers.get(worker)
        if one is not None and one.here:
            one.open.add(unit)

    def done(self, worker: str, unit: str, rows: int) -> None:
        """A unit is done, with so many rows gone through; its figures are the caller's now."""
        one = self._workers.get(worker)
        if one is not None:
            one.open.discard(unit)
            one.units += 1
            one.rows += rows

    def tell(self, worker: str, text: str) -> None:
        """What a person should know of a worker; the driver hears it once."""
        self._told.append(f"worker {worker}: {text}")

    # --- the driver ----------------------------------------------------------------------------

    def stop(self) -> None:
        """From now on every worker is told to send nothing more."""
        self._stopped = True

    def limit(self, purse: str, limit_nano: int) -> int:
        """Sets what may be spent from a purse; returns what workers hold of it and have not spent,
        which they may spend until they have heard of it."""
        self.keeper.limit(purse, limit_nano)
        return self.keeper.purses[purse].lent_nano

    def seen(self) -> Seen:
        """What all workers do, added up."""
        if self._to_reckon:
            self._to_reckon -= 1
            self.keeper.reckon()
        found = Seen(spent_nano=self.keeper.purses[RUN].spent_nano, warnings=list(self._warnings))
        found.told, self._told = self._told, []
        found.tallies = {name: msgspec.structs.replace(t) for name, t in self._past.items()}
        for one in self._workers.values():
            for name, tally in one.said.tallies.items():
                found.tallies.setdefault(name, Tally()).add(tally)
            for label, count in one.said.in_flight.items():
                found.in_flight[label] = found.in_flight.get(label, 0) + count
            found.under_way |= {
                unit: stats for unit, stats in one.said.units.items() if unit in one.open
            }
            found.workers.append(self._state(one))
        return found

    def _state(self, one: _Worker) -> WorkerState:
        silent_s, rows = self._clock() - one.seen_at, one.rows_now()
        here = "silent" if silent_s > self._stale_s else "working" if one.open else "idle"
        return WorkerState(
            one.name, one.node, one.pid, one.units, rows,
            rate=self._pace.rate(one.name, rows) if one.here else 0.0,
            in_flight=sum(tally.in_flight for tally in one.said.tallies.values()),
            restarts=one.restarts, seen_s=silent_s, state=one.end or here,
        )  # fmt: skip
