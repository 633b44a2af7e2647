"""One model of a run: its connection, limits, price, budget and counters, and whether it is up."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec

from karat.errors import ProviderError, RecipeError, RunError
from karat.journal import Journal
from karat.models.batch import Batches, Say
from karat.models.budget import Budget
from karat.models.chat import ChatRequest, Turn
from karat.models.limits import Limiter
from karat.models.neighbours import FileMailbox, Mailbox
from karat.models.spec import EMBEDDED, ModelSpec, load_wire
from karat.models.takes import refusals
from karat.models.terms import Terms
from karat.models.transport import HttpReply
from karat.models.wire import Post, Provider

REST_S = (15.0, 240.0)  # how long a model that is down is left alone: at first, at most
NEVER_READ = 20  # failures in a row of one that has never answered
MOST_FORMS = 1000  # of requests, remembered: a step of the user's own may ask each row another way
DOWN_AFTER = 5  # failures in a row, where another model can answer


class ModelDownError(RunError):
    """This model answers nothing more; another may."""


class Tally(msgspec.Struct):
    """What one model did since the run started, for progress lines. `errands` are orders under way,
    counted at the first model of a route. `unpriced`: nobody knows its price."""

    errands: int = 0
    calls: int = 0
    answers: int = 0
    replayed: int = 0
    in_flight: int = 0
    retries: int = 0
    failures: int = 0
    tokens_out: int = 0
    cost_nano: int = 0
    unpriced: bool = False

    def add(self, other: Tally) -> None:
        """Adds what the same model did in another process."""
        for name in self.__struct_fields__[:-1]:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unpriced |= other.unpriced


class Meter:
    """Each call's share of the time an endpoint is busy, for machines paid by the hour.

    Time is split evenly among the calls under way, so shares add up to the busy time exactly.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._share_s = 0.0  # of one call that was under way since the start
        self._changed = 0.0

    def enter(self, now: float) -> float:
        self._tick(now)
        self._under_way += 1
        return self._share_s

    def leave(self, entered: float, now: float) -> float:
        """The share in seconds of a call for which `enter` returned `entered`."""
        self._tick(now)
        self._under_way -= 1
        return self._share_s - entered

    def _tick(self, now: float) -> None:
        if self._under_way:
            self._share_s += (now - self._changed) / self._under_way
        self._changed = now


class Accepted:
    """Which requests a model takes, asked once for each form of request."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._said: dict[tuple[object, ...], list[str]] = {}

    def check(self, request: ChatRequest) -> None:
        """Raises: RecipeError for a parameter the model does not take; nothing is sent."""
        r = request
        form = (
            r.temperature, r.top_p, r.top_k, r.min_p, r.presence_penalty, r.frequency_penalty,
            r.logprobs, r.reasoning, r.n > 1, len(r.stop), r.schema is None, not r.tools,
            r.max_tokens is None, r.tool_choice, any(type(m) is Turn for m in r.messages),
        )  # fmt: skip
        if form not in self._said:
            if len(self._said) >= MOST_FORMS:
                self._said.clear()
            self._said[form] = refusals(self._spec, request)
        if self._said[form]:
            raise RecipeError("; ".join(self._said[form]))


class Asker(NamedTuple):
    """Who asks: the step's label, the row's id, what the step's answers depend on, and as what;
    through a gateway on terms of its own."""

    step: str
    row: str
    scope: str = ""
    role: str = "teacher"
    terms: Terms | None = None


def budget_name(spec: ModelSpec) -> str:
    """How errors speak of a model's own budget."""
    return f"the budget of model '{spec.model}'"


