"""All runs: how each stands, what it made and what it cost; those at work change while one looks.

What is searched and sorted is in the address, so that a list can be kept and sent. The page is
whole without its script, which brings only what has changed since.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from karat.errors import did_you_mean
from karat.web import figures
from karat.web.addresses import query
from karat.web.desk import desk
from karat.web.respond import events, page
from karat.web.runs.pulse import Pulse
from karat.web.runs.summary import PILLS, STATES, Line
from karat.web.shown import said
from karat.web.tables import table

NAV = ("Runs", "/runs", 10)
MOST_SEARCH = 200  # characters


class Column(NamedTuple):
    """A column: its heading, what it sorts by, and whether the most comes first."""

    title: str
    key: Callable[[Line], Any]
    down: bool = True


COLUMNS = {
    "name": Column("Run", lambda line: line.name.casefold(), down=False),
    "status": Column("Status", lambda line: STATES.index(line.status), down=False),
    "accepted": Column("Rows in → accepted", lambda line: line.accepted),
    "kept": Column("Kept", lambda line: line.kept_share),
    "reward": Column("Mean reward", lambda line: line.mean_reward),
    "cost": Column("Cost", lambda line: line.cost_usd),
    "when": Column("When", lambda line: line.when),
}


class View(NamedTuple):
    """What is looked at: the words a name must have, and the order. `sort` "" is the usual order,
    those at work first and then the latest."""

    words: str
    sort: str
    down: bool

    def query(self, **changed: str) -> str:
        """The address's part after the path."""
        kept = {"q": self.words, "sort": self.sort}
        if self.sort and self.down != COLUMNS[self.sort].down:
            kept["order"] = "desc" if self.down else "asc"
        kept |= changed
        return query(**kept)

    def heading(self, name: str) -> str:
        """Where a click on a column's heading leads: to its order, then to the other way round."""
        if self.sort != name:
            return self._replace(sort=name, down=COLUMNS[name].down).query()
        return self._replace(down=not self.down).query()

    def of(self, lines: list[Line]) -> list[Line]:
        """The lines that are looked at, in their order; what is unknown comes last."""
        words = self.words.casefold().split()
        found = [line for line in lines if all(w in _searched(line) for w in words)]
        if not self.sort:
            return sorted(found, key=lambda line: (line.status != "running", -line.when, line.name))
        key = COLUMNS[self.sort].key
        known = [line for line in found if key(line) is not None]
        known.sort(key=key, reverse=self.down)
        return known + [line for line in found if key(line) is None]


def _searched(line: Line) -> str:
    return f"{line.name} {line.status}".casefold()


def _view(request: Request) -> View:
    """Raises: HTTPException 400."""
    asked = request.query_params
    sort, order = asked.get("sort", ""), asked.get("order", "")
    if sort and sort not in COLUMNS:
        raise HTTPException(400, f"There is no column '{sort}' to sort by: "
                            f"{did_you_mean(sort, COLUMNS)}")  # fmt: skip
    if order not in ("", "asc", "desc"):
        raise HTTPException(400, "order is asc or desc")
    down = order == "desc" if order else bool(sort) and COLUMNS[sort].down
    return View(asked.get("q", "")[:MOST_SEARCH].strip(), sort, down)


def _pulse(request: Request) -> Pulse:
    """One for all pages of a server."""
    here = desk(request)
    return here.own(Pulse, lambda: Pulse(here.shelf))


async def runs(request: Request) -> Response:
    view = _view(request)
    lines = await asyncio.to_thread(_pulse(request).lines)
    found = view.of(lines)
    return page(
        request, "runs.html", view=view, columns=COLUMNS, every=len(lines), now=time.time(),
        rows=[(line, shown(line)) for line in found], root=str(desk(request).shelf.root),
        working=sum(line.status == "running" for line in lines),
        spent=figures.usd(
            sum(line.cost_usd or 0.0 for line in lines),
            unpriced=any(line.unpriced for line in lines),
        ),
    )  # fmt: skip


def shown(line: Line) -> dict[str, Any]:
    """A line as its row shows it, each cell's text by name; `bar` is None or from 0 to 1."""
    running = line.status == "running"
    pace = [figures.rate(line.rate)] if running and line.rate is not None else []
    pace = [*_crew(line), *pace]
    pace += [f"{figures.span(line.eta_s)} left"] if running and line.eta_s is not None else []
    limits = [f"of {figures.usd(line.budget_usd)}"] if line.budget_usd is not None else []
    if running and line.projected_usd is not None:
        limits.append(f"{figures.usd(line.projected_usd)} at its end")
    unfinished = line.status in ("running", "stopped", "failed")
    return {
        "name": said(line.name, 120),
        "said": said(line.said, 300),
        "status": line.status,
        "pill": PILLS[line.status],
        "bar": line.progress if unfinished else None,
        "pace": " · ".join(pace),
        "accepted": _rows(line),
        "kept": figures.share(line.kept_share),
        "reward": figures.reward(line.mean_reward),
        "scale": said(line.reward, 60),
        "cost": figures.usd(line.cost_usd, unpriced=line.unpriced),
        "limits": " · ".join(limits),
        "when": figures.ago(line.when) if line.when else figures.UNKNOWN,
    }


def _crew(line: Line) -> list[str]:
    """Where the rows of a run at work walk, where that is not one process."""
    if line.workers is None:
        return []
    workers = f", {line.workers:,} worker{'' if line.workers == 1 else 's'}" if line.workers else ""
    return [f"{said(line.executor, 20)}{workers}"]


def _rows(line: Line) -> str:
    if line.rows_in is None and line.accepted is None:
        return figures.UNKNOWN
    return f"{figures.count(line.rows_in)} → {figures.count(line.accepted)}"


async def download(request: Request) -> Response:
    view = _view(request)
    lines = view.of(await asyncio.to_thread(_pulse(request).lines))
    return table("runs", [msgspec.to_builtins(line) for line in lines], request.path_params["form"])


async def changes(request: Request) -> Response:
    """Events of {slug: what its row shows now, null for a run that has gone}."""
    try:
        since = float(request.query_params.get("since", "inf"))
    except ValueError:
        raise HTTPException(400, "since is a time in Unix seconds") from None
    return events(_changes(_pulse(request), since))


async def _changes(pulse: Pulse, since: float) -> AsyncGenerator[dict[str, Any], None]:
    # What has changed between the page and its first question for changes.
    lines = await asyncio.to_thread(pulse.lines)
    yield {one.slug: shown(one) for one in lines if one.status == "running" or one.when >= since}
    async with aclosing(pulse.changes()) as found:
        async for news in found:
            yield {slug: None if line is None else shown(line) for slug, line in news.items()}


ROUTES = [
    Route("/runs", runs),
    Route("/runs/events", changes),
    Route("/runs.{form}", download),
]
