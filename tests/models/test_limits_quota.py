"""Stated limits and what replies say is left: never passed in any minute, nearly reached."""

from __future__ import annotations

import asyncio
import random

import pytest
from test_limits import run_fast

from karat.models.limits import Limiter
from karat.models.rate_headers import RateLimits


async def starts(
    limiter, seconds, *, tokens=lambda: 0, used=lambda t: t, latency_s=0.3, callers=64
):
    """(time, tokens) of every call begun in so many seconds."""
    loop = asyncio.get_running_loop()
    zero, begun = loop.time(), []

    async def caller():
        while True:
            amount = tokens()
            began = await limiter.acquire(1, amount)
            begun.append((began - zero, amount))
            await asyncio.sleep(latency_s)
            limiter.delivered(began, (amount, used(amount)))
            limiter.release()

    tasks = [asyncio.ensure_future(caller()) for _ in range(callers)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    limiter.close()
    return begun


def most_in_a_minute(begun, amount):
    most = sums = first = 0
    for time_s, tokens in begun:
        sums += amount(tokens)
        while begun[first][0] <= time_s - 60:
            sums -= amount(begun[first][1])
            first += 1
        most = max(most, sums)
    return most


@pytest.mark.parametrize("rpm", [3, 60, 1000])
def test_calls_a_minute_are_never_passed_and_used_up(rpm):
    begun = run_fast(starts(Limiter(64, rpm=rpm), 300))
    assert most_in_a_minute(begun, lambda _: 1) <= rpm
    assert len(begun) >= 0.97 * rpm * 5
    second = sum(time_s < 1 for time_s, _ in begun)
    assert second <= max(1, rpm / 15)


async def token_starts(tpm, used=lambda t: t):
    rng = random.Random(3)
    return await starts(
        Limiter(64, tpm=tpm), 300, tokens=lambda: rng.randint(100, 2000), used=used
    )  # fmt: skip


def test_tokens_a_minute_are_never_passed_and_used_up():
    begun = run_fast(token_starts(60_000))
    assert most_in_a_minute(begun, lambda tokens: tokens) <= 60_000
    assert sum(tokens for _, tokens in begun) >= 0.95 * 300_000


def test_tokens_that_were_not_used_are_given_back():
    begun = run_fast(token_starts(60_000, used=lambda tokens: tokens // 4))
    assert sum(tokens // 4 for _, tokens in begun) >= 0.9 * 300_000


def test_a_call_above_a_minute_s_tokens_goes_alone():
    async def main():
        limiter = Limiter(8, tpm=1000)
        began = await limiter.acquire(1, 5000)
        limiter.release()
        return await limiter.acquire(1, 500) - began

    assert 60 <= run_fast(main()) <= 301


def test_a_stated_limit_is_an_upper_bound_only():
    async def main():
        limiter = Limiter(8, rpm=6000)
        began = await limiter.acquire()
        limiter.release()
        limiter.refused(began, 3.0)
        return await limiter.acquire() - began

    assert run_fast(main()) == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize(("reset_s", "waits_s"), [(7.0, 7.0), (86_400.0, 120.0)])
def test_nothing_starts_before_the_reset_once_nothing_is_left(reset_s, waits_s):
    async def main():
        limiter = Limiter(8)
        began = await limiter.acquire()
        limiter.told(RateLimits(0, reset_s))
        limiter.release()
        return await limiter.acquire() - began

    assert run_fast(main()) == pytest.approx(waits_s, abs=0.01)


def test_a_few_left_are_spread_and_plenty_lifts_it():
    async def main():
        loop, limiter = asyncio.get_running_loop(), Limiter(8)
        for _ in range(4):
            await limiter.acquire()
        limiter.told(RateLimits(5, 20.0))
        began = loop.time()
        await limiter.acquire()
        assert await limiter.acquire() - began == pytest.approx(4.0, abs=0.1)
        waiting = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0.1)
        limiter.told(RateLimits(1000, 20.0))
        assert await waiting - began < 4.5

    run_fast(main())


def test_an_old_reply_does_not_lift_what_a_newer_one_said():
    async def main():
        limiter = Limiter(8)
        began = await limiter.acquire()
        for _ in range(3):
            await limiter.acquire()
        limiter.told(RateLimits(0, 5.0))
        limiter.told(RateLimits(2, 5.0))
        return await limiter.acquire() - began

    assert run_fast(main()) == pytest.approx(5.0, abs=0.01)


def test_generous_headers_cost_nothing():
    async def served(told):
        limiter = Limiter(32)
        loop = asyncio.get_running_loop()
        zero, count = loop.time(), 0

        async def caller():
            nonlocal count
            while loop.time() < zero + 10:
                began = await limiter.acquire()
                await asyncio.sleep(0.1)
                limiter.told(told)
                limiter.delivered(began)
                limiter.release()
                count += 1

        await asyncio.gather(*(caller() for _ in range(64)))
        limiter.close()
        return count

    plenty = RateLimits(9990.0, 0.06, 1_999_000.0, 0.5)
    assert run_fast(served(plenty)) >= 0.99 * run_fast(served(RateLimits()))
