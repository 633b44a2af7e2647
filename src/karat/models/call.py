"""One request on its way: its slot, its clock, its tries.

Errors come sorted from the provider; here each sort gets its answer: wait (429), try again
(timeouts, 5xx, broken replies), give up on the row (a refused request), give up on the model (bad
key, no credit, nobody there). The slot of a call that was answered is held until the answer is
committed, so at most `concurrency` paid answers can be lost to kill -9.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence

from karat.errors import ProviderError, RunError
from karat.journal import Journal
from karat.ledger import Attempt, new_id
from karat.models.answer import Hear, sorted_fault, stream_answer
from karat.models.billing import CHARACTERS_PER_TOKEN, REDUCED, abandoned
from karat.models.budget import Budget
from karat.models.chat import Delta
from karat.models.endpoint import DOWN_AFTER, Asker, Endpoint, ModelDownError
from karat.models.faults import remedy
from karat.models.orders import Bought, Order
from karat.models.rate_headers import read_limits
from karat.models.terms import Due

PASSING = {"retry", "timeout", "connection", "unreadable", "wait"}
OVERLOADED = {0, 503, 504, 529}  # 0: no answer at all
MAX_REFUSALS = 100  # 429s one call waits out before its row is given up
BACKOFF_S = (0.25, 20.0)  # first, longest
MOST_KEPT = 64_000  # bytes of a reply that could not be read, which was paid for all the same
STOPPED = "stopped before this call was sent"


class Till:
    """What every purchase of a run shares."""

    def __init__(self, journal: Journal, budget: Budget) -> None:
        self.journal = journal
        self.budget = budget
        self.stopped = asyncio.Event()
        self.buying: dict[bytes, asyncio.Event] = {}  # keys of answers that are being bought
        self.warn: Callable[[str], None] = lambda text: None  # for the report
        self.say: Callable[[str], None] = lambda text: None  # for progress


class Call:
    """One request for the answers at `places` of an order, tried until it is answered."""

    def __init__(
        self, till: Till, endpoint: Endpoint, order: Order, places: Sequence[int], key: bytes,
        asker: Asker, hear: Hear | None = None,
    ) -> None:  # fmt: skip
        """`hear` gets the pieces of a chat answer as they come; what was heard is not asked for
        again."""
        self.till, self.endpoint, self.order, self.places = till, endpoint, order, places
        self.key, self.asker = key, asker
        self.due = None if asker.terms is None else Due(asker.terms, endpoint.spec.model)
        self.hear, self.heard = hear, False
        wanted = endpoint.spec.stream or hear is not None
        self.streamed = wanted and order.kind == "chat" and len(places) == 1
        self.post = order.post(endpoint.provider, places, stream=self.streamed)
        self.weight = endpoint.weight(len(places))
        self.prompt_tokens = len(self.post.body) // CHARACTERS_PER_TOKEN
        self.most = most = order.most_tokens(len(places), endpoint.provider.default_max_tokens)
        self.tokens = self.prompt_tokens + most
        rates = endpoint.rates
        # Two characters a token: fewer are rare in any language.
        self.worst_nano = (
            0 if rates is None
            else rates.worst_nano(len(self.post.body) // 2, most, time.time())
        )  # fmt: skip
        self.attempt = self.retries = self.refusals = self.set_aside = 0
        self.reserved = self.held = False
        self.probes = endpoint.left.is_set()  # asked for all that: to see whether it is up again
        self.started = self.queue_ms = self.latency_ms = self.busy_s = 0.0
        self.reduced = False  # in price
        self.ttft_ms: float | None = None
        self.first_try = 0.0
        self.reply = b""

    async def answered(self) -> Bought:
        """A good answer, its slot still held: the caller lets go when all is recorded.

        Raises: ProviderError for this row, ModelDownError for the model, RunError.
        """
        while True:
            try:
                return await self._try()
            except ProviderError as error:
                wait = self._after(error)
            self.attempt += 1
            self.endpoint.tally.retries += 1
            await self._pause(wait)

    async def _try(self) -> Bought:
        endpoint = self.endpoint
        queued, self.started = time.perf_counter(), 0.0
        if self.due is not None:
            await self.due.reserve(self.worst_nano + endpoint.surplus_nano)
        self.began = await endpoint.limiter.acquire(self.weight, self.tokens)
        self.held = True
        endpoint.tally.in_flight += 1
        entered = endpoint.meter.enter(self.began)
        self.first_try = self.first_try or self.began
        try:
            await self._may_start()
            self.queue_ms = (time.perf_counter() - queued) * 1000
            self.started = time.time()
            bought = await self._ask()
        except BaseException as error:
            self.let_go()
            if isinstance(error, asyncio.CancelledError) and self.started:
                self.till.journal.note(abandoned(self))
            raise
        finally:
            self.busy_s = endpoint.meter.leave(entered, asyncio.get_running_loop().time())
        endpoint.delivered(self.began)
        used = (bought.usage.input or self.prompt_tokens) + (bought.usage.output or 0)
        endpoint.limiter.delivered(self.began, (self.tokens, used))
        endpoint.tally.calls += 1
        return bought

    async def _may_start(self) -> None:
        """Raises: ModelDownError or RunError when the call must not be sent after all."""
        endpoint = self.endpoint
        if endpoint.left.is_set() and endpoint.stands_in and not self.probes:
            raise ModelDownError(endpoint.why_down)
        if not self.reserved:
            # What a service adds to a prompt or charges by its own list shows only as it is paid.
            worst = self.set_aside = self.worst_nano + endpoint.surplus_nano
            await self.till.budget.reserve(worst)
            try:
                await endpoint.budget.reserve(worst)
            except BaseException:
                self.till.budget.settle(worst, 0)
                raise
            self.reserved = True
        if self.till.stopped.is_set():
            raise RunError(STOPPED)

    async def _ask(self) -> Bought:
        provider, timeout_s = self.endpoint.provider, self.endpoint.spec.timeout_s
        sent = time.perf_counter()
        try:
            if self.streamed:
                bought, first = await stream_answer(
                    provider, self.post, timeout_s, self._met, self._hear if self.hear else None
                )
                self.ttft_ms = None if first is None else (first - sent) * 1000
                return bought
            reply = await self.endpoint.post(self.post, self.key)
            self.reduced = REDUCED in reply.headers
            self._met(reply.headers)
            if reply.status != 200:
                raise sorted_fault(provider, reply)
            self.reply = reply.body
            return self.order.read(provider, self.places, reply)
        finally:
            self.latency_ms = (time.perf_counter() - sent) * 1000

    def _met(self, headers: Mapping[str, str]) -> None:
        limits = read_limits(headers, self.started)
        if limits is not None:
            self.endpoint.limiter.told(limits)

    def _hear(self, delta: Delta) -> None:
        assert self.hear is not None
        self.heard = True
        if self.due is not None:
            self.due.hear(delta)
        self.hear(delta)

    def let_go(self) -> None:
        """Gives the slot back."""
        if self.held:
            self.held = False
            self.endpoint.tally.in_flight -= 1
            self.endpoint.limiter.release(self.weight)

    def settle(self, cost_nano: int) -> None:
        """Books what the call cost, once; without it the reservation only ends."""
        if self.reserved:
            self.reserved = False
            self.till.budget.settle(self.set_aside, cost_nano)
            self.endpoint.booked(self.set_aside, cost_nano, self.worst_nano)
        if self.due is not None:
            self.due.settle(cost_nano)

    # --- what an error means -------------------------------------------------------------------

    def _after(self, error: ProviderError) -> float:
        """Seconds to wait before the next try. Raises: when there is to be none."""
        endpoint, limiter = self.endpoint, self.endpoint.limiter
        if self.heard:  # another answer cannot take back what was given out of this one
            self._note(error, "failed")
            raise ProviderError(f"half-way: {error}", error.status, kind="broken") from error
        if error.kind == "wait":
            self.refusals += 1
            wait: float = limiter.refused(self.began, error.retry_after_s)
            if self.refusals > MAX_REFUSALS:
                self._give_up(error)
            self._note(error, "retried")
            return wait
        if error.kind not in PASSING:
            # It has answered before: a 403 is about this request then.
            # And one that knows no decisions may chat.
            known = error.status == 403 and endpoint.delivered_at > 0
            lacks = error.status == 404 and self.order.kind == "decide"
            about_row = error.kind != "model" or known or lacks
            self._note(error, "failed" if about_row or not endpoint.stands_in else "moved")
            if about_row:
                raise error
            why = f"model '{endpoint.spec.model}': {remedy(error)}"
            endpoint.leave_alone(why, for_good=True)
            raise ModelDownError(why) from error
        if error.status in OVERLOADED:
            limiter.overloaded(self.began)
        endpoint.failed_in_a_row += 1
        if endpoint.stands_in and endpoint.failed_in_a_row >= DOWN_AFTER:
            self._note(error, "moved")
            endpoint.leave_alone(str(error))
            raise ModelDownError(str(error)) from error
        if self.retries >= endpoint.most_tries(error) - 1:
            self._give_up(error)
        self._note(error, "retried")
        first, longest = BACKOFF_S
        backoff: float = min(first * 2**self.retries, longest) * (0.5 + random.random() / 2)
        self.retries += 1
        return max(backoff, error.retry_after_s or 0.0)

    def _give_up(self, error: ProviderError) -> None:
        """Raises: ModelDownError when nobody there speaks this format, else ProviderError."""
        endpoint = self.endpoint
        self._note(error, "moved" if endpoint.stands_in else "failed")
        text = f"{error} (after {self.attempt + 1} tries)" if self.attempt else str(error)
        if error.unreachable and endpoint.delivered_at < self.first_try:
            what, mend = "does not answer", "Is the server running? Run again to go on"
        elif error.kind == "unreadable" and endpoint.never_read():
            what, mend = "gives no answer that can be read", "Check base_url and wire"
        else:
            kind, after_s = error.kind, error.retry_after_s
            raise ProviderError(text, error.status, kind=kind, retry_after_s=after_s) from error
        at = f"model '{endpoint.spec.model}' at {endpoint.provider.address}"
        why = f"{at} {what}: {text}. {mend}"
        endpoint.leave_alone(why)
        raise ModelDownError(why) from error

    def _note(self, error: ProviderError, outcome: str) -> None:
        """Writes the failed attempt down; one that was paid for is booked at its worst case.

        Its reservation ends: a call that held money while it waited for its next slot, and one in
        that slot that waited for money, would wait for each other for ever.
        """
        self.endpoint.tally.failures += outcome == "failed"
        made = self.record(outcome, error.status)
        made.error, made.message = error.kind, str(error)
        made.retry_after_s = error.retry_after_s
        if error.kind == "unreadable" and error.status == 200:
            said = self.reply.decode("utf-8", "replace")  # whole: a cut key is not known
            made.body = self.endpoint.provider.quote(said, MOST_KEPT)
            made.prompt_tokens = self.prompt_tokens
            made.completion_tokens = self.most
            made.tokens_from = "worst"
            rates = self.endpoint.rates
            made.cost_nano = None if rates is None else self.worst_nano
            made.price = "" if rates is None else rates.version
        self.settle(made.cost_nano or 0)
        if self.due is not None:
            self.due.terms.paid_for(made)
        self.till.journal.note(made)

    def record(self, outcome: str = "answered", status: int = 200) -> Attempt:
        """The ledger row of the last try, as far as the call itself knows it."""
        spec = self.endpoint.spec
        return Attempt(
            id=new_id(), kind=self.order.kind, role=spec.role or self.asker.role,
            model=spec.model, route=self.endpoint.identity, step=self.asker.step,
            row=self.asker.row, started=self.started, try_number=self.attempt,
            samples=len(self.places), queue_ms=self.queue_ms, ttft_ms=self.ttft_ms,
            latency_ms=self.latency_ms, status=status, outcome=outcome,
        )  # fmt: skip

    async def _pause(self, seconds: float) -> None:
        """Sleeps, unless the run stops or another model takes over.

        Raises: RunError, ModelDownError.
        """
        stopped, left = self.till.stopped, self.endpoint.left
        events = [stopped, left] if self.endpoint.stands_in and not left.is_set() else [stopped]
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if stopped.is_set():
            raise RunError(STOPPED)
        if self.endpoint.stands_in and left.is_set():
            raise ModelDownError(self.endpoint.why_down)
