"""`/v1/messages`: Anthropic's API over any model of the gateway.

What is asked and what is answered are translated in anthropic_asks.py and anthropic_replies.py;
here the two meet the engine. Whoever speaks Anthropic's format to Claude so reaches every other
model with it, on the same keys, budgets and ledger.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from starlette.types import Scope

from karat.models.answer import in_pieces
from karat.models.chat import ChatRequest, Delta, Usage
from karat.web.gateway.anthropic_asks import Asked as Said
from karat.web.gateway.anthropic_asks import read_request
from karat.web.gateway.anthropic_replies import Events, error_body, event, message
from karat.web.gateway.door import Headers, Reply, Streamed, Wire, dumps, header_text, told
from karat.web.gateway.engine import Asked, Figures
from karat.web.gateway.refusals import Refused
from karat.web.gateway.schemas import fitting


async def serve(asked: Asked, data: bytes, scope: Scope) -> Reply | Streamed:
    """Raises: Refused, RecipeError; ProviderError, RunError."""
    said = read_request(data)
    model = await asked.gateway.model(said.model, asked.caller)
    if said.stream:
        return Streamed(_pieces(asked, said, model), lambda: _headers(asked, model))
    (answer,) = await fitting(asked, model, said.request)
    figures = asked.figures([answer.call])
    body = message(answer, _usage(asked, figures), _id(asked), said.model, thoughts=said.thoughts)
    body["usage"]["cost_usd"] = figures.cost_usd
    named: Headers = [(b"request-id", asked.id.encode())]
    return Reply(dumps(body), [*told(figures, answer.model), *named])


async def _pieces(asked: Asked, said: Said, model: str) -> AsyncGenerator[bytes, None]:
    made = Events(_id(asked), said.model, thoughts=said.thoughts)
    started = False
    async with aclosing(_deltas(asked, said.request, model)) as deltas:
        async for delta in deltas:
            if not started:  # what fails before is a reply with a status of its own
                started = True
                yield made.start()
            for one in made.of(delta):
                yield one
    figures = asked.figures()
    usage = made.usage if figures.hit else _usage(asked, figures)
    for one in made.finish(usage, figures.cost_usd):
        yield one


async def _deltas(asked: Asked, request: ChatRequest, model: str) -> AsyncGenerator[Delta, None]:
    """As the model writes; once it is whole where it must follow a schema."""
    if request.schema is None:
        async with aclosing(asked.stream(model, request)) as deltas:
            async for delta in deltas:
                yield delta
        return
    (answer,) = await fitting(asked, model, request)
    for delta in in_pieces(answer, Usage(0, output=0)):
        yield delta


def _headers(asked: Asked, model: str) -> Headers:
    """Of a stream, whose cost is known at its end only."""
    return [
        (b"request-id", asked.id.encode()),
        (b"x-karat-model", header_text(asked.terms.model or model)),
    ]


def _id(asked: Asked) -> str:
    return f"msg_{asked.id.removeprefix('req_')}"


def _usage(asked: Asked, figures: Figures) -> Usage:
    written = sum(one.cache_write_tokens for one in asked.terms.paid if not one.error)
    return Usage(
        figures.prompt_tokens, figures.cached_tokens, written, figures.completion_tokens,
        figures.reasoning_tokens,
    )  # fmt: skip


def _error(told: Refused, request: str) -> bytes:
    return orjson.dumps(error_body(told.status, str(told), request, told.kind))


def _error_event(told: Refused, request: str) -> bytes:
    body = error_body(told.status, str(told), request, told.kind)
    return event("error", error=body["error"], request_id=request)


WIRE = Wire(_error, _error_event)
