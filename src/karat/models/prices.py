"""What a call costs: a user's price, else the shipped one, else nobody knows.

Rates are integers, in nano-dollars per million tokens, so that sums are exact and a bill can be
split without losing a fraction. A price that is not known is None and never 0: a run that looks
free and is not would pass every budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, NamedTuple

import msgspec

from karat.errors import RecipeError
from karat.ledger import NANO
from karat.models.catalogue import Amount, Period, listed
from karat.models.chat import Usage

Rate = Annotated[float, msgspec.Meta(ge=0, le=1e6)]  # a dollar a token: above is a slip
MEGA = 1_000_000
DAY_S = 86_400
HOUR_S = 3_600


class Price(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """US dollars per million tokens, as a recipe writes them.

    None: `cached` and `cache_write` cost what `input` does, `reasoning` what `output` does.
    `request` is dollars per request, `hour` dollars per hour for which the machine is busy: what a
    GPU of one's own costs.
    """

    input: Rate | None = None
    output: Rate | None = None
    cached: Rate | None = None
    cache_write: Rate | None = None
    reasoning: Rate | None = None
    request: Rate | None = None
    hour: Rate | None = None


def check_price(price: Price) -> None:
    """Raises: RecipeError for a price that would leave out what it does not name."""
    for given, missing in (("input", "output"), ("output", "input")):
        if getattr(price, given) is not None and getattr(price, missing) is None:
            raise RecipeError(
                f"price has '{given}' and no '{missing}'; write both, in dollars per million "
                f"tokens ({missing}: 0 where there are none to pay)"
            )
    if price.input is None:
        for name in ("cached", "cache_write", "reasoning"):
            if getattr(price, name) is not None:
                raise RecipeError(f"price has '{name}'; write 'input' and 'output' beside it")
        if price.hour is None:
            raise RecipeError(
                "price needs 'input' and 'output', in dollars per million tokens, or 'hour', in "
                "dollars per hour of the machine"
            )


class _Tokens(NamedTuple):
    """Nano-dollars per million tokens."""

    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int

    def dearest(self) -> tuple[int, int]:
        """The most a prompt token and an answer's token can cost."""
        return max(self[:3]), max(self[3:])


class _Window(NamedTuple):
    """Prices and when they hold. `steps`: (above so many input tokens, prices), ascending."""

    since: float  # Unix time
    utc: tuple[int, int] | None  # seconds of the day
    steps: tuple[tuple[int, _Tokens], ...]
    request: int  # nano-dollars

    def holds(self, started: float) -> bool:
        if self.utc is None:
            return started >= self.since
        first, last = self.utc
        now = started % DAY_S
        return first <= now < last if first <= last else now >= first or now < last

    def tokens(self, size: int) -> _Tokens:
        """What applies to a request of `size` input tokens: a tier is for all of its tokens."""
        return next(tokens for above, tokens in reversed(self.steps) if size > above)


