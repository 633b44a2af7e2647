"""Every address of the gateway, and what answers there.

All of them stand behind the same door, which asks who calls: there is no route without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from karat.web.gateway import anthropic, chat, completions, embeddings, rewards
from karat.web.gateway.door import Door
from karat.web.gateway.engine import Asked, Gateway, Refused
from karat.web.gateway.models import Models
from karat.web.gateway.openai_words import WIRE


def routes(gateway: Gateway) -> list[Route]:
    """For the application that serves them."""
    models = Models()
    return [
        Route("/v1/chat/completions", Door(gateway, chat.serve, WIRE), methods=["POST"]),
        Route("/v1/completions", Door(gateway, completions.serve, WIRE), methods=["POST"]),
        Route("/v1/embeddings", Door(gateway, embeddings.serve, WIRE), methods=["POST"]),
        Route("/v1/rewards", Door(gateway, rewards.serve, WIRE), methods=["POST"]),
        Route("/v1/messages", Door(gateway, anthropic.serve, anthropic.WIRE), methods=["POST"]),
        Route("/v1/models", Door(gateway, models.serve, WIRE), methods=["GET"]),
        Route("/v1/models/{name:path}", Door(gateway, models.serve_one, WIRE), methods=["GET"]),
        Route("/v1/{rest:path}", Door(gateway, _nothing, WIRE)),
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


async def _nothing(asked: Asked, body: bytes, scope: Scope) -> NoReturn:
    """Raises: Refused, in words that clients understand."""
    raise Refused(
        404, "invalid_request_error", f"{scope['method']} {scope['path'][:200]} is not served here",
        code="unknown_url",
    )  # fmt: skip
