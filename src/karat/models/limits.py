"""Who may call an endpoint now: slots and turns, in order of arrival.

Four things hold a call back, each in a file of its own, and a call starts when all agree: the width
(width.py: how many calls at once deliver most), the pace (pace.py: what the service refuses), the
stated limits and what replies say is left (quota.py), and the share of other karat processes
(sharing.py). They are asked, never timed, by themselves: all clocks and queues are here.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from karat.errors import RunError
from karat.models.neighbours import Mailbox
from karat.models.pace import Pace
from karat.models.quota import Hints, Quota
from karat.models.rate_headers import MAX_PAUSE_S, RateLimits
from karat.models.sharing import MOST_OF_THE_TIME, Sharing
from karat.models.width import START_S, Width

__all__ = ["MAX_PAUSE_S", "Limiter"]


class Limiter:
    """Slots in order of arrival. Times are the loop's clock, in seconds.

    `rpm` and `tpm` are limits a service or a person states: calls and tokens a minute. `search`:
    whether a narrower width may deliver more.
    """

    def __init__(
        self,
        width: int,
        *,
        rpm: float | None = None,
        tpm: float | None = None,
        neighbours: Mailbox | None = None,
        search: bool = True,
    ) -> None:
        self.width = width
        self.in_flight = 0
        self._pace = Pace()
        self._width = Width(width, search=search)
        self._hints = Hints()
        self._requests = Quota(rpm) if rpm else None
        self._tokens = Quota(tpm) if tpm else None
        self._tokens_a_call = 0.0
        self._sharing = (
            None
            if neighbours is None
            else Sharing(neighbours, self._pace, self._requests, self._tokens)
        )
        self._waiting: deque[tuple[asyncio.Future[None], int, int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._closed = False
        self._held = False  # whether the pace alone holds the next start back
        self._blocked_until = 0.0
        self._was_held = False  # by anything but the width, since the last tick

    @property
    def rate(self) -> float | None:
        """Calls per second; None while nothing was refused and the width alone decides."""
        return self._pace.rate

    async def acquire(self, weight: int = 1, tokens: int = 0) -> float:
        """Waits for `weight` slots and a turn; returns the time the call starts.

        `tokens` is what the call is expected to use. A call heavier than the whole width, or than
        a minute's tokens, goes alone. Raises: RunError after `close`.
        """
        if self._closed:
            raise _stopped()
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._ticking is None and self._sharing is not None:
            self._sharing.begin(now)
            self._ticking = loop.call_later(self._sharing.tick_s, self._tick)
        if not self._waiting and self._room(weight) and now >= self._turn(now, tokens):
            return self._take(now, weight, tokens)
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((turn, weight, tokens))
        self._pump()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._changed()  # those behind a heavy call may fit
            elif turn.exception() is None:
                self.release(weight)
            raise
        return loop.time()

    def release(self, weight: int = 1) -> None:
        self.in_flight -= weight
        if self._waiting:
            self._pump()

    def delivered(self, began: float = 0.0, tokens: tuple[int, int] = (0, 0)) -> None:
        """A call succeeded. `tokens` are those expected and those used."""
        if self._tokens is not None and tokens[0] != tokens[1]:
            now = asyncio.get_running_loop().time()
            self._tokens.settle(now, began, *tokens)
            self._blocked_until = 0.0
        if self._width.delivered(self.in_flight):
            self._width.turn(asyncio.get_running_loop().time(), self.in_flight)

    def refused(self, began: float, retry_after_s: float | None) -> float:
        """A call that started at `began` got 429. Returns how long its own retry must wait."""
        return self._pace.refused(asyncio.get_running_loop().time(), began, retry_after_s)

    def overloaded(self, began: float) -> None:
        """A call timed out or met 503."""
        self._width.overloaded(asyncio.get_running_loop().time(), began)

    def told(self, limits: RateLimits) -> None:
        """What a reply's headers said."""
        now, before = asyncio.get_running_loop().time(), self._hints.opens
        self._hints.told(now, limits, self.in_flight, self._tokens_a_call)
        if self._hints.opens < before:
            self._changed()

    def close(self) -> None:
        """Nothing starts any more: who waits in `acquire`, or comes later, gets a RunError."""
        self._closed = True
        for timer in (self._timer, self._opening, self._ticking):
            if timer is not None:
                timer.cancel()
        self._timer = self._opening = self._ticking = None
        if self._sharing is not None:
            self._sharing.rest()
        while self._waiting:
            turn, _, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(_stopped())

    def _room(self, weight: int) -> bool:
        return self.in_flight == 0 or self.in_flight + weight <= self._width.allowed

    def _turn(self, now: float, tokens: int) -> float:
        """When the next call may start."""
        opens = max(self._pace.next_start, self._hints.opens)
        if self._requests is not None:
            opens = max(opens, self._requests.opens(now, 1))
        if self._tokens is not None and tokens:
            opens = max(opens, self._tokens.opens(now, tokens))
        return opens

    def _take(self, now: float, weight: int, tokens: int) -> float:
        self.in_flight += weight
        self._pace.started(now, self._held)
        self._held = False
        if self._width.starting and self._opening is None:
            self._width.first_start(now)
            self._opening = asyncio.get_running_loop().call_later(START_S, self._open)
        self._hints.started(now)
        if self._requests is not None:
            self._requests.take(now, 1)
        if tokens:
            self._tokens_a_call += 0.1 * (tokens - self._tokens_a_call)
            if self._tokens is not None:
                self._tokens.take(now, tokens)
        if self._sharing is not None:
            self._sharing.calls += 1
            self._sharing.tokens += tokens
        return now

    def _pump(self) -> None:
        """Starts whoever may start; sets a timer when only time holds the next one back."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < self._blocked_until:
            return
        while self._waiting:
            turn, weight, tokens = self._waiting[0]
            if not turn.done():
                if not self._room(weight):
                    return
                opens = self._turn(now, tokens)
                if now < opens:
                    self._held = opens == self._pace.next_start
                    self._blocked_until = opens
                    self._was_held = True
                    if self._timer is None:
                        self._timer = loop.call_at(max(opens, now + 0.001), self._on_timer)
                    return
                self._take(now, weight, tokens)
                turn.set_result(None)
            self._waiting.popleft()

    def _changed(self) -> None:
        """What held the next call back may hold it no longer."""
        self._blocked_until = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pump()

    def _on_timer(self) -> None:
        self._timer = None
        self._blocked_until = 0.0
        self._pump()

    def _tick(self) -> None:
        """Every tick while calls are under way or wait, and neighbours may be there."""
        assert self._sharing is not None
        if not self._waiting and not self.in_flight and not self._sharing.calls:
            self._ticking = None
            self._sharing.rest()
            return
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        self._sharing.tick(loop.time(), self._was_held)
        took = time.perf_counter() - began
        self._ticking = loop.call_later(
            max(self._sharing.tick_s, MOST_OF_THE_TIME * took), self._tick
        )
        self._was_held = False
        self._changed()

    def _open(self) -> None:
        if self._width.still_starting():
            self._opening = asyncio.get_running_loop().call_later(START_S, self._open)
        else:
            self._pump()


def _stopped() -> RunError:
    return RunError("stopped before this call was sent")
