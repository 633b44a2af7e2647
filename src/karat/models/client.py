"""The client: one way to ask any model, with its limits, retries, price and journal.

A call's slot is held until its answer is committed, so at most `concurrency` paid answers can be
lost to kill -9. Errors are sorted once, here: wait (429), try again (timeouts, 5xx, broken
replies), give up on the row (a refused request), give up on the model (bad key, no credit).
"""

from __future__ import annotations

import asyncio
import random
import re
import time

import msgspec

from karat.errors import ProviderError, RunError
from karat.journal import Journal, Record
from karat.models.billing import bill
from karat.models.budget import Budget
from karat.models.chat import ChatReply, ChatRequest, Completion
from karat.models.endpoint import Asker, Call, Endpoint
from karat.models.spec import ModelSpec
from karat.row import SEED_RANGE, digest
from karat.together import all_of

_SPEAKS_OF_N = re.compile(r"(?<![\w.])n(?![\w.])|\bn_|choices|samples")
FATAL = {401, 402, 403, 404}
OVERLOADED = {0, 503, 504, 529}  # 0: no answer at all
MAX_REFUSALS = 100  # 429s one call waits out before its row is given up
BACKOFF_S = (0.25, 20.0)  # first, longest
DEFAULT_MAX_TOKENS = 4096  # what a budget reserves where nobody said
STOPPED = "stopped before this call was sent"


