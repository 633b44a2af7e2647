"""A real OpenAI-format server on loopback, deterministic and faulty on demand, for tests.

It answers by a hash of what it is asked (so equal requests get equal texts), counts every request,
and can be told to be slow, to fail, to limit its rate, or to answer wrongly.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import Counter
from typing import Any

from aiohttp import web

WORDS = ["tide", "moon", "water", "time", "light", "energy", "city", "river", "hill", "method"]


class Server:
    """Starts on a free port in its own thread; `with Server(...) as server: server.url`."""

    paths = ("/v1/chat/completions",)

    def __init__(self, latency_s: float = 0.0, **behaviour: Any) -> None:
        self.latency_s = latency_s
        self.behaviour = behaviour
        self.requests: list[dict[str, Any]] = []
        self.served: Counter[str] = Counter()
        self.refused = 0
        self.in_flight = self.peak = 0
        self._tokens, self._last = float(behaviour.get("rate", 0)), time.monotonic()

    def __enter__(self) -> Server:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def start() -> None:
            app = web.Application(client_max_size=2**26)
            for path in self.paths:
                app.router.add_post(path, self._chat)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", self.behaviour.get("port", 0))
            await site.start()
            self.port = self._runner.addresses[0][1]
            ready.set()

        def target() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(start())
            self._loop.run_forever()

        self._thread = threading.Thread(target=target, daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def model(self, **more: Any) -> dict[str, Any]:
        return {"model": "openai/loop", "base_url": self.url, **more}

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append({"body": body, "headers": dict(request.headers)})
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        number = len(self.requests)
        slow = self.behaviour.get("slow")  # seconds for one request: f(number, body)
        try:
            await asyncio.sleep(slow(number, body) if slow else self.latency_s)
            fault = self._fault(number, body)
            if fault is not None:
                return await _broken(request, fault)
            self.served[_key(body)] += 1
            return web.json_response(_completion(body, self.behaviour))
        finally:
            self.in_flight -= 1

    def _fault(self, number: int, body: dict[str, Any]) -> web.StreamResponse | None:
        rate = self.behaviour.get("rate")
        if rate:
            now = time.monotonic()
            self._tokens = min(rate, self._tokens + (now - self._last) * rate)
            self._last = now
            if self._tokens < 1:
                self.refused += 1
                return web.json_response(
                    {"error": {"message": "slow down"}}, status=429, headers={"retry-after": "1"}
                )
            self._tokens -= 1
        script = self.behaviour.get("script")
        if script is not None:
            answer = script(number, body)
            if answer is not None:
                status, payload, headers = answer
                return web.Response(body=payload, status=status, headers=headers)
        return None


async def _broken(request: web.Request, reply: web.StreamResponse) -> web.StreamResponse:
    """Statuses that no HTTP knows stand for connections that break: 900 resets, 901 cuts short."""
    transport = request.transport
    assert transport is not None
    if reply.status == 900:
        transport.abort()  # type: ignore[attr-defined]
    elif reply.status == 901:
        short = web.StreamResponse(headers={"content-type": "application/json"})
        short.content_length = 1000
        await short.prepare(request)
        await short.write(b'{"choices": [{"mess')
        transport.close()
        return short
    return reply


def _key(body: dict[str, Any]) -> str:
    return f"{body['messages'][-1]['content']}|{body.get('seed')}|{body.get('n', 1)}"


def text_for(body: dict[str, Any], place: int, words: int = 12) -> str:
    """What the server answers: a function of the messages, the seed and the choice's place."""
    key = repr((body["messages"], body.get("seed"), place)).encode()
    noise = hashlib.sha256(key).digest()
    return (
        " ".join(WORDS[noise[i % 32] % len(WORDS)] for i in range(words)) + f" {noise[:3].hex()}."
    )


def _completion(body: dict[str, Any], behaviour: dict[str, Any]) -> dict[str, Any]:
    count = min(body.get("n", 1), behaviour.get("max_n", 99))
    answer = behaviour.get("answer", text_for)
    choices = [
        {
            "index": i,
            "finish_reason": behaviour.get("finish_reason", "stop"),
            "message": {"role": "assistant", "content": answer(body, i)},
        }
        for i in range(count)
    ]
    reply: dict[str, Any] = {
        "object": "chat.completion",
        "model": body["model"],
        "choices": choices,
    }
    usage = behaviour.get("usage", True)
    if usage is True:
        usage = {"prompt_tokens": 10, "completion_tokens": 7 * count}
    if usage:
        reply["usage"] = usage
    return reply
