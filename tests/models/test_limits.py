"""The limiter: a width never passed, a rate nearly reached, no slot lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from karat.models.limits import Limiter


class FastLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self):
        super().__init__()
        self._now = 1000.0
        select = self._selector.select

        def jump(timeout):
            self._now += timeout or 0.0
            return select(0)

        self._selector.select = jump

    def time(self):
        return self._now


def run_fast(main):
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(main)


class Bucket:
    """A service's token bucket: `rate` tokens a second, at most `size` saved up."""

    def __init__(self, rate, size, retry_after):
        self.rate, self.size, self.retry_after = rate, size, retry_after
        self.tokens, self.last = float(size), asyncio.get_running_loop().time()

    def take(self):
        now = asyncio.get_running_loop().time()
        self.tokens = min(self.size, self.tokens + (now - self.last) * self.rate)
        self.last = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


async def caller(limiter, bucket, latency_s):
    """One call to its end, as the client makes it; returns how often it was refused."""
    refusals = 0
    while True:
        began = await limiter.acquire()
        await asyncio.sleep(latency_s)
        if bucket.take():
            limiter.delivered()
            limiter.release()
            return refusals
        refusals += 1
        limiter.release()
        await asyncio.sleep(limiter.refused(began, bucket.retry_after))


def test_the_width_is_never_passed_whatever_happens():
    async def main():
        limiter, rng, seen = Limiter(5), random.Random(1), []

        async def one():
            began = await limiter.acquire()
            seen.append(limiter.in_flight)
            try:
                await asyncio.sleep(rng.random() / 100)
                if rng.random() < 0.2:
                    limiter.overloaded(began)
                else:
                    limiter.delivered()
            finally:
                limiter.release()

        tasks = [asyncio.ensure_future(one()) for _ in range(300)]
        for task in rng.sample(tasks, 60):
            await asyncio.sleep(0.001)
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert max(seen) <= 5
        assert limiter.in_flight == 0

    asyncio.run(main())


def test_slots_are_given_in_order_of_arrival():
    async def main():
        limiter, order = Limiter(1), []

        async def one(number):
            await limiter.acquire()
            order.append(number)
            await asyncio.sleep(0)
            limiter.release()

        await asyncio.gather(*(one(i) for i in range(50)))
        assert order == list(range(50))

    asyncio.run(main())


@pytest.mark.parametrize("moment", ["while waiting", "as the turn comes"])
def test_a_cancelled_waiter_leaks_no_slot(moment):
    async def main():
        limiter = Limiter(1)
        await limiter.acquire()
        waiter = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0)
        if moment == "as the turn comes":
            limiter.release()  # the turn is given, the waiter has not run yet
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        if moment == "while waiting":
            limiter.release()
        assert limiter.in_flight == 0
        await asyncio.wait_for(limiter.acquire(), 1)

    asyncio.run(main())


def test_overload_halves_the_width_once_a_round_and_success_restores_it():
    async def main():
        limiter = Limiter(16)
        began = [await limiter.acquire() for _ in range(16)]
        await asyncio.sleep(0.01)
        for start in began:
            limiter.overloaded(start)
            limiter.release()
        taken = [asyncio.ensure_future(limiter.acquire()) for _ in range(16)]
        await asyncio.sleep(0.01)
        assert limiter.in_flight == 8
        for _ in range(200):
            limiter.delivered()
        limiter.release()
        await asyncio.sleep(0.01)
        assert limiter.in_flight == 15
        for task in taken:
            task.cancel()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("rate", "size", "retry_after", "learning_s"),
    [
        (200, 200, 1.0, 0),
        (2000, 2000, 1.0, 0),
        (200, 200, None, 0),
        (200, 10, 0.2, 20),
        (100, 5, None, 20),
    ],
)
def test_at_a_limit_at_least_95_percent_of_the_permitted_rate_is_used(
    rate, size, retry_after, learning_s
):
    """A bucket of one second's calls from the first call; a small one once its rate is learned."""

    async def main():
        loop = asyncio.get_running_loop()
        limiter, bucket = Limiter(64), Bucket(rate, size, retry_after)
        started, ends = loop.time(), []

        async def one():
            refused = await caller(limiter, bucket, 0.02)
            ends.append(loop.time() - started)
            return refused

        count = rate * (learning_s + 20)
        refusals = await asyncio.gather(*(one() for _ in range(count)))
        late = [end for end in ends if end >= learning_s]
        share = len(late) / (rate * (ends[-1] - learning_s))
        assert share >= 0.95, f"{share:.3f}"
        assert sum(refusals) < count / 10
        assert limiter.in_flight == 0

    run_fast(main())


def test_a_pause_is_bounded_whatever_the_service_asks():
    async def main():
        limiter = Limiter(4)
        began = await limiter.acquire()
        limiter.release()
        assert 0 < limiter.refused(began, 1e9) <= 120

    asyncio.run(main())
