"""How fast calls may start at an endpoint that refuses some (429).

The pace aims at a small share of refusals, not at none: a service that refuses one call in a
hundred is used up, one that refuses none may be idle, and no pause is needed to stay there.

1. The first refusal: everyone pauses. What got through, over first start to end of pause, is the
   first pace; from there it grows e-fold in GROW_S until the next refusal. Between the two the
   service was used up twice: what got through is its rate, or less if it had spare capacity in
   between, so the pace comes down to that, but not by more than LANDING.
2. From then on a refused call waits alone, and lowers the pace by a step; each start that the pace
   held back raises it by REFUSED_SHARE of a step. The two cancel where that share is refused. Many
   starts without a refusal mean that the limit rose: the raises grow with their number.
3. Where nearly all is refused the door is shut (a used-up window, a limit far lower): everyone
   pauses, and the pace falls to what got through since the last pause, by half at the most. Where
   nothing got through (an outage, a spent quota), the search of (1) begins again.
4. Where slower is not refused less (chance.py), refusals are no limit's: the pace goes back up, and
   aims at their share and a little more. Now and then it finds out whether that still holds.

Source: Robbins & Monro 1951, "A Stochastic Approximation Method" (2); Jacobson 1988, "Congestion
Avoidance and Control" (the search, a gain that falls with the round trip).
"""

from __future__ import annotations

import math

from karat.models.chance import Chance
from karat.models.rate_headers import MAX_PAUSE_S

REFUSED_SHARE = 0.01  # of calls, once settled
QUIET_CALLS = 50  # without a refusal: from here on the pace rises faster and faster
LANDING = 1.6
QUICKEST = 0.15  # of a step a start, however long nothing was refused
SETTLE_S = 0.7  # a pace k times too high comes down within about k of these
GROW_S = 0.35  # the search grows e-fold in this, or in two round trips
LARGEST_STEP = 0.1
LOWEST_RATE = 0.2  # slower limits are met by waiting as told; below it recovery takes too long
SHUT_SHARE = 0.65  # refused, of about the last `_shut_after` calls: the door is shut
LONG_WAIT_S = 5.0  # who asks for so long has a window that is used up
MORE = 1.3  # times the share refused by chance is aimed at: the pace rises where no limit is
BELIEVED_CALLS = 1_000  # for which chance is taken for granted
CATCH_UP_S = 0.05  # turns missed while the loop was busy may be made good this far back
DEFAULT_PAUSE_S = 0.5  # a refusal that does not say how long
SHORT_PAUSE_S = 0.2  # everyone's, where a second was asked: services round a moment up to that


