"""Models: what all runs and the gateway cost, how long answers took, what failed, what is left.

Everything is read from the sums that the ledgers keep, off the event loop. A grouping, a first day
and a run are in the address; every line and every bar leads to the calls behind it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from karat.costs import KEYS, check, time_zone
from karat.errors import RecipeError, did_you_mean
from karat.report.run_parts import duration, section
from karat.web import respond
from karat.web.accounts import charts, words
from karat.web.accounts.budgets import budgets
from karat.web.accounts.calls import Asked, asked_of, latest
from karat.web.accounts.comparisons import FILE, PAGE, comparisons, folder_of
from karat.web.accounts.ledgers import View, ledgers
from karat.web.addresses import given, query, run_page
from karat.web.desk import desk
from karat.web.tables import table

respond.templates().filters["took"] = lambda ms: "–" if ms is None else duration(ms)
NAV = ("Models", "/models", 40)
DOWNLOADED = 10_000  # calls in a file


def _view(request: Request) -> View:
    """Raises: RecipeError."""
    view = View(**given(request.query_params, View.__struct_fields__))
    if view.by not in KEYS:
        near = did_you_mean(view.by[:40], KEYS)
        raise RecipeError(f"costs are not told apart by '{view.by[:40]}'; {near}")
    try:
        check(view.by, view.since or None)
    except RecipeError:
        raise RecipeError("since is a day, such as 2026-11-01") from None
    return view


async def models(request: Request) -> Response:
    view = _view(request)
    values = await asyncio.to_thread(_shown, request, view)
    return respond.page(request, "models.html", view=view, **values)


def _shown(request: Request, view: View) -> dict[str, Any]:
    books, own = ledgers(request), desk(request)
    every = books.all()
    named = {one.name: one for one in every}
    found = books.costs(view)
    href = words.calls_href(view.by, view, named)
    by_day = words.calls_href("model" if view.by == "day" else view.by, view, named)
    mine = [one for one in budgets(books, own) if not view.run or f"run={view.run}" in one.href]
    return {
        "ledgers": every, "titles": words.TITLES, "found": found,
        "rows": words.table_rows(found, view, href, named),
        "facts": section("facts", words.facts(found.total)),
        "stacks": charts.stacks(books.days(view), by_day),
        "times": charts.times(found.lines, href),
        "errors": words.errors(books, books.failures(view)),
        "budgets": mine, "zone": time_zone(),
        "comparisons": [] if view.run else comparisons(books, own.settings.root),
        "query": query(by="" if view.by == View().by else view.by, since=view.since, run=view.run),
    }  # fmt: skip


async def download(request: Request) -> Response:
    view = _view(request)
    found = await asyncio.to_thread(ledgers(request).costs, view)
    form = request.path_params["form"]
    return table(f"models-by-{view.by}", words.as_rows(found), form)


# --- calls ---------------------------------------------------------------------------------------


async def calls(request: Request) -> Response:
    """The latest attempts, without what was asked or answered."""
    asked = asked_of(request.query_params)
    books = ledgers(request)
    chosen = await asyncio.to_thread(books.chosen, asked.run)
    found = await asyncio.to_thread(latest, chosen, asked)
    every = await asyncio.to_thread(books.all)
    return respond.page(
        request, "calls.html", asked=asked, found=found, ledgers=every, chips=_chips(asked, every),
        rows_href=_rows_href(asked, chosen), newest=Asked().before,
    )  # fmt: skip


def _chips(asked: Asked, every: list[Any]) -> list[tuple[str, str, str]]:
    """(what, which, the address without it) of each filter but those in the form."""
    names = {one.slug: one.name for one in every}
    return [
        (name, names.get(value, value) if name == "run" else value,
         asked.query(**{name: ""}, before=""))
        for name, value in msgspec.to_builtins(asked).items()
        if value and name not in ("before", "status")
    ]  # fmt: skip


def _rows_href(asked: Asked, chosen: list[Any]) -> str:
    """Rows of data behind the calls, where they are of one run and one model."""
    if asked.run and asked.model and len(chosen) == 1 and chosen[0].place is not None:
        return run_page(chosen[0].slug, "/rows", model=asked.model)
    return ""


async def calls_file(request: Request) -> Response:
    asked = asked_of(request.query_params)
    chosen = await asyncio.to_thread(ledgers(request).chosen, asked.run)
    found = await asyncio.to_thread(latest, chosen, asked, DOWNLOADED)
    return table("calls", [one.tree() for one in found.calls], request.path_params["form"])


# --- comparisons ---------------------------------------------------------------------------------


async def comparison(request: Request) -> Response:
    """The page that `karat compare` wrote, to be read alone."""
    root = desk(request).settings.root
    folder = await asyncio.to_thread(folder_of, root, request.path_params["slug"])
    if folder is None or not (folder / PAGE).is_file():
        raise HTTPException(404, "There is no such comparison here")
    return respond.document(await asyncio.to_thread((folder / PAGE).read_bytes))


async def comparison_file(request: Request) -> Response:
    root = desk(request).settings.root
    folder = await asyncio.to_thread(folder_of, root, request.path_params["slug"])
    if folder is None:
        raise HTTPException(404, "There is no such comparison here")
    return FileResponse(folder / FILE, filename=FILE, media_type="application/json")


ROUTES = [
    Route("/models", models),
    Route("/models.{form}", download),
    Route("/models/calls", calls),
    Route("/models/calls.{form}", calls_file),
    Route("/models/comparison/{slug}.json", comparison_file),
    Route("/models/comparison/{slug}", comparison),
]
