"""How many calls may be in flight at an endpoint: the width with the best measured throughput.

A server may take more calls than it can handle; then answers come later, and no more of them, or
fewer. Latency alone does not tell: answers differ in length, and a queue that costs nothing looks
like one that does. So widths are compared by what they delivered, over whole round trips in which
the width was used up.

1. The widths compared are the given one, divided by powers of √2. The start is at a quarter of it,
   and doubles while that pays: an overloaded server shows itself before it holds hundreds of calls.
   One that delivers too little in START_S to learn from gets the whole width then, so that a sound
   but slow server loses less than that second.
2. From then on the best width and its two neighbours are compared, that with the best upper
   confidence bound first: near the best, all three are tried, elsewhere only the best is used.
   Throughput grows at most as fast as the width, which bounds the widths not tried yet.
3. What was measured fades, and is forgotten when the same width delivers quite another rate.
4. Timeouts and 503 halve the width at once, and success restores it one by one (AIMD).

Source: Combes & Proutiere 2014, "Unimodal Bandits: Regret Lower Bounds and Optimal Algorithms" (2);
Chiu & Jain 1989, "Analysis of the Increase and Decrease Algorithms" (4).
"""

from __future__ import annotations

import math

START_S = 1.0
START_SHARE = 4  # a quarter at first
SURELY_SAFE = 32  # where the given width is no larger, it is the start
SMALLEST = 9  # narrower ones are never searched: too few calls to measure by
STEP = math.sqrt(2)
WORTH = 1.4  # a doubled width must deliver so much more to be doubled again
FULL = 0.85  # of the width in flight: it is used up
MIN_CALLS = 64  # measured at a width before it is judged
SPREAD = 1.0  # of a throughput measured over one call, relative to it
FADING = 0.97  # of what is known, with each new measurement
OTHER_RATE = 0.35  # relative: more than noise, the server or the calls changed
BEYOND_NOISE = 2.5  # standard deviations of the rates met so far: answers can differ widely
LEARNT = 0.15  # of that noise, with each measurement
PATIENCE = 3  # measurements at the given width before one below is tried unasked


