"""Progress in a notebook: a table below the cell, drawn anew while the run works.

It is one output that is replaced, so nothing scrolls, nothing has to be installed beside Jupyter,
and a notebook that is carried out by a program keeps the last picture. Drawing is for whoever looks
on: where it fails, the run goes on.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from typing import Any

from karat.display import shown
from karat.live import Pace, State, StepState, snapshot
from karat.report.cells import clock
from karat.report.progress import Progress, standing
from karat.walk import Monitor

REFRESH_S = 0.5
MOST_NOTES = 5
HEADINGS = ("step", "in", "out", "dropped", "in flight", "rows/s", "ETA", "")


def watcher(progress: bool | None) -> Callable[[Monitor], asyncio.Task[None]] | None:
    """Who shows a run's progress: below the cell of a notebook unless `progress` is False, on a
    terminal or in plain lines where it is True; None where nobody does."""
    if progress is False:
        return None
    if in_notebook():
        return NotebookProgress().watch
    if not progress:
        return None
    from rich.console import Console

    return Progress(Console(stderr=True)).watch


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook: IPython with a front end that draws."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return getattr(shell, "kernel", None) is not None


class NotebookProgress:
    """Draws a Monitor below the cell until cancelled; then its last state stays there."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._notes: list[str] = []

    def watch(self, monitor: Monitor) -> asyncio.Task[None]:
        """For karat.run(watch=…)."""
        monitor.services.client.till.say = self._say
        return asyncio.ensure_future(self._live(monitor))

    def _say(self, text: str) -> None:
        self._notes = [*self._notes, text][-MOST_NOTES:]

    async def _live(self, monitor: Monitor) -> None:
        display = importlib.import_module("IPython.display").display  # there is a kernel: it is
        self._pace.begin(monitor.current)
        handle: Any = display(self._drawn(monitor), display_id=True)
        try:
            while True:
                await asyncio.sleep(REFRESH_S)
                handle.update(self._drawn(monitor))
        finally:
            handle.update(self._drawn(monitor))

    def _drawn(self, monitor: Monitor) -> Picture:
        return Picture(snapshot(monitor, self._pace), tuple(self._notes))


class Picture:
    """A run at one moment, as HTML and as a line."""

    def __init__(self, state: State, notes: tuple[str, ...] = ()) -> None:
        self._state = state
        self._notes = notes

    def __repr__(self) -> str:
        steps = [
            f"{shown.line(s.label)} {s.rows_in:,} in, {s.rows_out:,} out"
            for s in self._state.steps
            if s.current or s.rows_in
        ]
        return "; ".join([*steps, standing(self._state)])

    def _repr_html_(self) -> str:
        table = shown.table(HEADINGS, map(self._row, self._state.steps), "-nnnnnn-")
        notes = [shown.paragraph(shown.small(text)) for text in self._notes]
        return shown.fragment(table, shown.paragraph(standing(self._state)), *notes)

    def _row(self, step: StepState) -> list[object]:
        if not step.current and not step.rows_in:
            return [shown.small(step.label), *[""] * 7]
        dropped = sum(step.dropped.values())
        row: list[object] = [
            shown.bold(step.label) if step.current else step.label, f"{step.rows_in:,}",
            f"{step.rows_out:,}", f"{dropped:,}" if dropped else "",
        ]  # fmt: skip
        if not step.current:
            return [*row, *[""] * 4]
        eta = "" if step.eta_s is None else clock(step.eta_s)
        expected = self._state.expected
        through = shown.bar((step.rows_in - step.in_flight) / expected) if expected else ""
        return [*row, f"{step.in_flight:,}", f"{step.rate:,.1f}", eta, through]
