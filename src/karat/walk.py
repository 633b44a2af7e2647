"""One row through its steps: the loop everything else exists for.

A row that cannot go on is data: it keeps its reason and travels on. A step that breaks is a bug:
the run stops and names it, with the line in the step's own code.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from karat.context import Context, Services
from karat.errors import KaratError, ProviderError, RowError, RunError
from karat.peers import Peers
from karat.row import Ids, Row
from karat.stage import StepStats
from karat.step import StepCall

# Kinds of ProviderError that this request will always meet.
FOR_GOOD = ("row", "context", "content")
LEAST_DONE = 0.02  # of a stage, before its cost is projected


class Monitor:
    """What is happening now, for progress lines and reports: stats per step, warnings, spending."""

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
        self._spent_before = 0

    def begin(self, labels: list[str]) -> None:
        """A stage of these steps begins."""
        self.current, self.expected = labels, None
        self._spent_before = self.services.client.budget.spent_nano

    def projected_usd(self) -> float | None:
        """What the run will have cost in all, or None while too little is known.

        The stage under way goes on as it went so far; those to come cost what the plan said.
        """
        if not self.expected or not self.current:
            return None
        last = self.stats[self.current[-1]]
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