class Pace:
    """When the next call may start. Times are the loop's clock, in seconds."""

    def __init__(self) -> None:
        self.rate: float | None = None  # calls per second; None: nothing was refused yet
        self.next_start = 0.0
        self._cycle_start: float | None = None  # the end of the last pause
        self._resume_at: float | None = None  # the end of a pause nothing was learned from yet
        self._accepted = 0  # calls of this cycle, less those refused
        self._dry_at = 0.0  # the start of the refused call that brought the last pause
        self._searching = True
        self._quiet = 0  # starts since the last refusal
        self._landed = False  # with no refusal since
        self._shut = 0.0  # refused share of the last calls
        self._shut_after = 10.0
        self._round_trip = 0.0  # of the last refusal
        self._counted = Chance()
        self.chance = 0.0  # share refused however slow the pace is
        self._believed = 0  # calls since that was found

    def started(self, now: float, held: bool) -> None:
        """A call starts. `held`: the pace alone had held it back."""
        if self._cycle_start is None:
            self._cycle_start = now
        if self._resume_at is not None:
            self._learn(self._resume_at)
        self._accepted += 1
        if self.rate is not None:
            self._shut *= 1 - 1 / self._shut_after
            self._count(self.rate)
            if held:
                self._raise(self.rate)
            self.next_start = max(self.next_start, now - CATCH_UP_S) + 1 / self.rate

    def refused(self, now: float, started: float, retry_after_s: float | None) -> float:
        """A call that started at `started` got 429. Returns how long its own retry must wait."""
        told = retry_after_s is not None and math.isfinite(retry_after_s)
        wait = min(max(retry_after_s or 0.0, 0.0), MAX_PAUSE_S) if told else DEFAULT_PAUSE_S
        self._accepted -= 1
        if self._resume_at is not None or started < (self._cycle_start or 0.0):
            return wait  # sent before the pause: it tells nothing new
        self._round_trip = now - started
        self._quiet = 0
        self._landed = False
        under_way = (self.rate or 0.0) * self._round_trip  # one overshoot alone is no shut door
        self._shut_after = 5 if wait >= LONG_WAIT_S else max(10 if told else 20, under_way)
        self._shut += 1 / self._shut_after
        first = self.rate is None
        if self.rate is not None:
            self._lower(self.rate)
            if self._searching and self._accepted > 0:
                self._land(started, self.rate)
        if first or self._shut > (1 - (1 - self.chance) / 5 if self.chance else SHUT_SHARE):
            pause = min(wait, SHORT_PAUSE_S) if first and wait <= 1 else wait
            # at least a round trip, so that the other refusals under way are counted by its end
            self._resume_at = self.next_start = now + max(pause, self._round_trip)
            self._dry_at = started
        return wait

    @property
    def settled(self) -> float | None:
        """The rate, unless it is still being searched for."""
        return None if self._searching or self._resume_at is not None else self.rate

    def shared(self, rate: float) -> None:
        """The neighbours' pace was agreed on: from here on this process adapts by itself."""
        self.rate = max(LOWEST_RATE, rate)
        self._searching = False

    def _count(self, rate: float) -> None:
        self._counted.started(rate)
        self._believed += 1
        if self.chance and self._believed > BELIEVED_CALLS:
            self._doubt()

    def _doubt(self) -> None:
        """From here on each refusal may be a limit's again."""
        self.chance = 0.0
        self._counted.clear()

    def _lower(self, rate: float) -> None:
        self._counted.refused(rate)
        self.rate = max(LOWEST_RATE, rate * (1 - self._step(rate)))
        found = None if self.chance or self._searching else self._counted.found(self.rate)
        if found is not None:
            self.chance, before = found
            self.rate, self._believed = max(self.rate, before), 0

    def _step(self, rate: float) -> float:
        """What one refusal takes off: all of the excess in SETTLE_S, or four round trips."""
        return min(LARGEST_STEP, 1 / (rate * max(SETTLE_S, 4 * self._round_trip)))

    def _raise(self, rate: float) -> None:
        self._quiet += 1
        if self._searching:
            self.rate = rate * (1 + min(0.5, 1 / (rate * max(GROW_S, 2 * self._round_trip))))
        else:
            calls = QUIET_CALLS + 2 * rate * self._round_trip
            share = REFUSED_SHARE * max(1.0, self._quiet / calls) ** 2
            quickest = 3 * QUICKEST if self._landed else QUICKEST
            share = max(min(quickest, share), MORE * self.chance)
            gain = max(SETTLE_S, 4 * self._round_trip) * rate
            self.rate = rate * (1 + share * min(0.4, 1 / gain))

    def _land(self, started: float, rate: float) -> None:
        """The search ends with the refusal of a call that started at `started`."""
        known = self._accepted - rate * self._round_trip  # calls sent since then may be refused yet
        found = known / max(started - self._dry_at, 0.01)
        self.rate = max(LOWEST_RATE, min(rate, max(rate / LANDING, found)))
        self._searching = False
        self._quiet = round(4 * (QUIET_CALLS + 2 * rate * self._round_trip))
        self._landed = True  # maybe low

    def _learn(self, resumed: float) -> None:
        """The first start after a pause: what got through since the last one, or ever."""
        span = resumed - (self._cycle_start or resumed)
        goodput = max(self._accepted, 1) / max(span, 0.05)
        if self.rate is None:
            self.rate = max(LOWEST_RATE, 1.25 * goodput)
        else:
            self.rate = min(self.rate, max(goodput, self.rate / 2, LOWEST_RATE))
            self._searching = self._accepted <= 0
            if self._searching:
                self._doubt()
        self._cycle_start, self._resume_at = resumed, None
        self._accepted, self._shut = 0, 0.0