class Width:
    """Judges widths by deliveries. Times are the loop's clock, in seconds."""

    def __init__(self, given: int, *, search: bool = True) -> None:
        self.given = given
        self.starting = search and given > SURELY_SAFE
        self._steps = 0  # the width is given / STEP ** steps
        self._last_step = int(2 * math.log2(given / 4)) if search and given >= SMALLEST else 0
        self._calls: dict[int, float] = {}  # by step: how many calls were delivered
        self._seconds: dict[int, float] = {}  # in how long
        self._measured = 0  # how often, since all was forgotten
        self._odd = False
        self._noise = 0.0  # mean square of how far, relatively, rates were from what was known
        self._cap = float(given)
        self._halved_at = 0.0
        self.allowed = given
        # What is measured now; after a change of the width, only once that has settled.
        self.count = self.lean = 0
        self.need = 0
        self._lean_below = 0
        self._began: float | None = None
        if self.starting:
            share = max(SURELY_SAFE, given / START_SHARE)
            self._steps = round(2 * math.log2(given / share))
        self._use(self._steps, settle=not self.starting)

    def delivered(self, in_flight: int) -> bool:
        """A call succeeded; whether `turn` is due. Called for every call: kept small."""
        self.count += 1
        if in_flight < self._lean_below:
            self.lean += 1
        if self._cap < self.given:
            self._cap = min(self.given, self._cap + 1 / self._cap)
            self._allow()
        return self.count >= self.need

    def turn(self, now: float, in_flight: int) -> None:
        """Enough calls were delivered to begin measuring, or to judge what was measured."""
        if self._last_step == 0:
            self.count, self.need = 0, 1 << 30
        elif self._began is None and in_flight > self.allowed:
            self.need = self.count + in_flight - self.allowed
        elif self._began is None or self.lean > self.count // 10:
            self._measure_from(now)
        else:
            self._judge(max(now - self._began, 1e-6))
            if self._began is not None:
                self._measure_from(now)

    def first_start(self, now: float) -> None:
        if self._began is None and self.starting:
            self._measure_from(now)

    def still_starting(self) -> bool:
        """Every START_S: a start in which too little is delivered to learn from is over."""
        if self.starting and not self._calls and self.count * 3 < self.need:
            self.starting = False
            self._use(0)
        return self.starting

    def overloaded(self, now: float, began: float) -> None:
        """A call timed out or met 503: half the width, once per round trip."""
        if began >= self._halved_at:
            self._halved_at = now
            self.starting = False
            self._cap = max(1.0, min(self._cap, self.allowed) / 2)
            self._allow()

    def _allow(self) -> None:
        self.allowed = int(min(self._cap, self._width(self._steps)))

    def _width(self, steps: int) -> float:
        return max(1.0, round(self.given / STEP**steps))

    def _use(self, steps: int, settle: bool = True) -> None:
        wider, self._steps = steps < self._steps, steps
        self._allow()
        self._lean_below = int(FULL * self._width(steps))
        if settle:
            self._began = None
            self.count = self.lean = 0
            self.need = max(1, int(self.allowed * (1.0 if wider else 0.5)))

    def _measure_from(self, now: float) -> None:
        """A whole number of round trips: calls that began together end together."""
        self._began = now
        width = max(1, self.allowed)
        rounds = 0.5 if self.starting else math.ceil(MIN_CALLS / width)
        self.count = self.lean = 0
        self.need = math.ceil(width * rounds)

    def _judge(self, seconds: float) -> None:
        steps, rate = self._steps, self.count / seconds
        before = self._rate(steps)
        far = abs(rate - before) / before if before > 0 else 0.0
        odd = far > max(OTHER_RATE, BEYOND_NOISE * math.sqrt(self._noise))
        self._noise += (min(far, 1.0) ** 2 - self._noise) * LEARNT
        if odd and self._odd:
            self._calls.clear()
            self._seconds.clear()
        self._odd = odd
        for known in self._calls:
            fade = FADING if known != steps else 0.8
            self._calls[known] *= fade
            self._seconds[known] *= fade
        weight = 0.5 if self.starting else 1.0  # the calls that end first are the short ones
        self._calls[steps] = self._calls.get(steps, 0.0) + self.count * weight
        self._seconds[steps] = self._seconds.get(steps, 0.0) + seconds * weight
        self._measured += 1
        chosen = self._grown(rate) if self.starting else self._best()
        if chosen != steps:
            self._use(chosen, settle=not self.starting)
            self._odd = False

    def _grown(self, rate: float) -> int:
        """The next width of the start: twice as wide while that pays."""
        steps = self._steps
        narrower = self._rate(steps + 2)
        if narrower and rate < WORTH * narrower:
            self.starting = False
            self._calls.clear()  # what was delivered so far were the short calls
            self._seconds.clear()
            return steps + 2 if rate < narrower else steps
        if steps <= 2:
            self.starting = False
        return max(0, steps - 2)

    def _rate(self, steps: int) -> float:
        return self._calls[steps] / self._seconds[steps] if steps in self._calls else 0.0

    def _best(self) -> int:
        """The best width known or one of its neighbours, by the upper bound of its rate."""
        leader = max(self._calls, key=self._rate)
        chosen, highest = leader, self._bound(leader, leader)
        for steps in (leader + 1, leader - 1):
            if 0 <= steps <= self._last_step:
                unasked = steps > leader == 0 and steps not in self._calls
                bound = self._bound(steps, leader)
                if bound > highest and not (unasked and self._measured < PATIENCE):
                    chosen, highest = steps, bound
        return chosen

    def _bound(self, steps: int, leader: int) -> float:
        """What the width delivers at the most, as far as known."""
        bounds = [math.inf]
        for known in self._calls:
            if known >= steps:
                bounds.append(self._upper(known) * STEP ** (known - steps))
            # Throughput bends downwards: beyond the best it grows less than before it.
            if known < leader < steps or known > leader > steps:
                bend = (self._rate(leader) / self._rate(known)) ** (1 / abs(known - leader))
                bounds.append(self._upper(leader) * bend)
        return min(bounds)

    def _upper(self, steps: int) -> float:
        return self._rate(steps) * (1 + SPREAD / math.sqrt(self._calls[steps]))
