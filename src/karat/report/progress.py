"""Progress while a run works: a live table on a terminal, plain lines when piped."""

from __future__ import annotations

import asyncio
import re
import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from karat.live import Pace, State, snapshot
from karat.report.cells import clock, money
from karat.report.crew import counted, crew_in
from karat.walk import Monitor

REFRESH_S = 0.25
PLAIN_EVERY_S = 5.0
STILL_S = 60.0  # after which it is said again that nothing has changed


class Progress:
    """Draws a Monitor until cancelled. Give `Progress(console).watch` to karat.run. `title` stands
    before each line, where a run is one of several."""

    def __init__(self, console: Console, title: str = "") -> None:
        self._console = console
        self._title = f"{title}: " if title else ""
        self._pace = Pace()

    def watch(self, monitor: Monitor) -> asyncio.Task[None]:
        monitor.services.client.till.say = self._say
        live = self._console.is_terminal
        return asyncio.ensure_future(self._live(monitor) if live else self._plain(monitor))

    def _say(self, text: str) -> None:
        """A line of its own, above the table where there is one."""
        if self._console.is_terminal:
            self._console.print(Text(text))
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    async def _live(self, monitor: Monitor) -> None:
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(self._table(snapshot(monitor, self._pace)), refresh=True)
                await asyncio.sleep(REFRESH_S)

    async def _plain(self, monitor: Monitor) -> None:
        before, told_s = "", 0.0
        while True:
            self._pace.begin(monitor.current)
            await asyncio.sleep(PLAIN_EVERY_S)
            line, now = _line(snapshot(monitor, self._pace)), time.monotonic()
            known = "".join(re.split(r"[\d,.]+ rows/s(?:, ETA [\d:]*)?", line))
            if known != before or now - told_s >= STILL_S:
                print(f"{self._title}{line}", file=sys.stderr, flush=True)  # noqa: T201
                before, told_s = known, now

    def _table(self, state: State) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("step", "in", "out", "in flight", "rows/s", "ETA"):
            table.add_column(heading, justify="left" if heading == "step" else "right")
        for step in state.steps:
            if step.current:
                table.add_row(
                    step.label,
                    f"{step.rows_in:,}",
                    f"{step.rows_out:,}",
                    f"{step.in_flight:,}",
                    f"{step.rate:,.1f}",
                    "" if step.eta_s is None else clock(step.eta_s),
                )
            elif step.rows_in:
                table.add_row(step.label, f"{step.rows_in:,}", f"{step.rows_out:,}", style="dim")
            else:
                table.add_row(step.label, style="dim")
        return Group(table, Text(f"{self._title}{standing(state)}"))


def standing(state: State) -> str:
    """Where a run stands beside its steps: its round, workers, calls, tokens and money."""
    return f"{_noted(state)}{_crew(state)}{_spending(state)}"


def _line(state: State) -> str:
    parts = [
        f"{step.label} {step.rows_in:,} in, {step.rows_out:,} out, {step.in_flight:,} in flight, "
        f"{step.rate:,.1f} rows/s"
        + (f", ETA {clock(step.eta_s)}" if step.eta_s is not None else "")
        for step in state.steps
        if step.current
    ]
    return f"{_noted(state)}{'; '.join(parts)}; {_crew(state)}{_spending(state)}"


def _noted(state: State) -> str:
    return f"{state.note}; " if state.note else ""


def _crew(state: State) -> str:
    """The workers of a cluster, as far as there are any now."""
    crew = crew_in(state)
    said = "" if crew is None else counted(crew)
    return f"{said}; " if said else ""


def _spending(state: State) -> str:
    spent = money(state.cost_usd)
    cost = f"{spent} + price unknown" if state.unpriced else spent
    if state.projected_usd and not state.unpriced:
        cost += f" of about {money(state.projected_usd)}"
    return f"{state.calls:,} calls, {state.tokens_out:,} tokens, {state.retries:,} retries, {cost}"
