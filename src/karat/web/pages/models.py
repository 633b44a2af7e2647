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

from karat.costs import check, time_zone
from karat.errors import RecipeError, did_you_mean
from karat.journal.grouping import KEYS
from karat.report.run_parts import duration, section
from karat.web import respond
from karat.web.accounts import charts, words
from karat.web.accounts.budgets import Budget, budgets
from karat.web.accounts.calls import Asked, asked_of, latest
from karat.web.accounts.comparisons import FILE, PAGE, comparisons, folder_of, lines, read
from karat.web.accounts.ledgers import View, ledgers
from karat.web.addresses import given, query, run_page
from karat.web.desk import desk
from karat.web.tables import check_form, table

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
    mine = _budgets(request, view.run)
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


def _budgets(request: Request, run: str) -> list[Budget]:
    """All, or those of one run."""
    every = budgets(ledgers(request), desk(request))
    return [one for one in every if not run or f"run={run}" in one.href]


async def budgets_file(request: Request) -> Response:
    run = given(request.query_params, ("run",)).get("run", "")
    found = await asyncio.to_thread(_budgets, request, run)
    return table("budgets", [one.tree() for one in found], request.path_params["form"])


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
    """compare.json as it is; as a table, a line for each candidate."""
    root, form = desk(request).settings.root, request.path_params["form"]
    slug = request.path_params["slug"]
    check_form(form)
    folder = await asyncio.to_thread(folder_of, root, slug)
    if folder is None:
        raise HTTPException(404, "There is no such comparison here")
    if form == "json":
        return FileResponse(folder / FILE, filename=FILE, media_type="application/json")
    try:
        found = await asyncio.to_thread(read, folder / FILE)
    except (OSError, ValueError):
        raise HTTPException(409, f"{FILE} is not as karat compare writes it") from None
    return table(f"{slug}-candidates", lines(found), form)


ROUTES = [
    Route("/models", models),
    Route("/models.{form}", download),
    Route("/models/calls", calls),
    Route("/models/calls.{form}", calls_file),
    Route("/models/budgets.{form}", budgets_file),
    Route("/models/comparison/{slug}.{form}", comparison_file),
    Route("/models/comparison/{slug}", comparison),
]
