"""A run's rows: searched, filtered, sorted, counted, downloaded, and one of them opened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np
import pyarrow as pa
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from karat.errors import RecipeError
from karat.web import respond, shown
from karat.web.addresses import quoted, run_page
from karat.web.desk import desk
from karat.web.rows import downloads, facets, single
from karat.web.rows.asked import View, check, query, read, replaced
from karat.web.rows.calls import Call
from karat.web.rows.engine import Engine, Stop, StoppedError
from karat.web.rows.files import Holding, MovedError, NoRowsError, holding
from karat.web.rows.keeper import Keeper, Making, answer, is_small, keeper
from karat.web.rows.lineage import steps_of
from karat.web.rows.listing import candidates, listing, needs_index
from karat.web.rows.search import Search
from karat.web.shelf import Place
from karat.web.tables import attachment, check_form, sent

WAIT_S = 0.7  # for an index that a view needs
SEARCH_S = 4.0  # a page's search for a text
DOWNLOAD_S = 3600.0
NEAR = ("n", "at", "look")  # which of a view's rows, in the URL of one, and how long to look
LOOK_S, LONG_LOOK_S = 0.6, 25.0  # through a journal, for calls that name a row

respond.templates().filters["graded"] = facets.graded


async def rows(request: Request) -> Response:
    """The page of a view; what is wrong with it is said in its place."""
    place = _place(request)
    try:
        view = read(request.query_params.multi_items())
        held = await asyncio.to_thread(holding, place.run)
    except NoRowsError as error:
        return respond.page(request, "rows.html", place=place, view=View(), empty=str(error))
    engine, making = await _engine(request, place, held, view)
    if engine is None and needs_index(held, view):
        return _preparing(request, place, view, making)
    if engine is not None:
        check(view, engine.names)
    keep = keeper(request)
    found = await _answered(
        request,
        lambda stop: listing(held, engine, view, _search(keep, place, held, engine, view, stop),
                             stop),
        SEARCH_S if view.filter.q else 10.0,
    )  # fmt: skip
    whole = None if engine is None else await _answered(
        request, lambda stop: engine.summary(replaced(View()).filter, stop)
    )  # fmt: skip
    known = facets.shown(view, found, whole, engine)
    return respond.page(
        request, "rows.html", place=place, view=view, found=found, empty="", making=making,
        names=engine.names if engine else None, query=query, replaced=replaced,
        href=facets.href(place.slug, view), **known,
    )  # fmt: skip


def _preparing(request: Request, place: Place, view: View, making: Making | None) -> Response:
    """An index is being made: the page asks again by itself, with scripts or without."""
    made = respond.page(
        request, "rows.html", place=place, view=view, empty="", waiting=making, found=None,
        query=query, replaced=replaced,
    )  # fmt: skip
    if making is not None and not making.why:
        made.headers["refresh"] = "2"
    return made


async def state(request: Request) -> Response:
    """How far the run's index is, for the page that waits for it."""
    place = _place(request)
    held = await _held(request, place)
    engine, making = await _engine(request, place, held, None)
    return respond.json(
        {
            "ready": engine is not None, "share": making.share if making else 1.0,
            "error": making.why if making else "",
        }
    )  # fmt: skip


async def download(request: Request) -> Response:
    """The rows of a view as a file, in the order of the run."""
    place, form = _place(request), request.path_params["form"]
    check_form(form)
    view = read(request.query_params.multi_items())
    held = await _held(request, place)
    engine, making = await _engine(request, place, held, view)
    if engine is None and (needs_index(held, view) or form == "csv"):
        raise _not_yet(making)
    if engine is not None:
        check(view, engine.names)
    stop = Stop(DOWNLOAD_S)
    places = await _answered(request, lambda stop: candidates(held, engine, view, stop))
    if view.filter.q:
        batches = downloads.found(held, Search(held, view.filter.q, places), stop)
    else:
        batches = downloads.batches(held, places, stop)
    return _file(f"{place.run.path.resolve().name}-rows", form, batches, held, engine)


def _file(
    name: str, form: str, batches: Iterator[pa.RecordBatch], held: Holding, engine: Engine | None
) -> Response:
    names = engine.names if engine is not None else None
    return sent(name, downloads.pieces(held, form, batches, names), form)


def _not_yet(making: Making | None) -> HTTPException:
    share = making.share if making else 0.0
    said = f"The filters of this run are being prepared ({share:.0%} done)"
    return HTTPException(503, said, {"retry-after": "2"})


