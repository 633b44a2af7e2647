"""The open indexes of one server, and the making of those that are not there yet.

An index is made when somebody first looks at a run's rows, once however many look. A small run's is
made in a thread, a large one's in a process of its own with less priority: ten seconds for a
million rows. Meanwhile pages in the order of the run need none; what does waits a moment, then says
how far it is.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request

from karat.errors import KaratError, RunError
from karat.rundir import Run
from karat.web.desk import desk
from karat.web.rows.asked import Filter
from karat.web.rows.engine import Engine, Stop, StoppedError
from karat.web.rows.files import Holding, holding
from karat.web.rows.index import build, fresh
from karat.web.rows.search import Search

OPEN = 4  # engines kept open; each may use half a gigabyte while it is asked
SEARCHES = 32
SMALL_BYTES = 64 * 2**20  # of a run whose index is made in this process
LIMIT_S = 10.0  # of a question
MOST_BUILD_S = 1800.0
T = TypeVar("T")
_at_work = ThreadPoolExecutor(4, thread_name_prefix="karat-rows")


class Making:
    """An index that is being made: how far, and why not where it failed."""

    def __init__(self) -> None:
        self.share = 0.0
        self.why = ""
        self.task: asyncio.Task[None] | None = None


class Keeper:
    """Of one server."""

    def __init__(self) -> None:
        self._engines: OrderedDict[Path, tuple[Holding, Engine]] = OrderedDict()
        self._making: dict[tuple[Path, str], Making] = {}
        self._searches: OrderedDict[tuple[Path, str, Filter], Search] = OrderedDict()

    def engine(self, run: Run, held: Holding) -> Engine | None:
        """The index of this state of the run, where it is made."""
        opened = self._engines.get(run.path)
        if opened is not None and opened[0].key == held.key:
            self._engines.move_to_end(run.path)
            return opened[1]
        if (found := fresh(run, held)) is None:
            return None
        engine = Engine(*found)
        self._engines[run.path] = (held, engine)
        self._engines.move_to_end(run.path)
        if len(self._engines) > OPEN:
            self._engines.popitem(last=False)  # closed once nobody asks it any more
        return engine

    def make(self, run: Run, held: Holding) -> Making:
        """Begins to make the run's index, unless that is under way."""
        key = (run.path, str(held.key))
        making = self._making.get(key)
        if making is None:
            for other in [one for one in self._making if one[0] == run.path]:
                if (task := self._making.pop(other).task) is not None:
                    task.cancel()  # of a state of the run that is over
            making = self._making[key] = Making()
            making.task = asyncio.create_task(self._make(run, held, making))
        return making

    async def _make(self, run: Run, held: Holding, making: Making) -> None:
        def progress(share: float) -> None:
            making.share = share

        try:
            async with asyncio.timeout(MOST_BUILD_S):
                if is_small(held):
                    await asyncio.to_thread(build, run, held, progress)
                else:
                    await _apart(run, progress)
            self._making.pop((run.path, str(held.key)), None)
        except (KaratError, OSError, TimeoutError) as error:
            making.why = str(error) or "it took too long"

    def search(self, run: Run, held: Holding, asked: Filter, made: Callable[[], Search]) -> Search:
        """The search for a filter's text, which may have been begun for an earlier page."""
        key = (run.path, str(held.key), asked)
        if key not in self._searches:
            self._searches[key] = made()
            if len(self._searches) > SEARCHES:
                self._searches.popitem(last=False)
        self._searches.move_to_end(key)
        return self._searches[key]


async def _apart(run: Run, progress: Callable[[float], None]) -> None:
    """Makes the index in a process of its own. Raises: RunError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "karat.web.rows.index", str(run.path.resolve()),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async for line in process.stdout:
            progress(float(line))
        said = (await process.stderr.read()).decode("utf-8", "replace").strip()
        if await process.wait():
            raise RunError(said.splitlines()[-1] if said else "the index could not be made")
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def keeper(request: Request) -> Keeper:
    """The keeper of the server that got this request."""
    return desk(request).own(Keeper, Keeper)


def is_small(held: Holding) -> bool:
    """Whether the run's index is made in a moment."""
    return sum(part.size for part in held.parts) <= SMALL_BYTES


def prepare(request: Request, run: Run) -> None:
    """Begins to make a run's index, if it has rows and none yet: for pages that lead to them."""
    with suppress(KaratError):
        held = holding(run)
        if keeper(request).engine(run, held) is None:
            keeper(request).make(run, held)


async def answer(request: Request, work: Callable[[Stop], T], limit_s: float = LIMIT_S) -> T:
    """What `work` says, off the event loop; stopped when it is due or the client has gone.

    Raises: StoppedError.
    """
    stop = Stop(limit_s)
    job: asyncio.Future[T] = asyncio.get_running_loop().run_in_executor(_at_work, work, stop)
    gone = asyncio.ensure_future(_gone(request))
    both: set[asyncio.Future[Any]] = {job, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not job.done():
            stop.now()
    if not job.done():
        with suppress(StoppedError):
            await job
        raise StoppedError("nobody waits for the answer any more")
    return await job


async def _gone(request: Request) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
