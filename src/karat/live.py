"""live.json: what a run is doing now, in its folder, for whoever looks on from another process.

A page or a program beside a run must not need the process that runs, nor slow it down: the file is
small, is replaced whole about once a second, and a run neither fails nor waits because it cannot be
written. It says only what its writer knew. So whether that writer is still there is asked of the
system, and a killed run does not go on running in a file for ever.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from karat.errors import KaratError, RunError
from karat.pacing import Pace as Pace
from karat.rundir import Run, write_atomic
from karat.walk import Monitor, WorkerState
from karat.workers import Crew, crew_of, notable

VERSION = 1
EVERY_S = 1.0
FRESH_S = 60.0  # after which a run of another machine, whose processes nobody here sees, is over
MOST_WORKERS = 200
MOST_REASONS = 100  # of one step's drops; a step of the user's own may give each row another
MOST_TEXT = 2000  # characters of an error
OTHERS = "other reasons"
_SECRET = re.compile(r"key|token|secret|passw", re.IGNORECASE)
_SHORTEST_SECRET = 8  # characters: shorter values are ports and switches


class StepState(msgspec.Struct):
    """One step. `current`: it is at work; `sealed`: an earlier run did it. `rate` is rows a second
    over the last 20 s. None: `eta_s` while too little is known, `planned_s` where no plan is."""

    label: str
    rows_in: int = 0
    rows_out: int = 0
    in_flight: int = 0
    dropped: dict[str, int] = {}
    sealed: bool = False
    current: bool = False
    rate: float = 0.0
    eta_s: float | None = None
    planned_s: float | None = None


class State(msgspec.Struct):
    """A run at one moment; `started` and `updated` are Unix seconds.

    `state`: running, finished, stopped (by a person, or killed) or failed, with why in `error`.
    Calls, answers and the like are of this time; `cost_usd` is all the folder has paid for, and
    with `unpriced` it leaves out calls whose price nobody knows. `expected` rows enter the steps at
    work. `host` tells whose process id this is, `executor` where rows walk, by which `workers`: all
    of them, or the most notable 200; `crew` is all of them added up.
    """

    version: int = VERSION
    pid: int = 0
    host: str = ""
    started: float = 0.0
    updated: float = 0.0
    state: str = "running"
    error: str = ""
    note: str = ""
    steps: list[StepState] = []
    calls: int = 0
    answers: int = 0
    replayed: int = 0
    retries: int = 0
    failures: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    unpriced: bool = False
    projected_usd: float | None = None
    budget_usd: float | None = None
    expected: int | None = None
    executor: str = "local"
    workers: list[WorkerState] = []
    crew: Crew | None = None


def snapshot(monitor: Monitor, pace: Pace) -> State:
    """What a monitor says now."""
    tallies = monitor.tallies().values()
    return State(
        note=monitor.note,
        steps=[_step(monitor, label, pace) for label in monitor.stats],
        calls=sum(tally.calls for tally in tallies),
        answers=sum(tally.answers for tally in tallies),
        replayed=sum(tally.replayed for tally in tallies),
        retries=sum(tally.retries for tally in tallies),
        failures=sum(tally.failures for tally in tallies),
        tokens_out=sum(tally.tokens_out for tally in tallies),
        cost_usd=monitor.services.client.budget.spent_nano / 1e9,
        unpriced=any(tally.unpriced for tally in tallies if tally.calls),
        projected_usd=monitor.projected_usd(), budget_usd=monitor.services.recipe.budget_usd,
        expected=monitor.expected, executor=monitor.executor,
        workers=notable(monitor.seen.workers, MOST_WORKERS),
        crew=crew_of(monitor.seen.workers) if monitor.executor != "local" else None,
    )  # fmt: skip


def _step(monitor: Monitor, label: str, pace: Pace) -> StepState:
    stats, flying = monitor.figures(label), monitor.flying(label)
    made = StepState(
        label, stats.rows_in, stats.rows_out, flying, _reasons(stats.dropped),
        label in monitor.sealed, label in monitor.current, planned_s=monitor.planned_s.get(label),
    )  # fmt: skip
    if made.current:
        through = stats.rows_in - flying
        made.rate = pace.rate(label, through)
        done = stats.rows_out + sum(stats.dropped.values())
        if monitor.expected is not None and made.rate > 0 and done:
            made.eta_s = max(0.0, (monitor.expected - through) / made.rate)
    return made


def _reasons(dropped: dict[str, int]) -> dict[str, int]:
    """The most frequent reasons, so that the file stays small whatever a step says."""
    if len(dropped) <= MOST_REASONS:
        return dict(dropped)
    most = dict(Counter(dropped).most_common(MOST_REASONS - 1))
    most[OTHERS] = most.get(OTHERS, 0) + sum(dropped.values()) - sum(most.values())
    return most


# --- writing -------------------------------------------------------------------------------------


class Writer:
    """Keeps a run's live.json up to date. Until it follows a monitor, there are no steps."""

    def __init__(self, place: Run) -> None:
        self._path = place.live_file
        self._monitor: Monitor | None = None
        self._pace = Pace()
        self._started = time.time()
        self._ended = asyncio.Event()

    def follow(self, monitor: Monitor) -> None:
        self._monitor = monitor

    async def keep(self) -> None:
        """Writes about once a second until the end; the disk may be slow, so on a thread."""
        while not self._ended.is_set():
            await asyncio.to_thread(self._put, self._bytes("running"))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), EVERY_S)

    async def end(self, keeper: asyncio.Task[None], state: str, error: str = "") -> None:
        """The last word, after all others: what is under way is waited for."""
        self._ended.set()
        await asyncio.gather(keeper, return_exceptions=True)
        if self._monitor is not None and state == "finished":
            self._monitor.current = []
        self._put(self._bytes(state, error))

    def _bytes(self, state: str, error: str = "") -> bytes:
        made = State() if self._monitor is None else snapshot(self._monitor, self._pace)
        made.pid, made.host = os.getpid(), _host()
        made.started, made.updated = self._started, time.time()
        made.state, made.error, made.note = state, self._hidden(error), _text(made.note)
        for step in made.steps:
            step.label = _text(step.label)
            step.dropped = {_text(reason): count for reason, count in step.dropped.items()}
        return msgspec.json.encode(made)

    def _hidden(self, error: str) -> str:
        """An error without a key: a step of the user's own may say anything."""
        values = [v for name, v in os.environ.items() if _SECRET.search(name)]
        for value in sorted((v.strip() for v in values), key=len, reverse=True):
            if len(value) >= _SHORTEST_SECRET:
                error = error.replace(value, "[key]")
        if self._monitor is not None:
            for endpoint in self._monitor.services.client.endpoints.values():
                error = endpoint.provider.quote(error, MOST_TEXT)
        return _text(error[:MOST_TEXT])

    def _put(self, data: bytes) -> None:
        with suppress(RunError):  # no room, no folder: a run goes on without it
            write_atomic(self._path, data)