class Whole(Convertor[str]):
    """All that is left of a path: an id may hold anything, a line's end too."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("whole", Whole())


# --- one row -------------------------------------------------------------------------------------


async def row(request: Request) -> Response:
    """One row with its lineage; with `.json` behind its id as a file, `.csv` and `.parquet` are of
    the row alone."""
    place = _place(request)
    view = read(request.query_params.multi_items(), NEAR)
    held = await _held(request, place)
    engine, making = await _engine(request, place, held, None)
    if engine is not None:
        check(view, engine.names)
    identity = request.path_params["identity"]
    keep, asked = keeper(request), request.query_params

    def work(stop: Stop) -> tuple[Any, ...]:
        search = partial(_search, keep, place, held, engine, view, stop)
        one, form = facets.locate(held, engine, identity, asked, view, stop, search)
        ranges = engine.ranges(stop) if engine is not None else {}
        look_s = LONG_LOOK_S if asked.get("look") else LOOK_S
        return one, form, *single.opened(place.run, held, one.place, ranges, stop, look_s)

    one, form, made, line = await _answered(request, work, 40.0 if asked.get("look") else 10.0)
    if form == "json":
        return _as_file(made, line)
    if form:
        if engine is None and form == "csv":
            raise _not_yet(making)
        alone = downloads.batches(held, np.array([one.place]), Stop(DOWNLOAD_S))
        return _file(f"row-{made.row.id}", form, alone, held, engine)
    return respond.page(
        request, "row.html", place=place, view=view, one=one, made=made, query=query,
        recipe=steps_of(place.run), visits=single.visits(made), href=facets.href(place.slug, view),
        back=_back(place, view, one.number), texts=facets.texts(made.row), most=shown.MOST,
        text_href=run_page(place.slug, f"/text/{quoted(made.row.id)}", at=one.place),
        file_href=run_page(place.slug, f"/row/{quoted(made.row.id)}"),
        look_href=_looking(request),
    )  # fmt: skip


def _looking(request: Request) -> str:
    """The page's own address, to look through all of a journal."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "look"]
    return f"?{urlencode([*kept, ('look', '1')])}"


def _back(place: Place, view: View, number: int | None) -> str:
    page = 1 if number is None else number // view.size + 1
    mark = "" if number is None else f"#r{number}"
    return f"{run_page(place.slug, '/rows')}{query(msgspec.structs.replace(view, page=page))}{mark}"


def _as_file(made: single.Single, line: dict[str, Any]) -> Response:
    calls: list[Call] = made.ledger.calls
    value = {
        "row": downloads.whole(line),
        "steps": [
            {"stage": v.name, "steps": v.steps, "row": v.row.id, "parent": v.parent,
             "changes": v.changes, "dropped": v.row.dropped} for v in made.trail.visits
        ],
        "calls": msgspec.to_builtins(calls), "calls_complete": made.ledger.whole,
        "cost_usd": made.ledger.cost_usd,
    }  # fmt: skip
    return respond.json(value, headers=attachment(f"row-{made.row.id}", "json"))


async def text(request: Request) -> Response:
    """One whole text of a row, as a file that no browser takes for a page."""
    place = _place(request)
    held = await _held(request, place)
    engine, _ = await _engine(request, place, held, None)
    identity, asked = request.path_params["identity"], request.query_params
    part = asked.get("part", "")

    def work(stop: Stop) -> str:
        one, _ = facets.locate(held, engine, identity, asked, View(), stop, lambda: None)
        found, *_ = single.fetch(held, one.place)
        return facets.texts(found).get(part, "")

    whole = await _answered(request, work)
    if not whole:
        raise HTTPException(404, "The row has no such text")
    headers = attachment(f"{identity[:40]}-{part}", "txt")
    return PlainTextResponse(whole.encode("utf-8", "replace"), 200, headers)


# --- what all of them need -----------------------------------------------------------------------


def _place(request: Request) -> Place:
    return desk(request).shelf.get(request.path_params["slug"])


async def _held(request: Request, place: Place) -> Holding:
    """Raises: HTTPException 404 where there are no rows."""
    try:
        return await asyncio.to_thread(holding, place.run)
    except NoRowsError as error:
        raise HTTPException(404, str(error)[:1].upper() + str(error)[1:]) from None


async def _engine(
    request: Request, place: Place, held: Holding, view: View | None
) -> tuple[Engine | None, Making | None]:
    """The run's index, or what makes it. A view that needs it waits a moment for it."""
    keep = keeper(request)
    engine = keep.engine(place.run, held)
    if engine is not None:
        return engine, None
    making = keep.make(place.run, held)
    # A page that needs none is shown at once; a small run's index is there in a moment anyway.
    waits = view is not None and (needs_index(held, view) or is_small(held))
    if making.task is not None and waits:
        await asyncio.wait({making.task}, timeout=WAIT_S)
    engine = keep.engine(place.run, held)
    return engine, making if engine is None else None


def _search(
    keep: Keeper, place: Place, held: Holding, engine: Engine | None, view: View, stop: Stop
) -> Search | None:
    if not view.filter.q:
        return None

    def begun() -> Search:
        return Search(held, view.filter.q, candidates(held, engine, view, stop))

    return keep.search(place.run, held, view.filter, begun)


async def _answered(request: Request, work: Any, limit_s: float = 10.0) -> Any:
    try:
        return await answer(request, work, limit_s)
    except (StoppedError, MovedError) as error:
        raise HTTPException(503, str(error)[:1].upper() + str(error)[1:]) from None
    except RecipeError as error:
        raise HTTPException(404 if "no row" in str(error)[:6] else 400, str(error)) from None


ROUTES = [
    Route("/run/{slug}/rows", rows),
    Route("/run/{slug}/rows.{form}", download),
    Route("/run/{slug}/rows/state.json", state),
    Route("/run/{slug}/row/{identity:whole}", row),
    Route("/run/{slug}/text/{identity:whole}", text),
]
