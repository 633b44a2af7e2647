"""A server with /completions as vLLM has it, beside chat, for tests.

It goes on with a raw prompt by a hash of it and of the seed, sample i by seed + i, so that four
samples and four more are the same as eight.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from aiohttp import web
from server import WORDS, Server


def text_of(body: dict[str, Any], place: int) -> str:
    """What the server writes: a function of the prompt and of the sample's own seed."""
    key = f"{body['prompt']}|{body['seed'] + place}"
    noise = hashlib.sha256(key.encode()).digest()
    words = " ".join(WORDS[byte % len(WORDS)] for byte in noise[:8])
    return f" Why does the {words} {noise[:4].hex()}?\n"


class Completions(Server):
    """`text` answers f(body, place); `reasons` does so with a finish_reason."""

    paths = ("/v1/chat/completions", "/v1/completions")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/v1/completions"):
            return await super()._chat(request)
        body = await request.json()
        self.requests.append({"body": body, "headers": dict(request.headers)})
        number = len(self.requests)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            slow = self.behaviour.get("slow")
            await asyncio.sleep(slow(number, body) if slow else self.latency_s)
            fault = self._fault(number, body)
            return fault if fault is not None else web.json_response(self._went_on(body))
        finally:
            self.in_flight -= 1

    def _went_on(self, body: dict[str, Any]) -> dict[str, Any]:
        text = self.behaviour.get("text", text_of)
        reason = self.behaviour.get("reasons", lambda body, place: "stop")
        count = min(body.get("n", 1), self.behaviour.get("max_n", 99))
        choices = [
            {
                "index": i,
                "text": text(body, i),
                "finish_reason": reason(body, i),
                "stop_reason": None,
                "logprobs": None,
                "prompt_logprobs": None,
            }
            for i in range(count)
        ]
        usage = {"prompt_tokens": 9, "completion_tokens": 5 * count, "total_tokens": 9 + 5 * count}
        return {
            "id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"],
            "choices": choices, "usage": usage,
        }  # fmt: skip