class Endpoint:
    """A model of the recipe with its connection, limiter and counters.

    `stands_in` says that another model answers while this one is down. `budget` and `mailbox` are
    given where they are shared with other processes: else the budget is this process's own, and
    neighbours are found by files.
    """

    def __init__(
        self, spec: ModelSpec, spent_nano: int = 0, *,
        budget: Budget | None = None, mailbox: Mailbox | None = None,
    ) -> None:  # fmt: skip
        service = spec.offered_by()
        self.spec = spec
        self.identity = spec.identity()
        self.defaults = spec.defaults()
        self.rates = spec.rates()
        self.reduced = spec.planned_rates()  # of what is bought in a batch
        self.provider: Provider = load_wire(spec.format).connect(spec)
        if mailbox is None and spec.format != EMBEDDED:
            mailbox = FileMailbox(self.identity)
        self.limiter = Limiter(
            self.provider.concurrency, rpm=spec.rpm or service.rpm, tpm=spec.tpm or service.tpm,
            neighbours=mailbox,
        )  # fmt: skip
        self.batches: Batches | None = None
        self.budget = budget or Budget(spec.budget_usd, spent_nano, budget_name(spec))
        self.tally = Tally(unpriced=self.rates is None)
        self.meter = Meter()
        self.accepted = Accepted(spec)
        self.takes_n = False  # it has answered several samples of one request
        self.max_n = self.provider.max_n  # or learned, when a service answers fewer than asked
        self.delivered_at = 0.0
        self.surplus_nano = 0  # the most a call has cost beyond what was thought its worst case
        self.stands_in = False
        self.forgives = False  # whatever it refused, it is asked again after a rest
        self.failed_in_a_row = 0
        self.left = asyncio.Event()  # set while it is left alone
        self.why_down = ""
        self._rest_s = REST_S[0]
        self._rests_until: float | None = None

    def use_batches(self, journal: Journal, warn: Say, say: Say) -> None:
        """Chat is bought through the service's batch API, which has no limits but its width."""
        service = self.spec.offered_by()
        self.batches = Batches(
            self.provider, service.batches, self.identity, journal, self.limiter,
            name=self.spec.provider, warn=warn, say=say,
        )  # fmt: skip
        self.provider.concurrency = self.spec.width(1)
        self.limiter = Limiter(self.provider.concurrency, search=False)

    async def post(self, post: Post, key: bytes) -> HttpReply:
        """The reply to a request whose first answer has this key.

        Raises: ProviderError, RunError.
        """
        timeout_s = self.spec.timeout_s
        if self.batches is not None:
            return await self.batches.post(key, post, timeout_s)
        return await self.provider.transport.post(*post, self.provider.headers, timeout_s)

    def stop(self) -> None:
        """Nothing more is sent; what is under way may finish."""
        self.limiter.close()
        if self.batches is not None:
            self.batches.stop()

    async def close(self) -> None:
        self.limiter.close()
        try:
            if self.batches is not None:
                await self.batches.close()
        finally:
            await self.provider.close()

    def weight(self, samples: int) -> int:
        """Slots one request takes: one, or one a sample where the model writes them itself."""
        return samples if self.provider.counts_samples else 1

    def is_up(self) -> bool:
        """Whether to ask it. After a rest it is tried with one call, then left alone again."""
        if not self.left.is_set():
            return True
        now = asyncio.get_running_loop().time()
        if self._rests_until is None or now < self._rests_until:
            return False
        self._rest(now)
        return True

    def leave_alone(self, why: str, *, for_good: bool = False) -> None:
        """Nothing more is sent for a while. Of calls that fail side by side only the first counts:
        they tell of one outage."""
        for_good = for_good and not self.forgives
        if for_good:
            self._rests_until = None
        elif not self.left.is_set():
            self._rest(asyncio.get_running_loop().time())
        if for_good or not self.left.is_set():
            self.why_down = why
        self.left.set()

    def _rest(self, now: float) -> None:
        self._rests_until = now + self._rest_s
        self._rest_s = min(2 * self._rest_s, REST_S[1])

    def booked(self, set_aside: int, cost_nano: int, worst_nano: int) -> None:
        """A call has cost that much, whatever was thought to be its worst case.

        By the hour that says nothing of the next: the more are under way, the less is each one's.
        """
        if self.spec.price is None or self.spec.price.hour is None:
            self.surplus_nano = max(self.surplus_nano, cost_nano - worst_nano)
        self.budget.settle(set_aside, cost_nano)
        self.tally.cost_nano += cost_nano

    def most_tries(self, error: ProviderError) -> int:
        """How often one call is tried in all that meets this error."""
        if error.kind == "unreadable":  # paid for: not eight times
            return min(self.spec.attempts, 2)
        if error.unreachable and self.delivered_at == 0:
            return min(self.spec.attempts, 4)  # nobody ever took a connection: no outage to sit out
        return self.spec.attempts

    def never_read(self) -> bool:
        """Whether it does not speak its format: any one answer may be broken, not all of them."""
        return self.delivered_at == 0 and self.failed_in_a_row >= NEVER_READ

    def delivered(self, began: float) -> None:
        """It answered: whatever was thought of it before, it is up."""
        self.delivered_at = began
        self.failed_in_a_row = 0
        if self.left.is_set():
            self.left.clear()
            self._rest_s = REST_S[0]
