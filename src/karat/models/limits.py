"""How many calls may be under way at one endpoint, and how fast new ones may start.

A fixed width bounds what is in flight. When the endpoint refuses (429), sending pauses for as long
as it asked and goes on at a pace learned from what it really delivered over the whole cycle, pause
included; the pace then creeps up until the next refusal. Overload without a number (503, timeouts)
halves the width, and success restores it one by one (AIMD).
"""

from __future__ import annotations

import asyncio
from collections import deque

FIRST_GROWTH_PER_S = 2.0  # until a second refusal has bounded the search from above
GROWTH_PER_S = 1.03
DEFAULT_PAUSE_S = 0.5  # a refusal that does not say how long
MAX_PAUSE_S = 120.0


class Limiter:
    """Slots in order of arrival. Times are the loop's clock, in seconds."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.in_flight = 0
        self.rate: float | None = None  # calls per second; None: the width alone decides
        self._allowed = float(width)
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._next_start = 0.0
        self._grown_at = 0.0
        self._growth = FIRST_GROWTH_PER_S
        self._cycle_start = 0.0
        self._cycle_delivered = 0
        self._halved_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, weight: int = 1) -> float:
        """Waits for `weight` slots and a turn; returns the time the call starts.

        A call heavier than the whole width goes alone.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting and self._ready(loop.time(), weight):
            return self._take(loop.time(), weight)
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((turn, weight))
        self._pump()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(weight)
            raise
        return loop.time()

    def release(self, weight: int = 1) -> None:
        self.in_flight -= weight
        self._pump()

    def delivered(self) -> None:
        """A call succeeded."""
        self._cycle_delivered += 1
        if self._allowed < self.width:
            self._allowed = min(self.width, self._allowed + 1 / self._allowed)

    def refused(self, started: float, retry_after_s: float | None) -> float:
        """A call that started at `started` got 429. Returns how long its own retry must wait."""
        now = asyncio.get_running_loop().time()
        pause = min(DEFAULT_PAUSE_S if retry_after_s is None else retry_after_s, MAX_PAUSE_S)
        if started >= self._cycle_start:  # else: sent before the pause that is already under way
            self._learn(now, pause)
        return max(0.0, self._cycle_start - now)

    def overloaded(self, started: float) -> None:
        """A call timed out or met 503: half the width, once per round trip."""
        if started >= self._halved_at:
            self._halved_at = asyncio.get_running_loop().time()
            self._allowed = max(1.0, self._allowed / 2)

    def _learn(self, now: float, pause: float) -> None:
        span = now + pause - (self._cycle_start or now - 0.05)
        goodput = max(self._cycle_delivered, 1) / max(span, 0.05)
        if self.rate is None:
            self.rate = 1.25 * goodput
        else:
            self.rate = min(max(1.1 * goodput, self.rate / 2), self.rate * 0.95)
            self._growth = GROWTH_PER_S
        self._cycle_start = self._next_start = self._grown_at = now + pause
        self._cycle_delivered = 0

    def _room(self, weight: int) -> bool:
        return self.in_flight == 0 or self.in_flight + weight <= int(self._allowed)

    def _ready(self, now: float, weight: int) -> bool:
        return self._room(weight) and now >= self._next_start

    def _take(self, now: float, weight: int) -> float:
        self.in_flight += weight
        if self._cycle_start == 0.0:
            self._cycle_start = now
        if self.rate is not None:
            self.rate *= self._growth ** max(0.0, now - self._grown_at)
            self._grown_at = max(now, self._grown_at)
            # up to 50 ms of turns missed while the loop was busy may be made good
            self._next_start = max(self._next_start, now - 0.05) + 1 / self.rate
        return now

    def _pump(self) -> None:
        """Starts whoever may start; sets a timer when only the pace holds the next one back."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting and self._ready(now, self._waiting[0][1]):
            turn, weight = self._waiting.popleft()
            if not turn.done():
                self._take(now, weight)
                turn.set_result(None)
        blocked_by_pace = self._waiting and self._room(self._waiting[0][1])
        if blocked_by_pace and self._timer is None:
            self._timer = loop.call_at(max(self._next_start, now + 0.001), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._pump()
