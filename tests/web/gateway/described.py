"""A service that answers all that the gateway asks, and the gateway's own description of itself."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web
from raw import ask
from wired import Upstream

HEAD = "embedded/helpsteer2"
LOGPROBS = {"content": [
    {"token": "The", "logprob": -0.5, "top_logprobs": [{"token": "A", "logprob": -1.5}]}
]}  # fmt: skip


class Texts(Upstream):
    """Goes on with raw texts, too, and says how likely its words were."""

    paths = (*Upstream.paths, "/v1/completions")

    async def _chat(self, request: Any) -> Any:
        body = await request.json()
        if request.path.endswith("/v1/completions"):
            choices = [
                {"text": " the moon", "finish_reason": "stop"} for _ in range(body.get("n", 1))
            ]
        elif body.get("logprobs"):
            message = {"role": "assistant", "content": "The moon."}
            choices = [{"message": message, "finish_reason": "stop", "logprobs": LOGPROBS}]
        else:
            return await super()._chat(request)
        choices = [{"index": place, **one} for place, one in enumerate(choices)]
        usage = {"prompt_tokens": 3, "completion_tokens": 2 * len(choices)}
        return web.json_response({"model": body["model"], "choices": choices, "usage": usage})


def fetched(port: int, **headers: str) -> dict[str, Any]:
    reply = ask(port, "/openapi.json", **headers)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = orjson.loads(reply.body)
    return found
