"""The width: all of it at a sound server, about the best of it at one whose latency grows."""

from __future__ import annotations

import asyncio
import heapq
import math
import random

import pytest
from conftest import mostly_slow
from test_limits import run_fast

from karat.models.limits import Limiter
from karat.models.width import Width


class OnArrival:
    """Answers after latency(calls in flight) times a lognormal length, drawn on arrival."""

    def __init__(self, latency, spread, seed):
        self.latency, self.spread, self.dice, self.count = latency, spread, random.Random(seed), 0

    async def answer(self):
        self.count += 1
        length = self.dice.lognormvariate(-(self.spread**2) / 2, self.spread)
        await asyncio.sleep(self.latency(self.count) * length)
        self.count -= 1


class Shared:
    """A processor shared by all calls, which do speed(calls in flight) of work a second."""

    def __init__(self, speed, spread, seed):
        self.speed, self.spread, self.dice = speed, spread, random.Random(seed)
        self.work = self.last = 0.0
        self.calls, self.number, self.timer = [], 0, None

    async def answer(self):
        self.advance()
        self.number += 1
        length = self.dice.lognormvariate(-(self.spread**2) / 2, self.spread)
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self.calls, (self.work + length, self.number, turn))
        self.arm()
        await turn

    def advance(self):
        now = asyncio.get_running_loop().time()
        if self.calls:
            self.work += (now - self.last) * self.speed(len(self.calls)) / len(self.calls)
        self.last = now

    def arm(self):
        if self.timer:
            self.timer.cancel()
        if self.calls:
            each = self.speed(len(self.calls)) / len(self.calls)
            wait = max(0.0, (self.calls[0][0] - self.work) / each)
            self.timer = asyncio.get_running_loop().call_later(wait + 1e-9, self.finish)

    def finish(self):
        self.advance()
        while self.calls and self.calls[0][0] <= self.work + 1e-7:
            turn = heapq.heappop(self.calls)[2]
            if not turn.done():
                turn.set_result(None)
        self.timer = None
        self.arm()


class Fixed(Limiter):
    def __init__(self, width):
        super().__init__(width)
        self._width.starting = False
        self._width._use(0)

    def delivered(self, began=0.0, tokens=(0, 0)):
        pass


async def drive(server, limiter, seconds=60):
    """Calls answered in all, and in the last two thirds of the time."""
    loop = asyncio.get_running_loop()
    zero, ends = loop.time(), []

    async def caller():
        while True:
            began = await limiter.acquire()
            assert limiter.in_flight <= limiter.width
            await server.answer()
            limiter.delivered(began)
            limiter.release()
            ends.append(loop.time() - zero)

    tasks = [asyncio.ensure_future(caller()) for _ in range(2 * limiter.width)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    limiter.close()
    return len(ends), sum(end > seconds / 3 for end in ends)


def compared(server, width, fixed):
    """Throughput as shares of the best fixed width's: whole, and settled."""
    mine = [run_fast(drive(server(seed), Limiter(width))) for seed in (1, 2)]
    best = max(
        (run_fast(drive(server(1), Fixed(w))) for w in fixed), key=lambda found: found[1]
    )  # fmt: skip
    return [[m[i] / best[i] for m in mine] for i in (0, 1)]


def thrashing(peak, rate):
    def speed(count):
        if count <= peak:
            return rate * (2 - count / peak) * count / peak
        return rate * max(0.4, 1 - 0.2 * math.log2(count / peak))

    return speed


@pytest.mark.parametrize(
    ("latency_s", "spread", "width"),
    mostly_slow(
        [(*shape, n) for shape in ((0.2, 0.0), (0.2, 0.5), (0.5, 0.8)) for n in (16, 64, 256)], 4
    ),
)
def test_a_server_of_constant_latency_gets_the_whole_width(width, latency_s, spread):
    def server(seed):
        return OnArrival(lambda _: latency_s, spread, seed)

    whole, settled = compared(server, width, [width])
    assert min(whole) >= 0.95
    assert sum(settled) / len(settled) >= 0.97


@pytest.mark.parametrize(
    ("base_s", "each_s"), mostly_slow([(0.1, 0.002), (0.2, 0.02), (1.0, 0.01)], 3)
)
def test_a_queue_costs_at_most_a_tenth(base_s, each_s):
    def server(seed):
        return OnArrival(lambda count: base_s + each_s * count, 0.5, seed)

    whole, settled = compared(server, 256, [256])
    assert min(whole) >= 0.9
    assert min(settled) >= 0.9


@pytest.mark.parametrize(("width", "peak"), [(256, 32), (256, 100), (64, 32)])
def test_a_server_that_thrashes_is_brought_to_its_best_width(width, peak):
    def server(seed):
        return Shared(thrashing(peak, 100), 0.7, seed)

    whole, settled = compared(server, width, [peak])
    assert min(whole) >= 0.85
    assert sum(settled) / len(settled) >= 0.9


def test_latency_that_grows_with_the_square_of_the_load_is_no_trap():
    def server(seed):
        return OnArrival(lambda count: 0.1 * (1 + (count / 32) ** 2), 0.3, seed)

    whole, settled = compared(server, 256, [32])
    assert min(whole) >= 0.9
    assert min(settled) >= 0.93


def test_a_server_that_recovers_gets_its_width_back():
    async def main():
        slow = OnArrival(lambda count: 0.1 * (1 + (count / 32) ** 2), 0.3, 1)
        limiter = Limiter(128)

        def recover():
            slow.latency = lambda _: 0.1

        asyncio.get_running_loop().call_later(60, recover)
        await drive(slow, limiter, 120)
        return limiter._width.allowed

    assert run_fast(main()) >= 90


def test_a_width_that_is_not_used_up_is_not_judged():
    width = Width(16)
    for second in range(100):
        for _ in range(20):
            if width.delivered(in_flight=3):
                width.turn(float(second), 3)
    assert width.allowed == 16


def test_a_slow_server_gets_the_whole_width_after_a_second():
    async def main():
        limiter = Limiter(256)
        calls = [asyncio.ensure_future(limiter.acquire()) for _ in range(300)]
        await asyncio.sleep(0)
        assert limiter.in_flight == 64
        await asyncio.sleep(1.01)
        assert limiter.in_flight == 256
        for call in calls:
            call.cancel()

    run_fast(main())
