"""The crew: workers that take units off one list until it is empty, replaced when they are lost.

Ray says where a worker runs and starts its process; a worker that is free takes the next unit. A
lost worker's units go back on the list, and whoever takes one finds in the journal what was paid
for it. A unit that workers keep dying of ends the run instead of going round for ever.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayError

from karat.errors import KaratError, RunError
from karat.executors.local import GRACE_S
from karat.executors.ray.faults import by_itself, explain, why_lost
from karat.executors.ray.job import Done, Task

MOST_LOSSES = 4  # of workers over one unit
PAUSE_S = 1.0  # before a lost worker is replaced, doubled each time up to
LONGEST_PAUSE_S = 30.0
LONG_S = 20.0  # after which it is said that a worker has no place yet


class Units:
    """The list: units that wait, and those that come while a source is still being read."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()
        self._under_way = 0
        self._whole = False
        self._changed = asyncio.Event()
        self._losses: Counter[int] = Counter()

    def add(self, task: Task) -> None:
        self._waiting.append(task)
        self._tell()

    def close(self) -> None:
        """No more come."""
        self._whole = True
        self._tell()

    async def take(self) -> Task | None:
        """The next one; None once all are done."""
        while not self._waiting:
            if self._whole and not self._under_way:
                return None
            changed = self._changed
            await changed.wait()
        self._under_way += 1
        return self._waiting.popleft()

    def done(self) -> None:
        self._under_way -= 1
        self._tell()

    async def ended(self) -> None:
        """Returns once all are done."""
        while self._waiting or self._under_way or not self._whole:
            changed = self._changed
            await changed.wait()

    def back(self, task: Task, *, guilty: bool) -> None:
        """Its worker was lost, perhaps because of it. Raises: RunError when that happened often."""
        self._losses[task.unit.number] += guilty
        self._under_way -= 1
        if self._losses[task.unit.number] >= MOST_LOSSES:
            raise RunError(
                f"{MOST_LOSSES} workers in turn were lost over the same {task.unit.rows:,} rows "
                f"({task.unit.pieces[0].file.name}, part {task.unit.number}): something in them, "
                "or in a step, ends the process; nothing paid for is lost. Look at the log of the "
                "last one, or give workers more memory, and run again"
            )
        self._waiting.appendleft(task)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Telling(Protocol):
    """Who hears of workers and units."""

    def came(self, worker: str, node: str, pid: int) -> None: ...

    def lost(self, worker: str, why: str) -> None: ...

    def waits(self, worker: str) -> None: ...

    def begun(self, worker: str, task: Task) -> None: ...

    def done(self, worker: str, task: Task, done: Done) -> None: ...


class Crew:
    """`make(name)` starts a worker and returns its handle; `tell` hears what happens."""

    def __init__(self, make: Callable[[str], Any], count: int, at_once: int, tell: Telling) -> None:
        self._make, self._count, self._at_once, self._tell = make, count, at_once, tell
        self.units = Units()
        self._done: asyncio.Queue[Done | BaseException | None] = asyncio.Queue()
        self._workers: dict[str, Any] = {}
        self._at_work: set[str] = set()  # of those that have begun, and may have calls under way
        self._stillborn = 0  # lost in a row before one of them could begin

    async def results(self) -> AsyncIterator[Done]:
        """What becomes of the units, as they are done. Raises: the first error of a unit."""
        keepers = [asyncio.create_task(self._keep(f"w{n}")) for n in range(self._count)]
        watch = asyncio.create_task(self._end(keepers))
        try:
            while (found := await self._done.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                if found.error is not None:
                    raise found.error
                yield found
        finally:
            watch.cancel()
            await self._release(keepers)

    def fail(self, error: BaseException) -> None:
        """Ends the results with an error from elsewhere."""
        self._done.put_nowait(error)

    async def _end(self, keepers: list[asyncio.Task[None]]) -> None:
        """Says when all is done, or what a keeper broke of."""
        await asyncio.wait(keepers, return_when=asyncio.FIRST_EXCEPTION)
        broken = [k.exception() for k in keepers if k.done() and not k.cancelled()]
        self._done.put_nowait(next(filter(None, broken), None))

    async def _keep(self, name: str) -> None:
        """One worker, another in its place when it is lost, until all units are done."""
        pause = PAUSE_S
        while True:
            worker = self._workers[name] = self._make(name)
            try:
                if await self._serve(name, worker):
                    return
            except RayActorError as error:
                begun = name in self._at_work
                self._at_work.discard(name)
                _end(worker)  # it may be out of reach, and at work
                self._tell.lost(name, why_lost(error))
                self._stillborn += not begun and by_itself(error)
                if self._stillborn >= MOST_LOSSES:
                    raise RunError(
                        f"{MOST_LOSSES} workers in a row were lost before they began: "
                        f"{why_lost(error)}. All machines need the same Python, Ray and karat, "
                        "and room for a worker; nothing paid for is lost"
                    ) from error
            except RayError as error:
                raise explain(error) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _serve(self, name: str, worker: Any) -> bool:
        """Hands units to a worker; True when there are no more."""
        starting = asyncio.ensure_future(_wait(worker.ready.remote()))
        ended = asyncio.ensure_future(self.units.ended())
        try:
            both = (starting, ended)
            done, _ = await asyncio.wait(both, timeout=LONG_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self._tell.waits(name)
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return True  # all was done before there was room for it
            said = starting.result()
        finally:
            starting.cancel()
            ended.cancel()
            await asyncio.gather(starting, ended, return_exceptions=True)
        if isinstance(said, KaratError):
            raise said
        self._at_work.add(name)
        self._stillborn = 0
        self._tell.came(name, *said)
        await _first_error(self._slot(name, worker) for _ in range(self._at_once))
        return True

    async def _slot(self, name: str, worker: Any) -> None:
        while (task := await self.units.take()) is not None:
            self._tell.begun(name, task)
            try:
                done = await _wait(worker.turn.remote(task))
            except BaseException as error:
                self.units.back(task, guilty=isinstance(error, RayActorError) and by_itself(error))
                raise
            self.units.done()
            self._tell.done(name, task, done)
            self._done.put_nowait(done)
            if done.error is not None:
                return

    async def _release(self, keepers: list[asyncio.Task[None]]) -> None:
        """Ends all workers: those at work may record what is under way."""
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        closing = [asyncio.create_task(_closed(self._workers[name])) for name in self._at_work]
        if closing:
            await asyncio.wait(closing, timeout=GRACE_S + 5)
        for worker in self._workers.values():
            _end(worker)


def _end(worker: Any) -> None:
    with suppress(RayError, ValueError):
        ray.kill(worker)


async def _wait(ref: Any) -> Any:
    """What a call to a worker returns."""
    return await ref


async def _closed(worker: Any) -> None:
    with suppress(RayError):
        await worker.close.remote()


async def _first_error(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of them. Raises: what ends the run rather than what may be mended, of all that broke."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [error for error in found if isinstance(error, Exception)]
    errors.sort(key=lambda error: not isinstance(error, KaratError))
    if errors:
        raise errors[0]
