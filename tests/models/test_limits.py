"""The limiter: a width never passed, an order kept, no slot lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from karat.errors import RunError
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


def test_a_cancelled_heavy_call_lets_those_behind_it_go():
    async def main():
        limiter = Limiter(4)
        await limiter.acquire(3)
        heavy = asyncio.ensure_future(limiter.acquire(4))
        light = asyncio.ensure_future(limiter.acquire(1))
        await asyncio.sleep(0)
        assert limiter.in_flight == 3
        heavy.cancel()
        await asyncio.wait_for(light, 1)
        assert limiter.in_flight == 4

    asyncio.run(main())


def test_close_releases_all_who_wait_and_lets_nobody_in():
    async def main():
        limiter = Limiter(1)
        await limiter.acquire()
        waiting = [asyncio.ensure_future(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        limiter.close()
        waiting[1].cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(r) for r in results] == [asyncio.CancelledError] * 2 + [RunError]
        with pytest.raises(RunError, match="stopped before this call was sent"):
            await limiter.acquire()
        assert limiter.in_flight == 1
        limiter.release()
        assert limiter.in_flight == 0

    asyncio.run(main())


def test_close_ends_a_pause():
    async def main():
        limiter = Limiter(1)
        limiter.refused(await limiter.acquire(), 100.0)
        limiter.release()
        waiter = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0)
        limiter.close()
        with pytest.raises(RunError):
            await asyncio.wait_for(waiter, 1)

    asyncio.run(main())
