"""Rows through steps on this machine: one asyncio loop, many rows under way, output in order.

A window, not a batch: a slow row holds back only what comes after it in the file, never its
neighbours' calls. The window's size bounds memory whatever the number of rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

from karat.errors import RunError
from karat.row import Row

GRACE_S = 20.0  # for calls under way when a run is stopped
WINDOW_FACTOR = 32  # rows that may wait, finished, behind a slow one: 32 times those under way
WIDE_WINDOW = 32_768  # and twice them where that is more: a batch has thousands under way


async def run_rows(
    rows: Iterator[Row],
    work: Callable[[Row], Awaitable[list[Row]]],
    width: int,
    on_stop: Callable[[], None],
) -> AsyncGenerator[list[Row]]:
    """What `work` makes of each row, in the order of `rows`, with `width` rows under way.

    When a row's work raises, `on_stop` is called, rows under way may finish (so that paid answers
    are recorded), and the first error is raised.
    """
    pool = _Pool(rows, work, width, on_stop)
    try:
        async for done in pool.results():
            yield done
    finally:
        await pool.finish()


class _Pool:
    def __init__(
        self,
        rows: Iterator[Row],
        work: Callable[[Row], Awaitable[list[Row]]],
        width: int,
        on_stop: Callable[[], None],
    ) -> None:
        self._rows = rows
        self._next = 0  # the number of the row that will be taken next
        self._work = work
        self._on_stop = on_stop
        self._window = min(width * WINDOW_FACTOR, max(2 * width, WIDE_WINDOW))
        self._done: dict[int, list[Row]] = {}
        self._head = 0  # the row the output waits for
        self._ready = asyncio.Event()  # the head is done, or something failed, or all ended
        self._room = asyncio.Event()
        self._room.set()
        self._error: BaseException | None = None
        self._workers = [asyncio.ensure_future(self._worker()) for _ in range(width)]
        self._running = width

    async def _worker(self) -> None:
        try:
            while self._error is None:
                if self._next - self._head >= self._window:
                    self._room.clear()
                    await self._room.wait()
                    continue
                row = next(self._rows, None)
                if row is None:
                    break
                index, self._next = self._next, self._next + 1
                self._done[index] = await self._work(row)
                if index == self._head:
                    self._ready.set()
        except BaseException as error:
            self._stop(error)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._running -= 1
            if self._running == 0:
                self._ready.set()

    def _stop(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
            self._on_stop()
        self._room.set()
        self._ready.set()

    async def results(self) -> AsyncGenerator[list[Row]]:
        while True:
            while self._head in self._done:
                done = self._done.pop(self._head)
                self._head += 1
                self._room.set()
                yield done
            if self._error is not None or (self._running == 0 and self._head not in self._done):
                break
            self._ready.clear()
            await self._ready.wait()
        if self._error is not None:
            await asyncio.wait(self._workers, timeout=GRACE_S)
            raise self._error

    async def finish(self) -> None:
        """Waits for calls under way, so that what they cost is recorded; then ends them."""
        if self._error is None and any(not worker.done() for worker in self._workers):
            self._stop(RunError("stopped"))
            await asyncio.wait(self._workers, timeout=GRACE_S)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
