"""A coroutine run to its end from ordinary code: at a prompt, in a script, in a notebook.

A notebook's cell runs inside an event loop, which cannot run another in the same thread. So there
the work gets a thread of its own while the cell waits. Wherever it runs, the first interrupt ends
it in order (calls under way may finish, for they are paid for) and the next one at once. In a cell
that awaits something Jupyter's own handler would only note the interrupt for the loop that waits
for us, so while work is under way the handler is ours.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Generic, TypeVar

from karat.executors.local import GRACE_S

T = TypeVar("T")
STOPPING = (
    f"\nStopping: calls under way may finish, {GRACE_S:g} s at most (Ctrl-C again stops at once) …"
)


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Runs to completion; inside a running loop (a notebook) on a thread of its own.

    Raises: KeyboardInterrupt after an interrupt, once the work has ended; whatever the work raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _on_fresh_loop(work)
    return _Apart(work).result()


def listen_again() -> None:
    """Takes SIGTERM back from Ray, which prints a page of addresses before it hands it on."""
    if _is_main():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        signal.siginterrupt(signal.SIGTERM, False)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _say() -> None:
    print(STOPPING, file=sys.stderr, flush=True)  # noqa: T201  at once, whoever is drawing


def _raise_in(thread: threading.Thread) -> None:
    """KeyboardInterrupt in whatever Python code a thread is in, as Ctrl-C has it in a script's."""
    if thread.ident is not None:
        number, error = ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, error)


class _Apart(Generic[T]):
    """Work on a thread with a loop of its own."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._done: list[T] = []
        self._failure: list[BaseException] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._interrupts = 0
        # In the cell's own context, so that what is printed or drawn there stands below that cell.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="karat")

    def result(self) -> T:
        """What the work gives, when it has ended."""
        with self._listening():
            self._thread.start()
            self._thread.join()
        if self._interrupts:
            raise KeyboardInterrupt
        if self._failure:
            raise self._failure[0]
        return self._done[0]

    def _run(self) -> None:
        try:
            self._done.append(_on_fresh_loop(self._noted()))
        except BaseException as error:
            self._failure.append(error)

    async def _noted(self) -> T:
        # First the loop, then the look: an interrupt counts first and looks for the loop then, so
        # one of the two sees the other.
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._interrupts:
            self._work.close()
            raise asyncio.CancelledError
        return await self._work

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Interrupts are this work's, where they arrive in this thread at all."""
        if not _is_main():
            yield
            return
        before = signal.signal(signal.SIGINT, self._interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            _say()
        if self._interrupts > 2:  # code that never looks up; what it holds must not be left to it
            _raise_in(self._thread)
            return
        if self._loop is not None:
            with suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._cancel, self._interrupts)

    def _cancel(self, interrupts: int) -> None:
        """In the work's own thread: the first time in order, then all that is left at once."""
        if self._task is not None:
            self._task.cancel()
        if interrupts > 1:
            for task in asyncio.all_tasks():
                task.cancel()


def _on_fresh_loop(work: Coroutine[Any, Any, T]) -> T:
    """On uvloop where it exists."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_interruptible(work))


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    """The first SIGINT or SIGTERM ends the work in order; a second SIGINT ends it at once."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    if not _is_main():
        return await work

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        _say()
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    try:
        return await work
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
