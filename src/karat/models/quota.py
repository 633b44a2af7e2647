"""Limits a service or a person states: calls and tokens a minute, and what replies say is left.

Stated limits are kept before they are met, so that nothing is refused on their account. Two bounds
hold at once: a bucket that is filled evenly and holds BURST_S of the limit, because a minute's
calls in its first second are refused by services that count seconds; and the sum over the last
minute, because a bucket alone lets through its own size more than the limit.
"""

from __future__ import annotations

import math

from karat.models.rate_headers import MAX_PAUSE_S, RateLimits

BURST_S = 2.0
SLOT_S = 0.25
SLOTS = round(60 / SLOT_S) + 1  # the oldest is cut short by the one that has begun
LOW = 2.0  # so few left, in multiples of what is in flight, are spread until the reset


class Quota:
    """At most `per_minute` (calls or tokens) in any minute. Times are the loop's clock."""

    def __init__(self, per_minute: float) -> None:
        self.stated = per_minute
        self.per_minute = per_minute  # this process's part of it
        self._level: float | None = None  # of the bucket; None: full, nothing was taken yet
        self._filled_at = 0.0
        self._slots = [0.0] * SLOTS
        self._slot = 0
        self._used = 0.0
        self._largest = 0.0

    def opens(self, now: float, amount: float) -> float:
        """When `amount` may be taken: at `now`, or later. More than a minute's waits for all."""
        self._advance(now)
        self._largest = max(self._largest, amount)
        rate, burst = self._rate_and_burst()
        missing = min(amount, burst) - self._level_at(now)
        waits = max(0.0, missing / rate) if missing > 1e-9 * burst else 0.0
        return max(now + waits, self._window_opens(now, amount))

    def take(self, now: float, amount: float) -> None:
        self._advance(now)
        self._level = self._level_at(now) - amount
        self._filled_at = now
        self._used += amount
        self._slots[self._slot % SLOTS] += amount

    def settle(self, now: float, began: float, estimated: float, actual: float) -> None:
        """A call that took `estimated` at `began` used `actual`."""
        self._advance(now)
        slot = int(began / SLOT_S)
        if slot <= self._slot - SLOTS or slot > self._slot or self._level is None:
            return
        change = max(actual - estimated, -self._slots[slot % SLOTS])
        self._slots[slot % SLOTS] += change
        self._used += change
        self._level -= change

    def share(self, now: float, per_minute: float) -> None:
        """From now on this process has `per_minute` of the stated limit.

        What it used counts by the same part: others take over what it gives away, and it answers
        for what they used of what it is given.
        """
        if per_minute == self.per_minute:
            return
        self._advance(now)
        part = per_minute / self.per_minute
        if self._level is not None:
            self._level, self._filled_at = self._level_at(now) * part, now
        self._slots = [used * part for used in self._slots]
        self._used *= part
        self.per_minute = per_minute

    def _rate_and_burst(self) -> tuple[float, float]:
        rate = self.per_minute / 60
        # Two large calls: a bucket that holds one is full, and loses, while that one waits.
        return rate, max(1.0, rate * BURST_S, min(2 * self._largest, self.per_minute / 4))

    def _level_at(self, now: float) -> float:
        rate, burst = self._rate_and_burst()
        if self._level is None:
            return burst
        return min(burst, self._level + (now - self._filled_at) * rate)

    def _advance(self, now: float) -> None:
        """Forgets the slots that are more than a minute old."""
        slot = int(now / SLOT_S)
        if slot == self._slot:
            return
        for old in range(max(self._slot + 1, slot - SLOTS + 1), slot + 1):
            self._used -= self._slots[old % SLOTS]
            self._slots[old % SLOTS] = 0.0
        self._slot = slot
        if self._used < 1e-6:
            self._used = 0.0

    def _window_opens(self, now: float, amount: float) -> float:
        excess = self._used + min(amount, self.per_minute) - self.per_minute
        if excess <= 1e-6 or self._used <= 0:
            return now
        for old in range(self._slot - SLOTS + 1, self._slot + 1):
            excess -= self._slots[old % SLOTS]
            if excess <= 1e-6:
                return (old + SLOTS) * SLOT_S
        return now + 60


class Hints:
    """What replies said is left until the next reset: none, or a few to be spread over the time."""

    def __init__(self) -> None:
        self.opens = 0.0  # no call starts before
        self._gap_s = 0.0  # between two calls, until `_spread_until`
        self._spread_until = 0.0

    def told(self, now: float, said: RateLimits, in_flight: int, tokens_a_call: float) -> None:
        """Takes the tighter of calls and tokens left."""
        gap = hold = 0.0
        fewest = math.inf
        for left, reset, size in (
            (said.remaining_requests, said.requests_reset_s, 1.0),
            (said.remaining_tokens, said.tokens_reset_s, max(tokens_a_call, 1.0)),
        ):
            if left is None or reset is None or not math.isfinite(left + reset):
                continue
            calls = left / size
            lasts = min(reset, MAX_PAUSE_S)
            fewest = min(fewest, calls)
            if left <= 0:
                hold = max(hold, lasts)
            elif calls <= LOW * in_flight:
                gap = max(gap, lasts / max(calls, 1.0))
                self._spread_until = now + lasts
        self._gap_s = gap
        if hold:
            self.opens = now + hold
        elif fewest > in_flight:  # else it may be older news than that nothing is left
            self.opens = min(self.opens, now + gap)

    def started(self, now: float) -> None:
        if self._gap_s:
            if now < self._spread_until:
                self.opens = now + self._gap_s
            else:
                self._gap_s = 0.0
