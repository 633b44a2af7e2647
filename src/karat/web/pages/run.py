"""The page of one run: where its rows go, what it costs, how good it is; live while it works.

The page comes at once with what is small. What takes a second, a curve out of the rows or a map of
the prompts, is fetched by itself, made once, and kept until the run's report is another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

import karat.report
from karat.errors import KaratError
from karat.recipefile import parse
from karat.report.crew import worker_table
from karat.report.run_diversity import diversity_lines
from karat.report.run_guards import guards
from karat.report.run_ledger import cost_lines, faults, model_lines
from karat.report.run_licences import licences
from karat.report.run_measured import measured
from karat.report.run_parts import cost_rows, fault_rows, flow_charts, model_rows, section
from karat.report.run_report import ODD
from karat.report.run_report import page as report_page
from karat.report.run_scores import score_charts
from karat.visible import visible
from karat.web import respond
from karat.web.addresses import calls_page, run_page
from karat.web.desk import desk
from karat.web.rows.keeper import prepare
from karat.web.runs.drawn import PARTS, kept
from karat.web.runs.files import files, log_end
from karat.web.runs.tables import TABLES, everything
from karat.web.runs.view import (
    RESUME,
    Seen,
    facts,
    head,
    listed,
    look,
    rows_of_score,
    rows_of_step,
)
from karat.web.shelf import Place
from karat.web.tables import attachment, joined, table

EVERY_S = 1.0  # between two looks at a run at work
QUIET_S = 15.0  # after which a sign of life is sent
LONGEST_S = 3600.0  # of one stream; the browser asks again
MOST_RECIPE = 100_000  # characters
NAMES = ("scores", "guards", "diversity", "measured", "licences", "warnings")
SECTIONS_CSS = Path(karat.report.__file__).with_name("run.css")


# --- the page ------------------------------------------------------------------------------------


async def show(request: Request) -> Response:
    place = desk(request).shelf.get(request.path_params["slug"])
    prepare(request, place.run)
    return await asyncio.to_thread(_page, request, place)


def _page(request: Request, place: Place) -> Response:
    seen = look(place)
    slug, report = place.slug, seen.whole
    parts = _live_parts(seen)
    makers: dict[str, Callable[[], Any]] = {} if report is None else {
        "scores": lambda: score_charts(
            report["scores"], rows_of_score(slug), report.get("ranking")
        ),
        "guards": lambda: guards(report),
        "diversity": lambda: diversity_lines(report),
        "measured": lambda: measured(report, _recipe(seen), place.run.path),
        "licences": lambda: licences(report),
        "warnings": lambda: [visible(text, 1000) for text in report["warnings"]],
    }  # fmt: skip
    made = {name: _tried(seen, name, make) for name, make in makers.items()}
    values: dict[str, Any] = {
        "slug": slug, "name": visible(place.name, 200), "seen": seen, "parts": parts,
        "at": lambda part="", **query: run_page(slug, part, **query),
        **dict.fromkeys(NAMES, ""), **made,
        "files": _tried(seen, "exports", lambda: files(place.run, seen.report), plain=True),
        "recipe": _recipe_text(seen),
        "called": bool(parts["models"]), "calls": calls_page(run=slug),
    }  # fmt: skip
    return respond.page(request, "run.html", **values)


def _tried(seen: Seen, name: str, make: Callable[[], Any], *, plain: bool = False) -> Any:
    """A part made of the report, as HTML; where the report is not as karat writes it, a problem."""
    try:
        found = make()
        return found if plain or not found else section(name, found)
    except ODD:
        seen.problems.append(
            f"report.json is not as karat writes it, so that its {name} cannot be shown. {RESUME}"
        )
        return ""


def _live_parts(seen: Seen) -> dict[str, Any]:
    """What changes while a run works, as HTML by the name of its place on the page."""
    slug, journal = seen.place.slug, seen.place.run.journal
    lines = listed(model_lines, journal, seen.problems)
    found = listed(faults, journal, seen.problems)
    steps = seen.steps
    ended = not seen.at_work and seen.report is not None and not seen.stale
    costs = listed(cost_lines, journal, seen.problems)
    rows = model_rows(lines, lambda name: run_page(slug, "/rows", model=name))
    crew = worker_table(seen.live, log_end(seen.place.run))
    return {
        "head": head(seen),
        "facts": _tried(seen, "facts", lambda: facts(seen)),
        "flow": section("flow", flow_charts(steps, rows_of_step(slug), finished=ended))
        if steps else "",
        "workers": section("workers", crew) if crew is not None else "",
        "models": section("models", rows) if rows else "",
        "costs": section("costs", cost_rows(costs)) if costs else "",
        "faults": section("faults", fault_rows(found)) if found else "",
    }  # fmt: skip


def _recipe(seen: Seen) -> dict[str, Any]:
    try:
        return parse(seen.place.run.recipe)
    except KaratError:
        return {}


def _recipe_text(seen: Seen) -> str:
    try:
        text = seen.place.run.recipe.read_text("utf-8", "replace")
    except OSError as error:
        seen.problems.append(f"recipe.yaml cannot be read ({error.strerror})")
        return ""
    return visible(text, MOST_RECIPE)


# --- live ----------------------------------------------------------------------------------------


async def run_events(request: Request) -> Response:
    place = desk(request).shelf.get(request.path_params["slug"])

    async def changes() -> AsyncGenerator[dict[str, Any], None]:
        before, told, began = b"", time.monotonic(), time.monotonic()
        while time.monotonic() - began < LONGEST_S:
            seen = await asyncio.to_thread(look, place)
            value = await asyncio.to_thread(_told, seen)
            now = orjson.dumps(value["parts"])
            if now != before or not seen.at_work:
                yield value
                before, told = now, time.monotonic()
            elif time.monotonic() - told > QUIET_S:
                yield {"alive": True}
                told = time.monotonic()
            if not seen.at_work:
                return
            await asyncio.sleep(EVERY_S)

    return respond.events(changes())


def _told(seen: Seen) -> dict[str, Any]:
    """One look as an event: HTML for the parts, a point for the charts."""
    now = seen.live
    parts = _live_parts(seen)
    return {
        "state": seen.state,
        "parts": {**parts, "head": {k: v for k, v in parts["head"].items() if v is not None}},
        "point": None if now is None else {
            "at": now.updated, "answers": now.answers, "tokens": now.tokens_out,
            "cost_usd": now.cost_usd, "projected_usd": now.projected_usd,
            "rates": {step.label: step.rate for step in now.steps if step.current},
        },
    }  # fmt: skip


# --- what takes longer ---------------------------------------------------------------------------


async def run_part(request: Request) -> Response:
    """A section that is worked out from the rows, as a piece of HTML."""
    name = request.path_params["part"]
    if name not in PARTS:
        raise HTTPException(404, "There is no such part of a run")
    place = desk(request).shelf.get(request.path_params["slug"])
    seen = await asyncio.to_thread(look, place)
    if seen.whole is None:
        return HTMLResponse("")
    return HTMLResponse(await asyncio.to_thread(kept, seen, name))


# --- files and figures ---------------------------------------------------------------------------


async def run_report(request: Request) -> Response:
    """The report as one file to keep."""
    place = desk(request).shelf.get(request.path_params["slug"])
    seen = await asyncio.to_thread(look, place)
    if seen.report is None:
        raise HTTPException(
            409, "This run has no report yet: it is written when the run comes to its end"
        )
    made = await asyncio.to_thread(report_page, place.run)
    headers = attachment(place.slug, "html")
    return HTMLResponse(made.encode("utf-8", "replace"), headers=headers)


async def run_export(request: Request) -> Response:
    """A file of the run, by a name that is in the list on its page."""
    place = desk(request).shelf.get(request.path_params["slug"])
    seen = await asyncio.to_thread(look, place)
    for file in files(place.run, seen.report):
        if file.name == request.path_params["name"]:
            if file.joined:
                return await asyncio.to_thread(joined, file.path)
            return FileResponse(
                file.path, filename=file.name, media_type="application/octet-stream"
            )
    raise HTTPException(404, "This run has no such file to download")


async def run_json(request: Request) -> Response:
    """All figures of the page."""
    place = desk(request).shelf.get(request.path_params["slug"])
    return respond.json(await asyncio.to_thread(lambda: everything(look(place))))


async def run_table(request: Request) -> Response:
    """One table of the page as a file."""
    place = desk(request).shelf.get(request.path_params["slug"])
    what = request.url.path.rpartition("/")[2].rpartition(".")[0]
    try:
        rows = await asyncio.to_thread(lambda: TABLES[what](look(place)))
    except ODD:
        raise HTTPException(409, f"report.json is not as karat writes it; {RESUME}") from None
    return table(f"{place.slug}-{what}", rows, request.path_params["form"])


async def sections_css(request: Request) -> Response:
    """How the sections look, in the report's file and here."""
    return FileResponse(SECTIONS_CSS, headers={"cache-control": "no-cache"}, media_type="text/css")


ROUTES = [
    Route("/static/sections.css", sections_css),
    Route("/run/{slug}.json", run_json),
    *(Route(f"/run/{{slug}}/{name}.{{form}}", run_table) for name in TABLES),
    Route("/run/{slug}/report.html", run_report),
    Route("/run/{slug}/events", run_events),
    Route("/run/{slug}/part/{part}", run_part),
    Route("/run/{slug}/export/{name}", run_export),
    Route("/run/{slug}", show),
]