@asynccontextmanager
async def written(place: Run) -> AsyncIterator[Writer]:
    """Writes `place`'s live.json while the block runs, and at its end how it ended."""
    writer = Writer(place)
    keeper = asyncio.create_task(writer.keep())
    try:
        yield writer
    except Exception as error:
        said = str(error) if isinstance(error, KaratError) else f"{type(error).__name__}: {error}"
        await writer.end(keeper, "failed", said)
        raise
    except BaseException:  # cancelled or interrupted
        await writer.end(keeper, "stopped")
        raise
    await writer.end(keeper, "finished")


def _text(text: str) -> str:
    """As JSON can hold it: a lone surrogate becomes '?'."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _host() -> str:
    """The machine and, in a container, the set of processes that ids are counted in."""
    try:
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        processes = ""
    return f"{os.uname().nodename} {processes}".strip()


# --- reading -------------------------------------------------------------------------------------


def read(run: Run) -> State | None:
    """What a run wrote last, None where there is nothing to read.

    A run that says it is running, and whose process is gone or has let go of the folder, is
    stopped.
    """
    found = _read(run.live_file)
    if found is None or found.state != "running" or _at_work(run, found):
        return found
    again = _read(run.live_file)  # it may have ended between the two looks
    if again is not None and again.state == "running":
        again.state = "stopped"
    return again


def _read(path: Path) -> State | None:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.version == VERSION else None


def _at_work(run: Run, state: State) -> bool:
    if state.host != _host():
        return time.time() - state.updated < FRESH_S
    return _has_open(state.pid, run.path / ".lock")


def _has_open(pid: int, lock: Path) -> bool:
    """Whether the process has the lock's file open, which it has for as long as it holds it.

    Looked up and not tried: a try with flock holds the lock for a moment, and a run that starts in
    that moment would be told that its folder is in use. Where there is no /proc to look into, or
    the process is another user's, that it is alive must do.
    """
    try:
        wanted = lock.stat()
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):  # closed since
                    if os.path.samestat(entry.stat(), wanted):
                        return True
        return False
    except OSError:
        return _is_alive(pid) if lock.exists() else False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return pid > 0