class Rates:
    """The resolved price of one route; `version` says where it comes from."""

    __slots__ = ("_flat", "_hour", "_listed", "_request", "_windows", "version")

    def __init__(
        self,
        version: str,
        windows: tuple[_Window, ...],
        hour: int = 0,
        batch: Rates | None = None,
    ) -> None:
        self.version = version
        self._windows = windows
        self._hour = hour
        self._listed = batch
        one = len(windows) == 1 and len(windows[0].steps) == 1
        self._flat = windows[0].steps[0][1] if one else None
        self._request = windows[0].request if one else 0

    def cost_nano(self, usage: Usage, started: float, busy_s: float = 0.0) -> int:
        """What a request costs, in billionths of a dollar, rounded to the nearest.

        `started` is in Unix seconds: prices change with the date and the time of day. `busy_s` is
        this call's share of the machine's busy time. Where a service's counts contradict each
        other, the parts are cut to fit the whole.
        """
        size, written = usage.input or 0, usage.output or 0
        rates, fee = self._flat, self._request
        if rates is None:
            window = self._at(started)
            rates, fee = window.tokens(size), window.request
        total = rates[0] * size + rates[3] * written + MEGA // 2
        if cached := usage.cached:
            cached = min(cached, size)
            total += (rates[1] - rates[0]) * cached
        if fresh := usage.cache_write:
            total += (rates[2] - rates[0]) * min(fresh, size - cached)
        if thoughts := usage.reasoning:
            total += (rates[4] - rates[3]) * min(thoughts, written)
        if busy_s and self._hour:
            fee += round(self._hour * busy_s / HOUR_S)
        return total // MEGA + fee

    def worst_nano(
        self, prompt_tokens: int, completion_tokens: int, started: float, busy_s: float = 0.0
    ) -> int:
        """The most these tokens can cost, whatever was cached or thought, at any time of that day.

        What `hour` adds follows the clock and not the tokens: it counts only as `busy_s`.
        """
        most = 0
        for window in self._possible(started):
            for above, tokens in window.steps:
                if prompt_tokens <= above:
                    continue
                prompt, answer = tokens.dearest()
                total = prompt * prompt_tokens + answer * completion_tokens + MEGA // 2
                most = max(most, total // MEGA + window.request)
        return most + round(self._hour * busy_s / HOUR_S)

    def shown(self, started: float) -> Price:
        """The price at that time, for tables: of a request that reaches no higher tier."""
        window = self._at(started)
        tokens = window.steps[0][1]
        cached, fresh, thought = (
            None if special == usual else special / NANO
            for special, usual in zip(
                (tokens.cached, tokens.cache_write, tokens.reasoning),
                (tokens.input, tokens.input, tokens.output),
                strict=True,
            )
        )
        return Price(
            input=tokens.input / NANO,
            output=tokens.output / NANO,
            cached=cached,
            cache_write=fresh,
            reasoning=thought,
            request=window.request / NANO if window.request else None,
            hour=self._hour / NANO if self._hour else None,
        )

    def halved(self) -> Rates:
        """The price of a batch: as listed, else a half. A machine's hour costs what it costs."""
        return self._listed or self.scaled(0.5)

    def scaled(self, share: float) -> Rates:
        """A batch at `share` of this price, fractions rounded up."""
        thousandths = round(share * 1000)

        def part(amount: int) -> int:
            return -(-amount * thousandths // 1000)

        windows = tuple(
            window._replace(
                steps=tuple((above, _Tokens(*map(part, tokens))) for above, tokens in window.steps),
                request=part(window.request),
            )
            for window in self._windows
        )
        return Rates(f"{self.version} batch", windows, self._hour)

    def _at(self, started: float) -> _Window:
        """The last window that holds; before all of them, the first."""
        holding = (window for window in reversed(self._windows) if window.holds(started))
        return next(holding, self._windows[0])

    def _possible(self, started: float) -> Iterable[_Window]:
        """What may hold when a call that waits is sent: any time of day, this day or the next."""
        found: list[_Window] = []
        for day in (started, started + DAY_S):
            last = 0
            for place, window in enumerate(self._windows):
                if window.utc is None and window.holds(day):
                    last = place
            found.append(self._windows[last])
            found += [window for window in self._windows[last:] if window.utc is not None]
        return found


def find_rates(service: str, name: str, own: Price | None) -> Rates | None:
    """The user's price, else the shipped map's, else None: unknown."""
    return _own(own) if own is not None else _shipped(service, name)


@cache
def _own(price: Price) -> Rates:
    """Raises: RecipeError."""
    check_price(price)
    period = Period(
        input=price.input or 0.0,
        output=price.output or 0.0,
        cached=price.cached,
        cache_write=price.cache_write,
        reasoning=price.reasoning,
        request=price.request or 0.0,
    )
    return Rates("recipe", (_window(period),), round((price.hour or 0.0) * NANO))


@cache
def _shipped(service: str, name: str) -> Rates | None:
    found = listed(service, name)
    if found is None:
        return None
    windows = tuple(map(_window, found.price))
    if found.batch:
        batch = Rates(f"{found.version} batch", tuple(map(_window, found.batch)))
    else:
        batch = Rates(found.version, windows).scaled(found.share)
    return Rates(found.version, windows, batch=batch)


def _window(period: Period) -> _Window:
    kinds = (
        period.input,
        period.input if period.cached is None else period.cached,
        period.input if period.cache_write is None else period.cache_write,
        period.output,
        period.output if period.reasoning is None else period.reasoning,
    )
    above = sorted({0, *(int(x) for kind in kinds if isinstance(kind, tuple) for x in kind[1::2])})
    steps = [(size, _Tokens(*(_amount_at(kind, size) for kind in kinds))) for size in above]
    steps[0] = (-1, steps[0][1])  # an empty prompt is above nothing
    return _Window(
        since=_unix(period.since),
        utc=_seconds(period.utc),
        steps=tuple(steps),
        request=round(period.request * NANO),
    )


def _amount_at(amount: Amount, size: int) -> int:
    """The price above `size` input tokens."""
    if not isinstance(amount, tuple):
        return round(amount * NANO)
    price = amount[0]
    for start, dearer in zip(amount[1::2], amount[2::2], strict=True):
        if size >= start:
            price = dearer
    return round(price * NANO)


def _unix(date: str) -> float:
    return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() if date else -math.inf


def _seconds(span: str) -> tuple[int, int] | None:
    if not span:
        return None
    first, last = (
        int(hour) * HOUR_S + int(minute) * 60
        for hour, minute in (clock.split(":") for clock in span.split("-"))
    )
    return first, last
