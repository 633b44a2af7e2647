"""The pace: a rate nearly reached where calls beyond it are refused, and found again."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque

import pytest
from conftest import mostly_slow
from test_limits import run_fast

from karat.models.limits import Limiter


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


class Window:
    """At most `count` calls in `length_s`, sliding or fixed; refusals tell when it opens again."""

    def __init__(self, count, length_s, *, sliding):
        self.count, self.length_s, self.sliding = count, length_s, sliding
        self.rate, self.taken, self.retry_after = count / length_s, deque(), 0.0

    def take(self):
        now = asyncio.get_running_loop().time()
        if self.sliding:
            while self.taken and self.taken[0] <= now - self.length_s:
                self.taken.popleft()
        elif self.taken and now // self.length_s != self.taken[0] // self.length_s:
            self.taken.clear()
        if len(self.taken) < self.count:
            self.taken.append(now)
            return True
        opens = self.taken[0] if self.sliding else now // self.length_s * self.length_s
        self.retry_after = opens + self.length_s - now
        return False


class Luck:
    """Refuses a share of all calls, however slowly they come, and where there is one by a limit."""

    def __init__(self, share, limit=None):
        self.share, self.limit, self.random = share, limit, random.Random(1)
        self.rate, self.retry_after = (limit.rate if limit else 1.0), 0.5

    def take(self):
        return self.random.random() >= self.share and (self.limit is None or self.limit.take())


async def serve(service, *, seconds, learning_s=0.0, width=64, latency_s=0.05, change=None):
    """Calls without end; returns the share of the permitted rate used and the share refused.

    Both after `learning_s`. `change` is (seconds, what to do then).
    """
    loop = asyncio.get_running_loop()
    limiter, started = Limiter(width), loop.time()
    delivered, refused = [], []

    async def caller():
        while True:
            began = await limiter.acquire()
            assert 0 < limiter.in_flight <= width
            try:
                await asyncio.sleep(latency_s)
            finally:
                limiter.release()
            if service.take():
                limiter.delivered(began)
                delivered.append(loop.time() - started)
            else:
                refused.append(loop.time() - started)
                await asyncio.sleep(limiter.refused(began, service.retry_after))

    tasks = [asyncio.ensure_future(caller()) for _ in range(3 * width)]
    if change:
        await asyncio.sleep(change[0])
        change[1]()
    await asyncio.sleep(started + seconds - loop.time())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limiter.in_flight == 0
    late = sum(end >= learning_s for end in delivered)
    lost = sum(end >= learning_s for end in refused)
    return late / (service.rate * (seconds - learning_s)), lost / max(1, late + lost)


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


@pytest.mark.parametrize("rate", [50, 200])
@pytest.mark.parametrize(("latency_s", "width"), [(0.02, 64), (0.05, 256), (0.2, 64), (0.2, 256)])
def test_a_settled_pace_uses_97_percent_and_is_refused_at_most_3(rate, latency_s, width):
    async def main():
        bucket = Bucket(rate, rate, 1.0)
        return await serve(
            bucket, seconds=40, learning_s=10, width=width, latency_s=latency_s
        )  # fmt: skip

    share, refused = run_fast(main())
    assert share >= 0.97
    assert refused <= 0.03


@pytest.mark.parametrize("sliding", [True, False], ids=["sliding", "fixed"])
@pytest.mark.parametrize(("count", "length_s"), [(200, 1.0), (60, 60.0), (3000, 60.0)])
def test_windows_of_a_second_or_a_minute_are_used_up(count, length_s, sliding):
    async def main():
        window = Window(count, length_s, sliding=sliding)
        seconds = max(30.0, 4 * length_s)
        return await serve(window, seconds=seconds, learning_s=seconds / 4)

    share, _ = run_fast(main())
    assert share >= 0.9


@pytest.mark.parametrize(("before", "after", "within_s"), [(100, 200, 15), (200, 50, 5)])
def test_a_limit_that_changes_is_found_again(before, after, within_s):
    async def main():
        bucket = Bucket(before, before, 1.0)

        def change():
            bucket.take()
            bucket.rate = bucket.size = after
            bucket.tokens = min(bucket.tokens, after)

        found = 20 + within_s
        return await serve(bucket, seconds=found + 20, learning_s=found, change=(20, change))

    share, refused = run_fast(main())
    assert share >= 0.97
    assert refused <= 0.05


def test_after_ten_minutes_of_nothing_but_refusals_the_pace_recovers_in_two():
    async def main():
        bucket = Bucket(200, 200, None)
        bucket.tokens, bucket.take = 200.0, lambda: False

        def change():
            del bucket.take
            bucket.last = asyncio.get_running_loop().time()

        return await serve(bucket, seconds=740, learning_s=720, change=(600, change))

    share, _ = run_fast(main())
    assert share >= 0.95


def test_the_first_refusal_pauses_everyone_and_a_later_one_only_its_own_call():
    async def main():
        loop = asyncio.get_running_loop()
        limiter = Limiter(4)
        began = await limiter.acquire()
        limiter.release()
        assert limiter.refused(began, 3.0) == 3.0
        resumed = await limiter.acquire()
        assert resumed == pytest.approx(began + 3.0, abs=0.01)
        limiter.release()
        assert limiter.refused(resumed, 3.0) == 3.0
        turn = 1 / limiter.rate
        await limiter.acquire()
        assert loop.time() - resumed <= turn + 0.001

    run_fast(main())


@pytest.mark.parametrize("asked", [math.nan, math.inf, -math.inf, None])
def test_a_retry_after_that_is_no_number_is_ignored(asked):
    async def main():
        limiter = Limiter(4)
        assert limiter.refused(await limiter.acquire(), asked) == 0.5

    run_fast(main())


def test_a_pause_is_bounded_whatever_the_service_asks():
    async def main():
        limiter = Limiter(4)
        began = await limiter.acquire()
        limiter.release()
        assert 0 < limiter.refused(began, 1e9) <= 120

    asyncio.run(main())


@pytest.mark.parametrize(
    ("burst_s", "retry_after", "rate", "width", "latency_s"),
    mostly_slow(
        [
            (burst_s, retry_after, *speed, latency_s)
            for burst_s in (0.1, 1.0)
            for retry_after in (1.0, None)
            for speed in ((50, 64), (200, 64), (200, 256))
            for latency_s in (0.02, 0.2, 0.5)
        ],
        4,
    ),
)
def test_a_minute_at_a_limit_uses_97_percent_of_it_the_search_included(
    rate, width, latency_s, burst_s, retry_after
):
    """A service that refuses as calls arrive; answers differ in length."""
    if width < 1.2 * rate * latency_s:
        pytest.skip("the width alone is below the limit")

    async def main():
        loop, rng = asyncio.get_running_loop(), random.Random(rate)
        limiter, bucket = Limiter(width), Bucket(rate, rate * burst_s, retry_after)
        started, delivered, refused = loop.time(), [], []

        async def calls():
            while True:
                began = await limiter.acquire()
                await asyncio.sleep(0.002)
                if bucket.take():
                    await asyncio.sleep(latency_s * rng.lognormvariate(-0.125, 0.5))
                    limiter.delivered(began)
                    limiter.release()
                    delivered.append(loop.time() - started)
                else:
                    limiter.release()
                    refused.append(loop.time() - started)
                    await asyncio.sleep(limiter.refused(began, retry_after))

        tasks = [asyncio.ensure_future(calls()) for _ in range(2 * width)]
        await asyncio.sleep(60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        late = sum(end > 10 for end in delivered)
        lost = sum(end > 10 for end in refused)
        return len(delivered) / (60 * rate), lost / (late + lost)

    used, refused = run_fast(main())
    assert used >= 0.97
    assert refused <= 0.03


def test_a_very_low_limit_that_rises_is_found_within_90_seconds():
    async def main():
        bucket = Bucket(2, 2, 1.0)

        def change():
            bucket.take()
            bucket.rate = bucket.size = 10

        return await serve(bucket, seconds=200, learning_s=150, change=(60, change), latency_s=0.2)

    share, refused = run_fast(main())
    assert share >= 0.95
    assert refused <= 0.03


@pytest.mark.parametrize(("share", "least"), [(0.03, 12), (0.1, 14), (0.3, 2.5), (0.5, 2)])
def test_who_is_refused_by_chance_is_not_slowed_down_for_ever(share, least):
    """32 calls of half a second at a time would be 64 a second."""

    async def main():
        return await serve(Luck(share), seconds=300, learning_s=60, width=32, latency_s=0.5)

    delivered, refused = run_fast(main())
    assert delivered >= least
    assert abs(refused - share) < 0.05


def test_a_limit_counts_again_once_nothing_is_refused_by_chance():
    async def main():
        luck = Luck(0.3, Bucket(50, 12, 0.5))

        def settle():
            luck.share = 0.0

        return await serve(
            luck, seconds=200, learning_s=120, width=64, latency_s=0.2, change=(60, settle)
        )

    used, refused = run_fast(main())
    assert used >= 0.97
    assert refused <= 0.03
