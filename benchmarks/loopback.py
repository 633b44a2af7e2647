"""A loopback server in OpenAI's format, for measuring clients: its replies cost little to make.

python benchmarks/loopback.py PORT [latency_ms=50] [jitter=0] [error_rate=0] [rps=0] [words=60]
GET /stats tells what was served, failed and refused, and the most requests that were in flight.
"""

import asyncio
import hashlib
import os
import random
import sys
import time

import orjson
from aiohttp import web

WORDS = ["time", "people", "water", "light", "energy", "value", "model", "city", "river", "hill"]
CREATED = 1_767_225_600  # the same in every run


class Loopback:
    def __init__(self, latency_ms: float, errors: float, rps: float, words: int) -> None:
        self.latency_s, self.error_rate, self.rps, self.words = (
            latency_ms / 1000,
            errors,
            rps,
            words,
        )
        self.tokens, self.last = rps, time.monotonic()
        self.dice = random.Random(1)
        self.served = self.errors = self.limited = self.in_flight = self.peak = 0

    def stats(self) -> dict[str, int]:
        return {
            "served": self.served,
            "errors": self.errors,
            "limited": self.limited,
            "inflight": self.in_flight,
            "peak": self.peak,
        }

    async def chat(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.in_flight -= 1
        if self.rps:
            now = time.monotonic()
            self.tokens = min(self.rps, self.tokens + (now - self.last) * self.rps)
            self.last = now
            if self.tokens < 1:
                self.limited += 1
                return _reply(429, {"error": {"message": "slow down"}}, {"retry-after": "1"})
            self.tokens -= 1
        if self.error_rate and self.dice.random() < self.error_rate:
            self.errors += 1
            return _reply(500, {"error": {"message": "injected"}})
        self.served += 1
        return _reply(200, self.completion(body))

    def completion(self, body: dict) -> dict:
        key = orjson.dumps([body["messages"], body.get("seed")])
        choices = []
        for place in range(body.get("n", 1)):
            noise = hashlib.blake2b(key + bytes([place]), digest_size=self.words).digest()
            text = " ".join(WORDS[b % len(WORDS)] for b in noise)
            message = {"role": "assistant", "content": text}
            choices.append({"index": place, "finish_reason": "stop", "message": message})
        asked, written = len(key) // 4, self.words * len(choices)
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
        }
        return {
            "id": "chatcmpl-loopback",
            "object": "chat.completion",
            "created": CREATED,
            "model": body["model"],
            "choices": choices,
            "usage": usage,
        }


def _reply(status: int, body: dict, headers: dict | None = None) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/json", headers=headers
    )


def main() -> None:
    port = int(sys.argv[1])
    latency, _jitter, errors, rps, words = (
        *map(float, sys.argv[2:]),
        *(50, 0, 0, 0, 60)[len(sys.argv) - 2 :],
    )
    server = Loopback(latency, errors, rps, int(words))
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/stats", lambda _: asyncio.sleep(0, web.json_response(server.stats())))
    try:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    except ImportError:
        pass
    host = os.environ.get("LOOPBACK_HOST", "127.0.0.1")  # another where machines of a network ask
    web.run_app(app, host=host, port=port, print=None, backlog=4096, access_log=None)


main()
