"""Every address of the gateway, and what answers there.

All of them stand behind the same door, which asks who calls: there is no route without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from karat.web.gateway import anthropic, chat, completions, embeddings, rewards
from karat.web.gateway.door import Door
from karat.web.gateway.engine import Asked, Gateway, Refused
from karat.web.gateway.models import Models
from karat.web.gateway.openai_words import WIRE


class _Rest(Convertor[str]):
    """The rest of a path, whatever it is. Starlette's own `path` ends at a line break, and behind
    one would be nobody who asks who calls."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())


def routes(gateway: Gateway) -> list[Route]:
    """For the application that serves them."""
    models = Models()
    served = [
        Route("/v1/chat/completions", Door(gateway, chat.serve, WIRE), methods=["POST"]),
        Route("/v1/completions", Door(gateway, completions.serve, WIRE), methods=["POST"]),
        Route("/v1/embeddings", Door(gateway, embeddings.serve, WIRE), methods=["POST"]),
        Route("/v1/rewards", Door(gateway, rewards.serve, WIRE), methods=["POST"]),
        Route("/v1/messages", Door(gateway, anthropic.serve, anthropic.WIRE), methods=["POST"]),
        Route("/v1/models", Door(gateway, models.serve, WIRE), methods=["GET"]),
        Route("/v1/models/{name:rest}", Door(gateway, models.serve_one, WIRE), methods=["GET"]),
    ]
    nothing = _Nothing(served).serve
    return [
        *served,
        Route("/v1/messages", Door(gateway, nothing, anthropic.WIRE)),
        Route("/v1/messages/{rest:rest}", Door(gateway, nothing, anthropic.WIRE)),
        Route("/v1/{rest:rest}", Door(gateway, nothing, WIRE)),
    ]


class Gate:
    """The addresses that are asked all day, without a walk through an application's layers; all
    else goes to `otherwise`, the application that holds `routes`."""

    def __init__(self, doors: Sequence[Route], otherwise: ASGIApp) -> None:
        self._otherwise = otherwise
        self._doors = {
            (method, route.path): route.app
            for route in doors
            if "{" not in route.path
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = self._otherwise
        if scope["type"] == "http":
            door = self._doors.get((scope["method"], scope["path"]), door)
        await door(scope, receive, send)


class _Nothing:
    """What is said where nothing is `served`."""

    def __init__(self, served: Sequence[Route]) -> None:
        self._served = served

    async def serve(self, asked: Asked, body: bytes, scope: Scope) -> NoReturn:
        """Raises: Refused, in words that clients understand."""
        allowed = {
            method for route in self._served if route.matches(scope)[0] == Match.PARTIAL
            for method in route.methods or ()
        }  # fmt: skip
        what = f"{scope['method']} {scope['path'][:200]} is not served here"
        if allowed:
            raise Refused(
                405, "invalid_request_error", f"{what}, but {', '.join(sorted(allowed))}",
                code="method_not_supported", allow=sorted(allowed),
            )  # fmt: skip
        raise Refused(404, "invalid_request_error", what, code="unknown_url")
