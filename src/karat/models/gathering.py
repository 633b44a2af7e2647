"""Requests on their way into a batch: who waits for what, and when enough have come together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from karat.errors import RunError
from karat.models.transport import HttpReply
from karat.row import digest

QUIET_S = 2.0  # without a new request, and those that came go out together
LONGEST_S = 300.0  # the first of them waits no longer
KEY_BYTES, BODY_BYTES = 16, 8
LINE_BYTES = 200  # a request's envelope


def name_of(key: bytes, body: bytes) -> bytes:
    """What a batch calls a request; as hex at most 64 characters, which services allow."""
    return key + digest(body, size=BODY_BYTES)


def key_in(name: bytes) -> bytes:
    return name[:KEY_BYTES]


def names_in(packed: bytes) -> frozenset[bytes]:
    """Names written one after another."""
    size = KEY_BYTES + BODY_BYTES
    return frozenset(packed[i : i + size] for i in range(0, len(packed), size))


class Waiter(NamedTuple):
    """A request, and its reply to come; None: it is not to be had in a batch."""

    body: bytes
    reply: asyncio.Future[HttpReply | None]


class Batch:
    """One batch: what is in it, who waits for it and who was served.

    `good` are the requests it answered, `given` those whose reply was handed over.
    """

    def __init__(
        self, name: str, created: float, names: frozenset[bytes], remote: str | None,
        waiting: dict[bytes, Waiter] | None = None,
    ) -> None:  # fmt: skip
        self.id, self.created, self.names, self.remote = name, created, names, remote
        self.fresh = waiting is not None  # made by this process, not by an earlier one
        self.waiting = waiting or {}
        self.given: set[bytes] = set()
        self.good: set[bytes] = set()
        self.task: asyncio.Task[None] | None = None
        self.read = self.handing = self.refused = False
        self._reads = 0
        self._joined = asyncio.get_running_loop().time()

    def join(self, name: bytes, waiter: Waiter) -> None:
        self.waiting[name] = waiter
        self._joined = asyncio.get_running_loop().time()

    async def all_here(self) -> None:
        """Returns when no new waiter has come for a while: results are read once for all of them.

        Who comes later has them read again, each time after twice the while.
        """
        loop, rest = asyncio.get_running_loop(), min(QUIET_S * 2**self._reads, LONGEST_S)
        while (left := self._joined + rest - loop.time()) > 0:  # noqa: ASYNC110  it moves on
            await asyncio.sleep(left)
        self._reads += 1

    def give(self, name: bytes, reply: HttpReply | None) -> bool:
        """Hands a reply over; says whether anybody waited for it."""
        waiter = self.waiting.pop(name, None)
        if waiter is None or waiter.reply.done():
            return False
        self.given.add(name)
        waiter.reply.set_result(reply)
        return True

    def give_up(self) -> None:
        for name in list(self.waiting):
            self.give(name, None)

    def fail(self, error: Exception) -> None:
        _fail(self.waiting, error)


class Gathering:
    """Collects requests and sends them off together."""

    def __init__(
        self, most_requests: int, most_bytes: int, send: Callable[[dict[bytes, Waiter]], None]
    ) -> None:
        self.most_requests, self._most_bytes, self._send = most_requests, most_bytes, send
        self._waiting: dict[bytes, Waiter] = {}
        self._bytes = 0
        self._first = self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, name: bytes, waiter: Waiter) -> None:
        size = len(waiter.body) + LINE_BYTES
        full = len(self._waiting) >= self.most_requests or self._bytes + size > self._most_bytes
        if self._waiting and full:
            self._go()
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        if not self._waiting:
            self._first = self._last
            self._timer = loop.call_later(QUIET_S, self._quiet)
        self._waiting[name] = waiter
        self._bytes += size

    def take_back(self, batch: Batch) -> None:
        """Gathers anew who waited for a batch that is not."""
        waiting, batch.waiting = batch.waiting, {}
        for name, waiter in waiting.items():
            if not waiter.reply.done():
                self.add(name, waiter)

    def fail(self, error: Exception) -> None:
        self._clear()
        _fail(self._waiting, error)

    def _quiet(self) -> None:
        loop = asyncio.get_running_loop()
        due = min(self._last + QUIET_S, self._first + LONGEST_S)
        if loop.time() < due:
            self._timer = loop.call_at(due, self._quiet)
        else:
            self._go()

    def _go(self) -> None:
        self._clear()
        wanted = {n: waiter for n, waiter in self._waiting.items() if not waiter.reply.done()}
        self._waiting = {}
        if wanted:
            self._send(wanted)

    def _clear(self) -> None:
        self._bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _fail(waiting: dict[bytes, Waiter], error: Exception) -> None:
    for waiter in waiting.values():
        if not waiter.reply.done():
            # One for each: raised in many tasks, a single one would collect all their frames.
            own = RunError(str(error)) if isinstance(error, RunError) else error
            waiter.reply.set_exception(own)
    waiting.clear()