class Client:
    """Asks the models of one run. `models` maps the names a recipe uses to what they stand for."""

    def __init__(self, models: dict[str, ModelSpec], journal: Journal, budget: Budget) -> None:
        self.models = models
        self.journal = journal
        self.budget = budget
        self.endpoints: dict[str, Endpoint] = {}
        self._stopped = asyncio.Event()
        self._buying: dict[bytes, asyncio.Event] = {}

    def endpoint(self, model: str) -> Endpoint:
        """The model's endpoint, connected on first use: replaying a journal needs none."""
        if model not in self.endpoints:
            self.endpoints[model] = Endpoint(self.models[model])
        return self.endpoints[model]

    def stop(self) -> None:
        """From now on no call is sent; those under way finish and are recorded."""
        self._stopped.set()
        for endpoint in self.endpoints.values():
            endpoint.limiter.close()

    async def chat(self, model: str, request: ChatRequest, asker: Asker) -> list[Completion]:
        """request.n answers, in order of their sample index.

        Answers the journal holds, or that another row is buying just now, are not bought again.
        Raises: ProviderError, RunError.
        """
        endpoint = self.endpoint(model)
        request = _with_defaults(request, endpoint.spec)
        base = msgspec.json.encode(msgspec.structs.replace(request, n=1))
        keys = [digest(endpoint.identity, base, str(i)) for i in range(request.n)]
        found = self.journal.get(keys)
        if found:
            endpoint.tally.replayed += len(found)
        while len(found) < request.n:
            missing = [i for i, key in enumerate(keys) if key not in found]
            mine = [i for i in missing if keys[i] not in self._buying]
            if mine:
                for record in await self._buy_all(endpoint, request, mine, keys, asker):
                    found[record.key] = (record.sample, record.content, record.finish_reason)
            else:
                await self._buying[keys[missing[0]]].wait()
            if len(found) < request.n:  # others may have bought the rest meanwhile
                found.update(self.journal.get(key for key in keys if key not in found))
        name = endpoint.spec.model
        return [
            Completion(found[key][1], found[key][2], name, i, key.hex())
            for i, key in enumerate(keys)
        ]

    async def _buy_all(
        self, endpoint: Endpoint, request: ChatRequest, samples: list[int], keys: list[bytes],
        asker: Asker,
    ) -> list[Record]:  # fmt: skip
        """One request for all samples, or side by side as many as the service needs."""
        size = endpoint.max_n or len(samples)
        parts = [samples[i : i + size] for i in range(0, len(samples), size)]
        bought = asyncio.Event()
        self._buying.update((keys[i], bought) for i in samples)
        try:
            buys = [self._buy_part(endpoint, request, part, keys, asker) for part in parts]
            return [record for records in await all_of(buys) for record in records]
        finally:
            for i in samples:
                del self._buying[keys[i]]
            bought.set()

    async def _buy_part(
        self, endpoint: Endpoint, request: ChatRequest, samples: list[int], keys: list[bytes],
        asker: Asker,
    ) -> list[Record]:  # fmt: skip
        """One request; where the service refuses its n but takes one sample, one by one."""
        try:
            return await self._buy(endpoint, request, samples, keys, asker)
        except ProviderError as error:
            refused = error.status in (400, 422) and len(samples) > 1
            if not refused or endpoint.takes_n or not _SPEAKS_OF_N.search(str(error)):
                raise
        first = await self._buy(endpoint, request, samples[:1], keys, asker)
        endpoint.max_n = 1
        rest = await all_of(self._buy(endpoint, request, [i], keys, asker) for i in samples[1:])
        return [*first, *(record for records in rest for record in records)]

    async def _buy(
        self, endpoint: Endpoint, request: ChatRequest, samples: list[int], keys: list[bytes],
        asker: Asker,
    ) -> list[Record]:  # fmt: skip
        """Sends one request for these samples and records what came back."""
        price, count = endpoint.price, len(samples)
        asked = msgspec.structs.replace(request, n=count, seed=_seed_of(request.seed, samples[0]))
        body = endpoint.provider.encode(asked)
        worst = 0
        if price is not None:
            tokens = (request.max_tokens or DEFAULT_MAX_TOKENS) * count
            worst = price.cost_nano(len(body) // 2, tokens)
        call = Call(endpoint, body, asker, worst, endpoint.weight(count))
        cost = 0
        try:
            reply = await self._send(call)
            try:
                records = bill(call, reply, samples, keys)
                cost = sum(record.cost_nano or 0 for record in records)
                await self.journal.put(records)
            except RunError:
                self.stop()  # before the slot goes to a call that could not be recorded either
                raise
            finally:
                endpoint.limiter.release(call.weight)
                endpoint.tally.in_flight -= 1
        finally:
            if call.reserved:
                self.budget.settle(worst, cost)
        endpoint.takes_n |= len(records) > 1
        if count > 1 and len(records) == 1:
            endpoint.max_n = 1  # the service knows no n: from now on one request a sample
        return records

    async def _send(self, call: Call) -> ChatReply:
        """One good reply, its slot still held: the caller releases it when all is recorded."""
        endpoint, refusals = call.endpoint, 0
        while True:
            queued = time.perf_counter()
            began = await endpoint.limiter.acquire(call.weight)
            endpoint.tally.in_flight += 1
            try:
                if not call.reserved:
                    await self.budget.reserve(call.worst_nano)
                    call.reserved = True
                if self._stopped.is_set():
                    raise RunError(STOPPED)
                call.start(queued)
                reply = await call.post()
            except BaseException as error:
                endpoint.limiter.release(call.weight)
                endpoint.tally.in_flight -= 1
                if not isinstance(error, ProviderError):
                    raise
                wait = self._after(call, error, began)
                refusals += error.status == 429
            else:
                endpoint.limiter.delivered()
                endpoint.delivered_at = began
                endpoint.tally.calls += 1
                return reply
            failed = call.last_status != 429
            # Nobody ever took a connection: a wrong address is no outage to sit out.
            never = call.unreachable and endpoint.delivered_at == 0
            attempts = min(endpoint.spec.attempts, 4) if never else endpoint.spec.attempts
            if call.last_status == 200:  # paid for and unreadable: not eight times
                attempts = min(attempts, 2)
            if refusals > MAX_REFUSALS or (failed and call.retries >= attempts - 1):
                self._give_up(call)
            call.retries += failed
            endpoint.tally.retries += 1
            await self._pause(wait)

    async def _pause(self, seconds: float) -> None:
        """Sleeps, unless the run stops first. Raises: RunError."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return
        raise RunError(STOPPED)

    def _after(self, call: Call, error: ProviderError, began: float) -> float:
        """What a failed attempt means: seconds to wait before the next one, or an error."""
        call.last_error, call.last_status = str(error), error.status
        if error.status == 200:  # paid for, however unreadable: the budget counts the worst case
            self.budget.settle(0, call.worst_nano)
        call.unreachable = error.unreachable
        limiter = call.endpoint.limiter
        if error.status == 429:
            waits: float = limiter.refused(began, call.retry_after_s)
            return waits
        known = call.endpoint.delivered_at > 0  # it has answered: a 403 is about this request
        if (error.status in FATAL and not (error.status == 403 and known)) or (
            300 <= error.status < 400
        ):
            self._note(call)
            raise RunError(f"model '{call.endpoint.spec.model}': {_remedy(error)}") from error
        if 400 <= error.status < 500 and error.status not in (408, 409, 425):
            self._note(call)
            raise error
        if error.status in OVERLOADED:
            limiter.overloaded(began)
        first, longest = BACKOFF_S
        wait: float = min(first * 2**call.retries, longest) * (0.5 + random.random() / 2)
        return max(wait, call.retry_after_s or 0.0)

    def _give_up(self, call: Call) -> None:
        """Raises: RunError when nobody takes connections, else ProviderError for this row."""
        self._note(call)
        spec = call.endpoint.spec
        text = f"{call.last_error} (after {call.retries + 1} tries)"
        if call.unreachable and call.endpoint.delivered_at < call.first_try:
            raise RunError(
                f"model '{spec.model}' at {call.endpoint.provider.url} does not answer: {text}. "
                "Is the server running? Run again to go on"
            )
        raise ProviderError(text, call.last_status)

    def _note(self, call: Call) -> None:
        call.endpoint.tally.failures += 1
        self.journal.note_failure(
            call.started, call.endpoint.spec.model, call.step, call.row,
            call.last_status, call.retries, call.last_error,
        )  # fmt: skip

    async def close(self) -> None:
        for endpoint in self.endpoints.values():
            await endpoint.provider.close()


def _with_defaults(request: ChatRequest, spec: ModelSpec) -> ChatRequest:
    """The model's own sampling defaults where the step left a value open."""
    fill = {
        name: getattr(spec, name)
        for name in ("temperature", "top_p", "max_tokens")
        if getattr(request, name) is None and getattr(spec, name) is not None
    }
    return msgspec.structs.replace(request, **fill) if fill else request


def _seed_of(seed: int | None, sample: int) -> int | None:
    """The seed sent for samples from `sample` on.

    Services that take n number their seeds upwards, so four samples and four more are the same
    texts as eight at once.
    """
    return None if seed is None else (seed + sample) % SEED_RANGE


def _remedy(error: ProviderError) -> str:
    """What a person must do about an error no retry can mend."""
    advice = {
        401: "the key is not accepted; check the variable named in key_env",
        402: "the account has no credit left; top it up and run again",
        403: "the key may not use this model; check its permissions",
        404: "the service knows no such model or address; check model and base_url",
    }.get(error.status, "the address redirects; put its final form into base_url")
    return f"{error}. {advice.capitalize()}"
