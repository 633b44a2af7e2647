"""The workers of a cluster in words: a few for a line, a table of them for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from karat.live import State
from karat.report.cells import clock
from karat.visible import visible
from karat.workers import UNHAPPY, Crew, crew_of, notable

MOST = 50  # workers of a table
NAME = 80  # characters
_PILLS = {"working": "pill-good", "silent": "pill-bad", "lost": "pill-bad"}
_SAID = {"left": "ended"}  # "2 left" would be another thing
_ORDER = {"lost": 1, "silent": 2, "working": 3, "idle": 4, "left": 5}


class WorkerRow(NamedTuple):
    """A worker, or all of them, in words; `said` is its state, with how long it has been so."""

    name: str
    where: str
    units: str
    rows: str
    rate: str
    in_flight: str
    restarts: str
    said: str
    pill: str


class WorkerTable(NamedTuple):
    """`more` says where the workers are that are no rows; `log` is the end of the cluster's."""

    rows: list[WorkerRow]
    total: WorkerRow
    more: str
    log: str


def crew_in(state: State | None) -> Crew | None:
    """The sums of a run's workers, None where it has none of its own: it is on one machine."""
    if state is None or state.executor == "local":
        return None
    return state.crew if state.crew is not None else crew_of(state.workers)


def counted(crew: Crew) -> str:
    """As `4 workers (1 lost)`, without those that ended in order; "" where none is left."""
    if not crew.here:
        return ""
    bad = [f"{crew.states[name]:,} {name}" for name in UNHAPPY if crew.states.get(name)]
    said = f"{crew.here:,} worker{'' if crew.here == 1 else 's'}"
    return f"{said} ({', '.join(bad)})" if bad else said


def worker_table(state: State | None, log: Sequence[str] = ()) -> WorkerTable | None:
    """The workers of a run, at most 50 of them by themselves; None for a run that has none."""
    crew = crew_in(state)
    if state is None or crew is None:
        return None
    shown = notable(state.workers, MOST)
    hidden = crew.count - len(shown)
    more = "" if hidden <= 0 else (
        f"{hidden:,} of them are not listed: those that are lost, silent or were replaced come "
        "first, then the fastest."
    )  # fmt: skip
    rows = [
        WorkerRow(
            visible(one.name, NAME), f"{visible(one.node, NAME)}, process {one.pid}",
            f"{one.units:,}", f"{one.rows:,}", f"{one.rate:,.1f}", f"{one.in_flight:,}",
            f"{one.restarts:,}",
            f"silent {clock(one.seen_s)}" if one.state == "silent" else _said(one.state),
            _PILLS.get(one.state, "pill-soft"),
        )
        for one in shown
    ]  # fmt: skip
    states = sorted(crew.states.items(), key=lambda one: _ORDER.get(one[0], 0))
    total = WorkerRow(
        f"{crew.count:,} in all", "", f"{crew.units:,}", f"{crew.rows:,}", f"{crew.rate:,.1f}",
        f"{crew.in_flight:,}", f"{crew.restarts:,}",
        ", ".join(f"{count:,} {_said(name)}" for name, count in states), "",
    )  # fmt: skip
    return WorkerTable(rows, total, more, "\n".join(visible(line, 400) for line in log))


def _said(state: str) -> str:
    return _SAID.get(state) or visible(state, NAME)
