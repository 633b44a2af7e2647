"""A service that has limits: calls a second, a slow queue, or a processor that thrashes.

python benchmarks/limited.py PORT limit|latency|thrash RATE BURST

GET /stats tells what was served and refused, by second. benchmarks/saturation.py asks it.
"""

import asyncio
import heapq
import math
import random
import sys
import time
from collections import Counter

import orjson
from aiohttp import web

USAGE = {"prompt_tokens": 10, "completion_tokens": 5}


class Service:
    """Counts, by second and by model, what it served and refused."""

    def __init__(self, mode: str, rate: float, burst: float) -> None:
        self.mode, self.rate, self.burst = mode, rate, burst
        self.tokens, self.last, self.began = burst, time.monotonic(), 0.0
        self.served: dict[str, Counter[int]] = {}
        self.refused: Counter[int] = Counter()
        self.dice = random.Random(1)
        self.in_flight = 0
        self.shared = Shared()

    async def chat(self, request: web.Request) -> web.Response:
        model = orjson.loads(await request.read())["model"]
        now = time.monotonic()
        self.began = self.began or now
        if self.mode == "limit":
            self.tokens = min(self.burst, self.tokens + (now - self.last) * self.rate)
            self.last = now
            if self.tokens < 1:
                self.refused[int(now - self.began)] += 1
                return web.Response(status=429, headers={"retry-after": "1"})
            self.tokens -= 1
        length = self.dice.lognormvariate(-0.125, 0.5)
        if self.mode == "thrash":
            await self.shared.done(length)
        else:
            self.in_flight += 1
            slow = 0.1 + 0.01 * self.in_flight if self.mode == "latency" else 0.2
            await asyncio.sleep(slow * length)
            self.in_flight -= 1
        second = int(time.monotonic() - self.began)
        self.served.setdefault(model, Counter())[second] += 1
        message = {"role": "assistant", "content": "Tides follow the moon."}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return web.json_response({"model": model, "choices": [choice], "usage": USAGE})

    async def stats(self, _: web.Request) -> web.Response:
        return web.json_response({"served": self.served, "refused": self.refused})


class Shared:
    """One processor shared evenly: 100 calls' work a second at 32 calls, 40 at 256 or more."""

    def __init__(self) -> None:
        self.work = 0.0  # done for each call since the start
        self.last = time.monotonic()
        self.calls: list[tuple[float, int, asyncio.Future[None]]] = []
        self.number = 0
        self.timer: asyncio.TimerHandle | None = None

    @staticmethod
    def speed(count: int) -> float:
        if count <= 32:
            return 100 * (2 - count / 32) * count / 32
        return 100 * max(0.4, 1 - 0.2 * math.log2(count / 32))

    async def done(self, length: float) -> None:
        self.advance()
        self.number += 1
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self.calls, (self.work + length, self.number, turn))
        self.arm()
        await turn

    def advance(self) -> None:
        now = time.monotonic()
        if self.calls:
            self.work += (now - self.last) * self.speed(len(self.calls)) / len(self.calls)
        self.last = now

    def arm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.calls:
            each = self.speed(len(self.calls)) / len(self.calls)
            wait = max(0.0, (self.calls[0][0] - self.work) / each)
            self.timer = asyncio.get_running_loop().call_later(wait, self.finish)

    def finish(self) -> None:
        self.advance()
        while self.calls and self.calls[0][0] <= self.work + 1e-4:
            turn = heapq.heappop(self.calls)[2]
            if not turn.done():
                turn.set_result(None)
        self.arm()


def serve(port: str, mode: str, rate: str, burst: str) -> None:
    service, app = Service(mode, float(rate), float(burst)), web.Application()
    app.router.add_post("/v1/chat/completions", service.chat)
    app.router.add_get("/stats", service.stats)
    web.run_app(app, host="127.0.0.1", port=int(port), print=None, backlog=4096, access_log=None)


serve(*sys.argv[1:])
