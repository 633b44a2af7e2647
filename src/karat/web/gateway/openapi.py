"""`/openapi.json`: what the gateway takes and answers, as an OpenAPI 3.1 document.

It is made of what serves: paths, methods and the shape of errors are those of the routes, bodies
those types that the routes read. A status that is not listed is never sent, and a body that does
not fit its schema is refused; only what no schema can say (a model that is not there, a field that
needs another one, a whole number that is written as 1.0) is found out by asking.

The document is open, on a server with a token or keys too: those who write a client hold no secret
of its server, and all of it stands in this package. So it says nothing of this server but whether
a key is asked for, which any request would find out: no name of a model, no address, no version of
karat.
Source: OpenAPI Specification 3.1.1; HTML, "Server-sent events", for the fields of an event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from karat.errors import RecipeError
from karat.web.gateway import anthropic, completions, embeddings, rewards
from karat.web.gateway.anthropic_asks import Body as MessagesBody
from karat.web.gateway.chat_body import ChatBody
from karat.web.gateway.door import Door
from karat.web.gateway.engine import CACHE, Gateway
from karat.web.gateway.openapi_replies import ANTHROPIC, OPENAI, PLAIN, Schema, event, ref

PATH = "/openapi.json"
VERSION = "1"  # of the API, as in its paths
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a virtual key, or the token"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "the same"},
}
_ABOUT = (
    "OpenAI's and Anthropic's APIs over every model and reward that this server reaches. What is "
    "no HTTP at all is refused with 400, and nothing else is sent. GET answers HEAD, too; other "
    "methods get 405 and the header `allow`."
)
_WORDS = {
    400: "The body, x-karat-cache or the Host header is wrong, or the service refused the request",
    401: "No key, or none that is known here",
    403: "The key may not use this model, its price is not known while a budget is set, or a page "
         "of another site sent this",
    404: "There is no such model",
    408: "The request took too long to arrive",
    413: "The request is too large",
    415: "The body is not application/json",
    421: "This server is not known by the name in the Host header",
    429: "The service's rate limit, or `insufficient_quota`: a budget is spent",
    431: "The head of the request is too large",
    500: "The gateway failed; x-request-id finds it in the log",
    502: "The service failed, or its answer does not follow the schema that was asked for",
    503: "The gateway cannot serve: its ledger or keys, or too many requests at once",
    504: "No answer in time",
}  # fmt: skip
_BARE = (408, 431)  # closed before there is anybody to word an error
_TEXT = (503,)  # also by the server beneath, in plain text
_ALWAYS = (400, 403, 408, 413, 421, 431, 503, 504)
_BEHIND_DOOR = (401, 415, 500)
_BUYING = (404, 429, 502)

_TEXT_HEADER = {"schema": {"type": "string"}}
_NUMBER_HEADER = {"schema": {"type": "number"}}
_BY_DOOR = {
    "x-request-id": {"required": True, **_TEXT_HEADER},
    "x-karat-latency-ms": {"required": True, **_NUMBER_HEADER},
}
_SPENT = {
    "x-karat-cost-usd": {**_TEXT_HEADER, "description": "US dollars, or `unknown`"},
    "x-karat-queue-ms": _NUMBER_HEADER,
    "x-karat-model": {**_TEXT_HEADER, "description": "who answered"},
    "x-karat-cache": {"schema": {"enum": ["hit", "miss"]}},
}
_WHEN_WRONG = {
    "x-request-id": _TEXT_HEADER,
    "x-karat-latency-ms": _NUMBER_HEADER,
    "x-should-retry": {"schema": {"enum": ["true", "false"]}},
    "retry-after": {"schema": {"type": "integer"}},
    **_SPENT,
}


class Operation(NamedTuple):
    """What a route does not know of itself. `body` is the type it reads, `reply` and `events` what
    it answers, whole or in a stream, `statuses` those beside the ones that all have."""

    name: str
    summary: str
    reply: str
    body: type | None = None
    events: Schema | None = None
    statuses: tuple[int, ...] = ()


def _chunks(name: str) -> Schema:
    return event([ref(name), ref("Error")], ends=True)


OPERATIONS = {
    "/v1/chat/completions": Operation(
        "Chat", "An answer to a conversation; with a reward's name as the model, the scores of its "
        "last turn", "ChatCompletion", ChatBody, _chunks("ChatCompletionChunk"), _BUYING,
    ),
    "/v1/completions": Operation(
        "Completions", "How a text goes on", "TextCompletion", completions.Body,
        _chunks("TextCompletionChunk"), _BUYING,
    ),
    "/v1/embeddings": Operation(
        "Embeddings", "Vectors of texts", "Embeddings", embeddings.Body, statuses=_BUYING
    ),
    "/v1/rewards": Operation(
        "Rewards", "A reward's scores of responses", "Rewards", rewards.Body, statuses=_BUYING
    ),
    "/v1/messages": Operation(
        "Messages", "An answer to a conversation, in Anthropic's format", "Message", MessagesBody,
        event([ref("MessageEvent")], named=True), _BUYING,
    ),
    "/v1/models": Operation("Models", "The models and rewards that this key may use", "Models"),
    "/v1/models/{name}": Operation(
        "Model", "One of them; slashes of its name as they are, or as %2F", "Model", statuses=(404,)
    ),
}  # fmt: skip


def serve(gateway: Gateway, doors: Sequence[Route]) -> Callable[[Request], Awaitable[Response]]:
    """What answers at `PATH`; made when it is first asked for."""
    made: dict[bool, bytes] = {}

    async def answer(request: Request) -> Response:
        asks = _asks(gateway)
        if asks not in made:
            made[asks] = orjson.dumps(document(doors, asks=asks))
        return Response(made[asks], media_type="application/json")

    return answer


def _asks(gateway: Gateway) -> bool:
    """Whether a request needs a key by now."""
    try:
        gateway.keyring.refresh()
    except RecipeError:  # while they cannot be read nobody gets in
        return True
    return gateway.asks_for_key


def document(doors: Sequence[Route], *, asks: bool) -> dict[str, Any]:
    """The document of these routes. `asks`: whether each request needs a key.

    Raises: KeyError for a route of which nothing stands in OPERATIONS.
    """
    served = [route for route in doors if route.methods]  # the others answer that they do not
    schemas = {**OPENAI, **ANTHROPIC, **PLAIN}
    for _, _, body in _bodies():
        schemas.update(body)
    named: list[Schema] = [{"bearer": []}, {"key": []}]
    return {
        "openapi": "3.1.1",
        "info": {"title": "karat's gateway", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": named if asks else [*named, {}],
        "paths": {**{route.path_format: _path(route) for route in served}, **_open_paths()},
        "components": {
            "schemas": schemas,
            "responses": {
                f"{shape}{status}": _refusal(shape, status)
                for shape in ("Error", "MessagesError", "PlainError")
                for status in (_WORDS if shape != "PlainError" else _ALWAYS)
            },
            "securitySchemes": _SCHEMES,
        },
    }


# --- bodies --------------------------------------------------------------------------------------


def _bodies() -> Iterator[tuple[str, str, dict[str, Schema]]]:
    """Of each path that reads one: the path, the component of its body, all its components."""
    for path, one in OPERATIONS.items():
        if one.body is not None:
            (top,), found = msgspec.json.schema_components((one.body,), ref_template="{name}")
            named = {_name(one, name): _named(one, tree) for name, tree in found.items()}
            yield path, _name(one, top["$ref"]), named


def _name(one: Operation, kind: str) -> str:
    """`_Tool` of chat is ChatTool, and of messages MessagesTool."""
    return one.name + kind.lstrip("_").removeprefix(one.name)


def _named(one: Operation, tree: Any) -> Any:
    """A schema with the public names of what it refers to, and without those of classes."""
    if isinstance(tree, list):
        return [_named(one, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    made = {key: _named(one, item) for key, item in tree.items() if key != "$ref"}
    if isinstance(tree.get("title"), str):
        del made["title"]
    if "$ref" in tree:
        made.update(ref(_name(one, tree["$ref"])))
    return made


# --- paths ---------------------------------------------------------------------------------------


def _path(route: Route) -> dict[str, Any]:
    one, door = OPERATIONS[route.path_format], route.app
    assert isinstance(door, Door)
    shape = "MessagesError" if door.wire is anthropic.WIRE else "Error"
    names = {path: name for path, name, _ in _bodies()}
    made: dict[str, Any] = {
        "operationId": one.name.lower(),
        "summary": one.summary,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
              for name in route.param_convertors),
            {"name": "x-karat-cache", "in": "header", "schema": {"enum": list(CACHE)},
             "description": "use: from the ledger where it is there; refresh: bought anew, kept"},
        ],
        "responses": {
            "200": _answer(one),
            **{str(status): {"$ref": f"#/components/responses/{shape}{status}"}
               for status in sorted({*_ALWAYS, *_BEHIND_DOOR, *one.statuses})},
        },
    }  # fmt: skip
    if one.body is not None:
        content = {"application/json": {"schema": ref(names[route.path_format])}}
        made["requestBody"] = {"required": True, "content": content}
    (method,) = (route.methods or set()) - {"HEAD"}
    return {method.lower(): made}


def _answer(one: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": ref(one.reply)}}
    if one.events is not None:
        content["text/event-stream"] = {"schema": one.events}
    words = one.summary if one.events is None else f"{one.summary}; events with `stream: true`"
    return {
        "description": words,
        "headers": {**_BY_DOOR, **(_SPENT if one.body else {})},
        "content": content,
    }


def _refusal(shape: str, status: int) -> dict[str, Any]:
    made: dict[str, Any] = {"description": _WORDS[status]}
    if status in _BARE:
        return made
    if shape != "PlainError":
        made["headers"] = dict(_WHEN_WRONG)
    if status == 401:
        made["headers"]["www-authenticate"] = {"schema": {"const": "Bearer"}}
    made["content"] = {"application/json": {"schema": ref(shape)}}
    if status in _TEXT:
        made["content"]["text/plain"] = {"schema": {"type": "string"}}
    return made


def _open_paths() -> dict[str, Any]:
    """Those that ask nobody who they are."""
    found = {}
    health = ("Health", "That the server answers, for monitors", ref("Health"))
    itself = ("Document", "This document", {"type": "object"})
    for path, (name, summary, schema) in {"/healthz": health, PATH: itself}.items():
        answer = {"description": summary, "content": {"application/json": {"schema": schema}}}
        refused = {
            str(status): {"$ref": f"#/components/responses/PlainError{status}"}
            for status in _ALWAYS
        }
        found[path] = {"get": {
            "operationId": name.lower(), "summary": summary, "security": [],
            "responses": {"200": answer, **refused},
        }}  # fmt: skip
    return found
