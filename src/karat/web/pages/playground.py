"""The playground: one prompt to several models side by side, with cost, latency and grades.

The page draws itself in the browser from what these addresses say; see web/side_by_side.py for how
the models are asked. All that is asked stands in the page's address.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import orjson
import pyarrow as pa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from karat.errors import RecipeError
from karat.models.embedded import MODELS as EMBEDDED
from karat.models.embedded_table import NAME as TABLE
from karat.rewards.base import UNBOUNDED
from karat.web import respond
from karat.web.desk import desk
from karat.web.gateway import grading
from karat.web.gateway.engine import Gateway
from karat.web.gateway.refusals import Refused
from karat.web.side_by_side import MOST_MODELS, Question, answers, estimate
from karat.web.tables import table
from karat.wording import explain

NAV = ("Playground", "/playground", 50)
CLOSED = (
    "This gateway has keys, and a page has none: start `karat serve` with a token "
    "(--new-token FILE) and log in with it to use the playground"
)
Row = dict[str, str | int | float | bool | None]
FIRST = 2  # models that are chosen where an address names none


class Shown(msgspec.Struct, forbid_unknown_fields=True):
    """The answers on the page, a line each."""

    rows: Annotated[list[Row], msgspec.Meta(max_length=MOST_MODELS)]


async def view(request: Request) -> Response:
    """The page; without a gateway it says how to start one."""
    found = desk(request).gateway
    if found is not None and (why := _closed(request, found)):
        # No error: whoever follows the menu has asked for nothing that could be refused.
        return respond.page(request, "error.html", code=403, said=why)
    return respond.page(request, "playground.html", ready=found is not None)


async def choices(request: Request) -> Response:
    """The models and rewards there are to choose from."""
    gateway = _gateway(request)
    named = [{"name": name, "note": spec.model} for name, spec in gateway.config.models.items()]
    known = {*(one["name"] for one in named), f"embedded/{TABLE}"}  # which embeds and does not chat
    try:
        reached = await gateway.listing.names()
    except RecipeError:
        reached = []  # a config.toml that cannot be read; the models of the server's config stay
    named += [{"name": name, "note": ""} for name in reached if name not in known]
    first = [*gateway.config.models][:FIRST] or [f"embedded/{name}" for name in EMBEDDED][:1]
    return respond.json({
        "models": named, "rewards": _rewards(gateway), "first": first, "most_models": MOST_MODELS,
    })  # fmt: skip


def _rewards(gateway: Gateway) -> list[dict[str, Any]]:
    """One that the config calls by a name of its own is there by that name only."""
    own = gateway.config.rewards.values()
    named = {one if isinstance(one, str) else (one or {}).get("reward") for one in own}
    found = []
    for name in grading.names(gateway, gateway.playground):
        if name in named and name not in gateway.config.rewards:
            continue
        try:
            scales = gateway.graders.get(name).attributes
        except RecipeError:
            continue  # its files are gone
        ends = {key: None if one == UNBOUNDED else one for key, one in scales.items()}
        found.append({"name": name, "attributes": ends})
    return found


async def worst(request: Request) -> Response:
    """The most a question could cost, and what of it cannot be asked."""
    return respond.json(
        msgspec.to_builtins(await estimate(_gateway(request), await _read(request)))
    )


async def ask(request: Request) -> Response:
    """The answers, as a stream of events."""
    question = await _read(request)
    if not question.prompt.strip():
        raise HTTPException(400, "the prompt is empty; write one")
    return respond.events(answers(_gateway(request), question))


async def kept(request: Request) -> Response:
    """The answers that are shown, sent back to be kept as a file."""
    _gateway(request)
    try:
        shown = msgspec.json.decode(await request.body(), type=Shown)
        return table("playground", shown.rows, request.path_params["form"])
    except (msgspec.DecodeError, UnicodeError, pa.ArrowException) as error:
        raise HTTPException(400, f"these are no answers of the playground: {error}") from None


def _gateway(request: Request) -> Gateway:
    """Raises: HTTPException."""
    found = desk(request).gateway
    if found is None:
        raise HTTPException(404, "this server only shows runs; it has no gateway to ask through")
    if why := _closed(request, found):
        raise HTTPException(403, why)
    return found


def _closed(request: Request, gateway: Gateway) -> str:
    """Why nothing may be asked from a page: where keys are asked for, nobody who only sees the
    pages asks without one. Empty where it may."""
    if desk(request).entry is not None:
        return ""
    try:
        gateway.caller(None)
    except Refused as error:
        return CLOSED if error.status == 401 else str(error)
    return ""


async def _read(request: Request) -> Question:
    """Raises: HTTPException for a body that is no question."""
    try:
        tree = orjson.loads(await request.body())
        return msgspec.convert(tree, Question)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from None
    except msgspec.ValidationError as error:
        raise HTTPException(400, explain(str(error), tree, Question, "{}")) from None


ROUTES = [
    Route("/playground", view),
    Route("/playground/choices.json", choices),
    Route("/playground/estimate", worst, methods=["POST"]),
    Route("/playground/ask", ask, methods=["POST"]),
    Route("/playground/answers.{form}", kept, methods=["POST"]),
]
