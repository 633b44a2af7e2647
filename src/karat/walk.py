"""One row through its steps: the loop everything else exists for.

A row that cannot go on is data: it keeps its reason and travels on. A step that breaks is a bug:
the run stops and names it, with the line in the step's own code.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from karat.context import Context, Services
from karat.errors import KaratError, ProviderError, RowError, RunError
from karat.models.endpoint import Tally
from karat.peers import Peers
from karat.row import Ids, Row
from karat.stage import StepStats
from karat.step import StepCall

# Kinds of ProviderError that this request will always meet.
FOR_GOOD = ("row", "context", "content")
LEAST_DONE = 0.02  # of a stage, before its cost is projected


class WorkerState(msgspec.Struct):
    """One process of a cluster: its `units` and `rows` that are done, `rate` of the rows a second
    over the last 20 s, and calls `in_flight`. `restarts`: how often another took its place.
    `seen_s`: seconds since its last word. `state`: working, idle, silent, left or lost."""

    name: str
    node: str = ""
    pid: int = 0
    units: int = 0
    rows: int = 0
    rate: float = 0.0
    in_flight: int = 0
    restarts: int = 0
    seen_s: float = 0.0
    state: str = "idle"


class Seen(msgspec.Struct):
    """What the workers of a cluster do, added up. `under_way` are figures by unit, `in_flight` rows
    by step, `tallies` by model; `spent_nano` is what the run has cost, with earlier times. `told`
    is what happened since the last look."""

    under_way: dict[str, list[StepStats]] = {}
    in_flight: dict[str, int] = {}
    tallies: dict[str, Tally] = {}
    spent_nano: int = 0
    warnings: list[str] = []
    told: list[str] = []
    workers: list[WorkerState] = []


class Monitor:
    """What is happening now, for progress lines and reports: stats per step, warnings, spending.

    `stats` and `in_flight` are this process's; `figures`, `flying` and `tallies` add what workers
    elsewhere do.
    """

    def __init__(self, services: Services, labels: list[str]) -> None:
        self.services = services
        self.stats = {label: StepStats(label) for label in labels}
        self.in_flight = dict.fromkeys(labels, 0)
        self.sealed: set[str] = set()
        self.expected: int | None = None  # rows that will enter the current stage
        self.current: list[str] = []
        self.note = ""  # where a run in rounds stands
        self.passing = 0  # rows whose calls failed and may be answered another time
        self.planned_usd: dict[str, float] = {}  # by step, what a plan said is still to pay
        self.planned_s: dict[str, float] = {}  # and how long its calls will take
        self.executor = "local"  # where rows walk
        self.seen = Seen()  # what workers elsewhere do
        self._ended: set[str] = set()  # their units whose figures are among `stats` by now
        self._spent_before = 0

    def begin(self, labels: list[str]) -> None:
        """A stage of these steps begins."""
        self.current, self.expected = labels, None
        self._spent_before = self.services.client.budget.spent_nano

    def hear(self, seen: Seen) -> None:
        """Takes what workers elsewhere do now, in the place of what they did before."""
        self.seen = seen
        self.services.client.budget.spent_nano = seen.spent_nano
        for text in seen.warnings:
            self.services.warn(text)

    def ended(self, unit: str) -> None:
        """A worker's unit is done, and its figures were added to `stats`: whatever is heard of it
        later would be counted twice."""
        self._ended.add(unit)

    def figures(self, label: str) -> StepStats:
        """The funnel at one step, with what is under way elsewhere."""
        under_way = [
            one
            for unit, stats in self.seen.under_way.items()
            if unit not in self._ended
            for one in stats
            if one.label == label
        ]
        if not under_way:
            return self.stats[label]
        found = StepStats(label)
        for one in (self.stats[label], *under_way):
            found.add(one)
        return found

    def flying(self, label: str) -> int:
        """Rows that are in one step, wherever."""
        return self.in_flight.get(label, 0) + self.seen.in_flight.get(label, 0)

    def tallies(self) -> dict[str, Tally]:
        """What was asked of each model, wherever."""
        endpoints = self.services.client.endpoints
        found = {name: msgspec.structs.replace(one.tally) for name, one in endpoints.items()}
        for name, tally in self.seen.tallies.items():
            found.setdefault(name, Tally()).add(tally)
        return found

    def projected_usd(self) -> float | None:
        """What the run will have cost in all, or None while too little is known.

        The stage under way goes on as it went so far; those to come cost what the plan said.
        """
        if not self.expected or not self.current:
            return None
        last = self.figures(self.current[-1])
        done = (last.rows_out + sum(last.dropped.values())) / self.expected
        if done < LEAST_DONE:
            return None
        spent = self.services.client.budget.spent_nano
        rest = (spent - self._spent_before) * (1 / done - 1)
        place = list(self.stats).index(self.current[-1])
        later = list(self.stats)[place + 1 :]
        if later and not self.planned_usd:
            return None  # nobody planned, so nothing is known of them
        return max(0.0, spent + rest) / 1e9 + sum(self.planned_usd.get(name, 0) for name in later)


async def walk(
    row: Row,
    calls: list[tuple[str, StepCall]],
    services: Services,
    monitor: Monitor,
    peers: Peers | None = None,
) -> list[Row]:
    """One row through consecutive steps; several rows come out where the last step fans out.

    `peers` are what the first step draws from, where it draws.
    """
    for label, call in calls:
        if row.dropped is not None:
            break
        stats = monitor.stats[label]
        stats.rows_in += 1
        monitor.in_flight[label] += 1
        try:
            with named(label, f" on row {row.id}"):
                context = Context(services, label, row)
                seen = (row, context, peers) if call.step.draws else (row, context)
                made = await call.step.function(*seen, **call.params)
                rows = _checked(made, call)
        except (RowError, ProviderError) as error:
            kind = error.kind if isinstance(error, ProviderError) else ""
            row.dropped = f"{'call failed' if kind else 'cannot go on'} ({error})"
            row.failed = True
            monitor.passing += kind not in ("", *FOR_GOOD)
            rows = [row]
        finally:
            monitor.in_flight[label] -= 1
        if not rows:
            row.dropped = "nothing usable was written"
            rows = [row]
        if call.step.kind == "fan":
            _name_apart(rows, row.id)
        for out in rows:
            count(stats, out)
        if call.step.kind == "fan":
            return rows
        (row,) = rows
    return [row]


def _name_apart(rows: list[Row], parent: str) -> None:
    """New ids for rows a step made by copying: decisions, seeds and provenance go by id."""
    if len({row.id for row in rows}) < len(rows) or not all(row.id for row in rows):
        names = Ids()
        for row in rows:
            row.id = names.assign(row.messages, row.meta, parent)


def _place(error: Exception) -> str:
    """Where in the step's own code an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not Path(f.filename).is_relative_to(Path(__file__).parent)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def count(stats: StepStats, row: Row) -> None:
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
def named(label: str, where: str = "") -> Iterator[None]:
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
