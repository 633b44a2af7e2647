"""Progress while a run works: a live table on a terminal, plain lines when piped."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from karat.report.cells import money
from karat.walk import Monitor

REFRESH_S = 0.25
PLAIN_EVERY_S = 5.0
STILL_S = 60.0  # after which it is said again that nothing has changed
RATE_WINDOW_S = 20.0


class Progress:
    """Draws a Monitor until cancelled. Give `Progress(console).watch` to karat.run. `title` stands
    before each line, where a run is one of several."""

    def __init__(self, console: Console, title: str = "") -> None:
        self._console = console
        self._title = f"{title}: " if title else ""
        self._history: dict[str, deque[tuple[float, int]]] = {}

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
                live.update(self._table(monitor), refresh=True)
                await asyncio.sleep(REFRESH_S)

    async def _plain(self, monitor: Monitor) -> None:
        before, told_s = "", 0.0
        while True:
            for label in monitor.current:  # a first point, so that the first line knows a rate
                self._history.setdefault(label, deque([(time.monotonic(), 0)]))
            await asyncio.sleep(PLAIN_EVERY_S)
            line, now = self._line(monitor), time.monotonic()
            known = "".join(re.split(r"[\d,.]+ rows/s(?:, ETA [\d:]*)?", line))
            if known != before or now - told_s >= STILL_S:
                print(f"{self._title}{line}", file=sys.stderr, flush=True)  # noqa: T201
                before, told_s = known, now

    def rate(self, label: str, done: int) -> float:
        """Rows per second over the last 20 s."""
        now = time.monotonic()
        history = self._history.setdefault(label, deque())
        history.append((now, done))
        while len(history) > 2 and now - history[0][0] > RATE_WINDOW_S:
            history.popleft()
        span = now - history[0][0]
        return (done - history[0][1]) / span if span > 0 else 0.0

    def _cells(self, monitor: Monitor, label: str) -> tuple[int, int, int, float, float | None]:
        stats = monitor.stats[label]
        done = stats.rows_out + sum(stats.dropped.values())
        rate = self.rate(label, stats.rows_in - monitor.in_flight[label])
        left = None
        if monitor.expected is not None and rate > 0:
            left = max(0.0, (monitor.expected - stats.rows_in + monitor.in_flight[label]) / rate)
        return stats.rows_in, stats.rows_out, monitor.in_flight[label], rate, left if done else None

    def _table(self, monitor: Monitor) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("step", "in", "out", "in flight", "rows/s", "ETA"):
            table.add_column(heading, justify="left" if heading == "step" else "right")
        for label, stats in monitor.stats.items():
            if label in monitor.current:
                rows_in, rows_out, flying, rate, left = self._cells(monitor, label)
                table.add_row(
                    label,
                    f"{rows_in:,}",
                    f"{rows_out:,}",
                    f"{flying:,}",
                    f"{rate:,.1f}",
                    _clock(left),
                )
            elif stats.rows_in:
                table.add_row(label, f"{stats.rows_in:,}", f"{stats.rows_out:,}", style="dim")
            else:
                table.add_row(label, style="dim")
        return Group(table, Text(f"{self._title}{_noted(monitor)}{_spending(monitor)}"))

    def _line(self, monitor: Monitor) -> str:
        parts = []
        for label in monitor.current:
            rows_in, rows_out, flying, rate, left = self._cells(monitor, label)
            parts.append(
                f"{label} {rows_in:,} in, {rows_out:,} out, {flying:,} in flight, "
                f"{rate:,.1f} rows/s" + (f", ETA {_clock(left)}" if left is not None else "")
            )
        return f"{_noted(monitor)}{'; '.join(parts)}; {_spending(monitor)}"


def _noted(monitor: Monitor) -> str:
    return f"{monitor.note}; " if monitor.note else ""


def _spending(monitor: Monitor) -> str:
    client = monitor.services.client
    tallies = [endpoint.tally for endpoint in client.endpoints.values()]
    unpriced = any(e.rates is None for e in client.endpoints.values() if e.tally.calls)
    spent = money(client.budget.spent_nano / 1e9)
    cost = f"{spent} + price unknown" if unpriced else spent
    calls, retries = sum(t.calls for t in tallies), sum(t.retries for t in tallies)
    tokens = sum(t.tokens_out for t in tallies)
    projected = monitor.projected_usd()
    if projected and not unpriced:
        cost += f" of about {money(projected)}"
    return f"{calls:,} calls, {tokens:,} tokens, {retries:,} retries, {cost}"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
