"""Review: people rate or compare a run's answers, blind and with the keyboard.

The page is a form that its script fills again after each row; everything it sends is one JSON
object and is on the disk before it is answered.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from karat import parquet, places
from karat.errors import RecipeError
from karat.reviewing import export
from karat.reviewing.bench import Bench
from karat.reviewing.lines import MOST_NAME, STRONGEST, reviewer
from karat.reviewing.queue import EVERY, NAMES, SHARED
from karat.reviewing.rubric import RUBRIC
from karat.reviewing.store import Reviews
from karat.rewards.review_lines import RATINGS
from karat.rundir import Run
from karat.web import reviewers
from karat.web.desk import desk
from karat.web.respond import json, page
from karat.web.reviewers import Benches, Session, Word
from karat.web.shelf import Place
from karat.web.tables import TYPES, table

NAV = ("Review", "/review", 30)
MODES = ("rate", "compare")
TARGET = 50  # rows of a sitting
MOST_TARGET = 100_000
MOST_WORD = 2**21  # bytes of what a reviewer says
T = TypeVar("T", bound=Session)


async def choose(request: Request) -> Response:
    """The runs that can be reviewed; with `run` and `reviewer` given, on to that run."""
    asked = request.query_params
    slug, who = asked.get("run", ""), asked.get("reviewer", "")
    wrong = ""
    if slug and who:
        place = desk(request).shelf.get(slug)
        try:
            query = {"reviewer": reviewer(who), **_options(request)}
            url = request.url.replace(path=f"/review/{place.slug}", query="")
            target = url.include_query_params(**query)
            return RedirectResponse(f"{target.path}?{target.query}", 303)
        except RecipeError as error:
            wrong = str(error)
    places = await run_in_threadpool(desk(request).shelf.places)
    listed = await run_in_threadpool(lambda: [_listed(place) for place in places])
    return page(
        request, "review.html", runs=listed, chosen=slug, who=who, wrong=wrong,
        options=_options(request), modes=MODES, queues=NAMES, most_name=MOST_NAME,
        every=EVERY, to_all=SHARED, missing=slug if not who else "",
    )  # fmt: skip


def _options(request: Request) -> dict[str, Any]:
    asked = request.query_params
    mode = asked.get("mode", MODES[0])
    queue = asked.get("queue", NAMES[1])
    target = asked.get("target", str(TARGET))
    return {
        "mode": mode if mode in MODES else MODES[0],
        "queue": queue if queue in NAMES else NAMES[1],
        "target": target if target.isdecimal() and 0 < int(target) <= MOST_TARGET else str(TARGET),
    }


def _listed(place: Place) -> dict[str, Any]:
    """A run with how many rows it has and who reviewed it."""
    run = place.run
    rows = _count(run)
    said, people = 0, []
    if (run.path / RATINGS).is_file():
        held = Reviews(run)
        held.refresh()
        said, people = len(held.standing), held.reviewers()
    return {"slug": place.slug, "name": place.name, "rows": rows, "said": said, "people": people}


def _count(run: Run) -> int:
    """Its rows; those at a URL as its report says, for a list must not wait for stores."""
    rows = 0
    with suppress(RecipeError):
        if places.is_remote(run.data):
            return sum(int(run.report["rows"][kind]) for kind in ("accepted", "dropped"))
        for file in (run.accepted_file, run.dropped_file):
            with suppress(OSError, ValueError):  # not there yet, or no Parquet
                rows += parquet.count(file)
    return rows


async def sit(request: Request) -> Response:
    """The page of one sitting."""
    place = desk(request).shelf.get(request.path_params["slug"])
    who = request.query_params.get("reviewer", "")
    try:
        name = reviewer(who)
    except RecipeError:
        return RedirectResponse(f"/review?run={place.slug}", 303)
    return page(
        request, "review_sitting.html", place=place, reviewer=name, rubric=RUBRIC,
        strongest=STRONGEST, **_options(request),
    )  # fmt: skip


async def upcoming(request: Request) -> Response:
    session = _asked(request)
    return json(await _with(request, lambda bench: reviewers.upcoming(bench, session)))


async def say(request: Request) -> Response:
    """Saves what was said, and answers with the next row."""
    word = await _posted(request, Word)

    def both(bench: Bench) -> dict[str, Any]:
        behind = reviewers.say(bench, word)
        return {**reviewers.upcoming(bench, word), "behind": behind}

    return json(await _with(request, both))


async def undo(request: Request) -> Response:
    session = await _posted(request, Session)
    return json(await _with(request, lambda bench: reviewers.take_back(bench, session)))


async def agreement(request: Request) -> Response:
    name = _asked(request).reviewer
    return json(await _with(request, lambda bench: reviewers.agreement(bench, name)))


async def download(request: Request) -> Response:
    slug, form = request.path_params["slug"], request.url.path.rpartition(".")[2]
    rows = await _with(request, export.table)
    return table(f"{slug}-reviews", rows, form)


# --- requests ------------------------------------------------------------------------------------


async def _with(request: Request, work: Any) -> Any:
    """What `work` makes of the run's bench, off the loop: it reads files and waits for the disk.

    Raises: HTTPException 404, and 409 for what a reviewer can mend.
    """
    here = desk(request)
    run = here.shelf.get(request.path_params["slug"]).run
    try:
        return await run_in_threadpool(work, here.own(Benches, Benches).of(run))
    except RecipeError as error:
        raise HTTPException(409, str(error)) from error


def _asked(request: Request) -> Session:
    given = {name: request.query_params[name] for name in ("reviewer", "mode", "queue")
             if name in request.query_params}  # fmt: skip
    return _session(given, Session)


async def _posted(request: Request, kind: type[T]) -> T:
    """Raises: HTTPException for anything but a JSON object of its shape."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "Send JSON, as the page does")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_WORD:
            raise HTTPException(413, "That is too long; shorten the comment or the edited answer")
    try:
        return _session(msgspec.json.decode(body), kind)
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"This is no JSON: {error}") from error


def _session(given: Any, kind: type[T]) -> T:
    try:
        found = msgspec.convert(given, kind)
        found.reviewer = reviewer(found.reviewer)
    except (msgspec.ValidationError, RecipeError) as error:
        raise HTTPException(400, str(error)) from error
    return found


ROUTES = [
    Route("/review", choose),
    *(Route(f"/review/{{slug}}.{form}", download) for form in TYPES),
    Route("/review/{slug}", sit),
    Route("/review/{slug}/next", upcoming),
    Route("/review/{slug}/agreement", agreement),
    Route("/review/{slug}/say", say, methods=["POST"]),
    Route("/review/{slug}/undo", undo, methods=["POST"]),
]
