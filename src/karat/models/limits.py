"""How many calls may be under way at one endpoint, and how fast new ones may start.

A width bounds what is in flight; overload without a number (503, timeouts) halves it and success
restores it one by one (AIMD). A pace bounds how fast calls start, once the endpoint has refused
one (429). The pace aims at a small share of refusals, not at none: a service that refuses one call
in a hundred is used up, one that refuses none may be idle, and no pause is needed to stay there.

1. The first refusal: everyone pauses as long as it asks. What got through, over first start to end
   of pause, is the first pace; from there it grows e-fold a second until the next refusal. Between
   the two the service was used up twice: what got through is its rate, or less if it had spare
   capacity in between, so the pace comes down to that, but not by more than LANDING.
2. From then on a refused call waits alone, and lowers the pace by a step; each start that the pace
   held back raises it by REFUSED_SHARE of a step. The two cancel where that share is refused. Many
   starts without a refusal mean that the limit rose: the raises grow with their number.
3. Where nearly all is refused the door is shut (a used-up window, a limit far lower): everyone
   pauses, and the pace falls to what got through since the last pause, by half at the most. Where
   nothing got through (an outage, a spent quota), the search of (1) begins again.

Source: Robbins & Monro 1951, "A Stochastic Approximation Method" (2); Jacobson 1988, "Congestion
Avoidance and Control" (the search, the halved width, a gain that falls with the round trip).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

from karat.errors import RunError

REFUSED_SHARE = 0.005  # of calls, once settled
QUIET_CALLS = 100  # without a refusal: from here on the pace rises faster and faster
LANDING = 1.6
SETTLE_S = 0.7  # a pace k times too high comes down within about k of these
LARGEST_STEP = 0.1
FIRST_GROWTH = 0.7  # of a step a call, while searching: e-fold a second
LOWEST_RATE = 0.2  # slower limits are met by waiting as told; below it recovery takes too long
SHUT_SHARE = 0.65  # refused, of about the last `_shut_after` calls: the door is shut
LONG_WAIT_S = 5.0  # who asks for so long has a window that is used up
CATCH_UP_S = 0.05  # turns missed while the loop was busy may be made good this far back
DEFAULT_PAUSE_S = 0.5  # a refusal that does not say how long
MAX_PAUSE_S = 120.0


class Limiter:
    """Slots in order of arrival. Times are the loop's clock, in seconds."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.in_flight = 0
        self.rate: float | None = None  # calls per second; None: the width alone decides
        self._allowed = float(width)
        self._halved_at = 0.0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._next_start = 0.0
        self._held = False  # whether the pace alone holds the next start back
        self._cycle_start: float | None = None  # the end of the last pause
        self._resume_at: float | None = None  # the end of a pause nothing was learned from yet
        self._accepted = 0  # calls of this cycle, less those refused
        self._dry_at = 0.0  # the start of the refused call that brought the last pause
        self._searching = True
        self._quiet = 0  # starts since the last refusal
        self._shut = 0.0  # refused share of the last calls
        self._shut_after = 10
        self._round_trip = 0.0  # of the last refusal

    async def acquire(self, weight: int = 1) -> float:
        """Waits for `weight` slots and a turn; returns the time the call starts.

        A call heavier than the whole width goes alone. Raises: RunError after `close`.
        """
        if self._closed:
            raise _stopped()
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._waiting and self._ready(now, weight):
            return self._take(now, weight)
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((turn, weight))
        self._pump()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._pump()  # those behind a heavy call may fit
            elif turn.exception() is None:
                self.release(weight)
            raise
        return loop.time()

    def release(self, weight: int = 1) -> None:
        self.in_flight -= weight
        self._pump()

    def delivered(self) -> None:
        """A call succeeded."""
        if self._allowed < self.width:
            self._allowed = min(self.width, self._allowed + 1 / self._allowed)

    def refused(self, started: float, retry_after_s: float | None) -> float:
        """A call that started at `started` got 429. Returns how long its own retry must wait."""
        now = asyncio.get_running_loop().time()
        told = retry_after_s is not None and math.isfinite(retry_after_s)
        wait = min(max(retry_after_s or 0.0, 0.0), MAX_PAUSE_S) if told else DEFAULT_PAUSE_S
        self._accepted -= 1
        if self._resume_at is not None or started < (self._cycle_start or 0.0):
            return wait  # sent before the pause: it tells nothing new
        self._round_trip = now - started
        self._quiet = 0
        self._shut_after = 5 if wait >= LONG_WAIT_S else 10 if told else 20
        self._shut += 1 / self._shut_after
        if self.rate is not None:
            self.rate = max(LOWEST_RATE, self.rate * (1 - self._step(self.rate)))
            if self._searching and self._accepted > 0:
                self._land(started, self.rate)
        if self.rate is None or self._shut > SHUT_SHARE:
            # at least a round trip, so that the other refusals under way are counted by its end
            self._resume_at = self._next_start = now + max(wait, self._round_trip)
            self._dry_at = started
        return wait

    def overloaded(self, started: float) -> None:
        """A call timed out or met 503: half the width, once per round trip."""
        if started >= self._halved_at:
            self._halved_at = asyncio.get_running_loop().time()
            self._allowed = max(1.0, self._allowed / 2)

    def close(self) -> None:
        """Nothing starts any more: who waits in `acquire`, or comes later, gets a RunError."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(_stopped())

    def _step(self, rate: float) -> float:
        """What one refusal takes off: all of the excess in SETTLE_S, or four round trips."""
        return min(LARGEST_STEP, 1 / (rate * max(SETTLE_S, 4 * self._round_trip)))

    def _land(self, started: float, rate: float) -> None:
        """The search ends with the refusal of a call that started at `started`."""
        known = self._accepted - rate * self._round_trip  # calls sent since then may be refused yet
        found = known / max(started - self._dry_at, 0.01)
        self.rate = max(LOWEST_RATE, min(rate, max(rate / LANDING, found)))
        self._searching = False
        self._quiet = 5 * QUIET_CALLS  # it may have landed low

    def _learn(self, resumed: float) -> None:
        """The first start after a pause: what got through since the last one, or ever."""
        span = resumed - (self._cycle_start or resumed)
        goodput = max(self._accepted, 1) / max(span, 0.05)
        if self.rate is None:
            self.rate = max(LOWEST_RATE, 1.25 * goodput)
        else:
            self.rate = min(self.rate, max(goodput, self.rate / 2, LOWEST_RATE))
            self._searching = self._accepted <= 0
        self._cycle_start, self._resume_at = resumed, None
        self._accepted, self._shut = 0, 0.0

    def _room(self, weight: int) -> bool:
        return self.in_flight == 0 or self.in_flight + weight <= int(self._allowed)

    def _ready(self, now: float, weight: int) -> bool:
        return self._room(weight) and now >= self._next_start

    def _take(self, now: float, weight: int) -> float:
        self.in_flight += weight
        if self._cycle_start is None:
            self._cycle_start = now
        if self._resume_at is not None:
            self._learn(self._resume_at)
        self._accepted += 1
        if self.rate is not None:
            self._shut *= 1 - 1 / self._shut_after
            if self._held:
                self._quiet += 1
                share = REFUSED_SHARE * max(1.0, self._quiet / QUIET_CALLS)
                if self._searching:
                    share = max(share, FIRST_GROWTH)
                self.rate *= 1 + share * self._step(self.rate)
                self._held = False
            self._next_start = max(self._next_start, now - CATCH_UP_S) + 1 / self.rate
        return now

    def _pump(self) -> None:
        """Starts whoever may start; sets a timer when only the pace holds the next one back."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting:
            turn, weight = self._waiting[0]
            if not turn.done():
                if not self._ready(now, weight):
                    break
                self._take(now, weight)
                turn.set_result(None)
            self._waiting.popleft()
        if self._waiting and self._room(self._waiting[0][1]):
            self._held = True
            if self._timer is None:
                self._timer = loop.call_at(max(self._next_start, now + 0.001), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._pump()


def _stopped() -> RunError:
    return RunError("stopped before this call was sent")
