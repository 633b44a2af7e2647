"""The local executor: order kept, memory bounded, a slow row harmless, errors orderly."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import RunError
from karat.executors.local import WINDOW_FACTOR, run_rows
from karat.row import Row


class Source:
    """Rows on demand; remembers how many were taken."""

    def __init__(self, count):
        self.taken, self._count = 0, count

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken == self._count:
            raise StopIteration
        self.taken += 1
        return Row(str(self.taken - 1))


async def collect(rows, work, width, stops=None):
    out = []
    on_stop = (lambda: stops.append(1)) if stops is not None else lambda: None
    async with aclosing(run_rows(iter(rows), work, width, on_stop)) as results:
        async for done in results:
            out.append([row.id for row in done])  # noqa: PERF401
    return out


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 9))
def test_results_come_in_the_order_of_the_rows(delays, width):
    async def work(row):
        for _ in range(delays[int(row.id)]):
            await asyncio.sleep(0)
        return [row] * (int(row.id) % 3)

    found = asyncio.run(collect(Source(len(delays)), work, width))
    assert found == [[str(i)] * (i % 3) for i in range(len(delays))]


def test_no_more_rows_are_under_way_than_the_width():
    now = peak = 0

    async def work(row):
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.001)
        now -= 1
        return [row]

    asyncio.run(collect(Source(200), work, 7))
    assert peak == 7


def test_a_slow_row_does_not_stall_its_neighbours_until_the_window_is_full():
    width, done = 2, []
    source = Source(1000)

    async def work(row):
        if row.id == "0":
            await gate.wait()
        done.append(row.id)
        return [row]

    async def main():
        nonlocal gate
        gate = asyncio.Event()
        task = asyncio.ensure_future(collect(source, work, width))
        for _ in range(2000):
            await asyncio.sleep(0)
        behind = len(done)
        taken = source.taken
        gate.set()
        return behind, taken, await task

    gate: asyncio.Event
    behind, taken, found = asyncio.run(main())
    assert behind == width * WINDOW_FACTOR - 1
    assert taken <= width * WINDOW_FACTOR + width
    assert len(found) == 1000


def test_rows_are_read_no_faster_than_they_are_used():
    source = Source(10_000)

    async def work(row):
        return [row]

    async def main():
        async with aclosing(run_rows(iter(source), work, 4, lambda: None)) as results:
            async for _ in results:
                await asyncio.sleep(0)
                break

    asyncio.run(main())
    assert source.taken <= 4 * WINDOW_FACTOR + 8


def test_an_error_lets_rows_under_way_finish_and_starts_no_others():
    source, finished, stops = Source(1000), [], []

    async def work(row):
        if row.id == "5":
            raise RunError("broken at 5")
        await asyncio.sleep(0.02)
        finished.append(row.id)
        return [row]

    with pytest.raises(RunError, match="broken at 5"):
        asyncio.run(collect(source, work, 4, stops))
    assert sorted(finished) == ["0", "1", "2", "3", "4"]
    assert source.taken == 6
    assert stops == [1]


def test_rows_that_wait_for_room_are_not_started_after_an_error():
    started = []

    async def work(row):
        started.append(int(row.id))
        if row.id == "0":
            await asyncio.sleep(0.05)
            raise RunError("broken at 0")
        return [row]

    with pytest.raises(RunError, match="broken at 0"):
        asyncio.run(collect(Source(1000), work, 2))
    assert max(started) < 2 * WINDOW_FACTOR


def test_the_first_error_is_the_one_told():
    async def work(row):
        await asyncio.sleep(0.01 * (3 - int(row.id)))
        raise RunError(f"broken at {row.id}")

    with pytest.raises(RunError, match="broken at 2"):
        asyncio.run(collect(Source(3), work, 3))


def test_an_error_of_the_source_is_raised():
    def rows():
        yield Row("0")
        raise RunError("file broke off")

    async def work(row):
        return [row]

    with pytest.raises(RunError, match="file broke off"):
        asyncio.run(collect(rows(), work, 3))


def test_cancelling_waits_for_rows_under_way_and_leaves_no_task():
    finished = []

    async def work(row):
        await asyncio.sleep(0.1)
        finished.append(row.id)
        return [row]

    async def main():
        task = asyncio.ensure_future(collect(Source(100), work, 4))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert len(finished) == 4


def test_after_an_error_a_row_that_hangs_holds_nobody_for_long(monkeypatch):
    monkeypatch.setattr("karat.executors.local.GRACE_S", 0.1)

    async def work(row):
        if row.id == "1":
            raise RunError("broken at 1")
        await asyncio.sleep(30)
        return [row]

    async def main():
        with pytest.raises(RunError, match="broken at 1"):
            await asyncio.wait_for(collect(Source(10), work, 3), 3)

    asyncio.run(main())


def test_no_rows_end_at_once():
    async def work(row):
        return [row]

    assert asyncio.run(collect([], work, 3)) == []
