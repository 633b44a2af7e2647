"""The client: one way to ask any model, with its limits, retries, price and journal.

A call's slot is held until its answer is committed, so at most `concurrency` paid answers can be
lost to kill -9. Errors are sorted once, here: wait (429), try again (timeouts, 5xx, broken
replies), give up on the row (a refused request), give up on the model (bad key, no credit).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from karat.errors import ProviderError, RunError
from karat.journal import Journal, Record
from karat.models.budget import Budget
from karat.models.chat import ChatReply, ChatRequest, Completion
from karat.models.limits import Limiter
from karat.models.spec import ModelSpec, load_provider
from karat.models.transport import HttpReply
from karat.row import SEED_RANGE, digest

FATAL = {401, 402, 403, 404}
OVERLOADED = {0, 503, 504, 529}  # 0: no answer at all
MAX_REFUSALS = 100  # 429s one call waits out before its row is given up
BACKOFF_S = (0.25, 20.0)  # first, longest
DEFAULT_MAX_TOKENS = 4096  # what a budget reserves where nobody said
CHARACTERS_PER_TOKEN = 4  # for services that report no usage; marked as estimated
STOPPED = "stopped before this call was sent"


class Provider(Protocol):
    """One open connection in one wire format. `concurrency` is how many calls it takes at once."""

    concurrency: int
    url: str

    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def transport(self) -> object: ...
    def encode(self, request: ChatRequest) -> bytes: ...
    def decode(self, reply: HttpReply) -> ChatReply: ...
    def error(self, reply: HttpReply) -> str: ...
    async def close(self) -> None: ...


class Tally:
    """What one model did since the run started, for progress lines."""

    def __init__(self) -> None:
        self.calls = self.replayed = self.in_flight = self.retries = self.failures = 0
        self.tokens_out = 0


class Endpoint:
    """A model of the recipe with its connection, limiter and counters."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.identity = spec.identity()
        self.price = spec.rate()
        self.provider = load_provider(spec.provider).connect(spec)
        self.limiter = Limiter(self.provider.concurrency)
        self.tally = Tally()
        self.max_n: int | None = None  # learned when a service answers fewer than asked
        self.delivered_at = 0.0


class Client:
    """Asks the models of one run. `models` maps the names a recipe uses to what they stand for."""

    def __init__(self, models: dict[str, ModelSpec], journal: Journal, budget: Budget) -> None:
        self.models = models
        self.journal = journal
        self.budget = budget
        self.endpoints: dict[str, Endpoint] = {}
        self._stopping = False

    def endpoint(self, model: str) -> Endpoint:
        """The model's endpoint, connected on first use: replaying a journal needs none."""
        if model not in self.endpoints:
            self.endpoints[model] = Endpoint(self.models[model])
        return self.endpoints[model]

    def stop(self) -> None:
        """From now on no call is sent; those under way finish and are recorded."""
        self._stopping = True

    async def chat(self, model: str, request: ChatRequest, step: str, row: str) -> list[Completion]:
        """request.n answers, in order of their sample index.

        Answers the journal holds are not bought again. Raises: ProviderError, RunError.
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
            wanted = missing[: endpoint.max_n or None]
            for record in await self._buy(endpoint, request, wanted, keys, step, row):
                found[record.key] = (record.sample, record.content, record.finish_reason)
        name = endpoint.spec.model
        return [
            Completion(found[key][1], found[key][2], name, i, key.hex())
            for i, key in enumerate(keys)
        ]

    async def _buy(
        self, endpoint: Endpoint, request: ChatRequest, samples: list[int], keys: list[bytes],
        step: str, row: str,
    ) -> list[Record]:  # fmt: skip
        """Sends one request for these samples and records what came back."""
        price = endpoint.price
        asked = msgspec.structs.replace(
            request, n=len(samples), seed=_seed_of(request.seed, samples[0])
        )
        body = endpoint.provider.encode(asked)
        worst = 0
        if price is not None:
            tokens = (request.max_tokens or DEFAULT_MAX_TOKENS) * len(samples)
            worst = price.cost_nano(len(body) // 2, tokens)
        self.budget.reserve(worst)
        cost = 0
        try:
            call = _Call(endpoint, body, step, row)
            reply = await self._send(call)
            try:
                records = _records(call, reply, samples, keys)
                cost = sum(record.cost_nano or 0 for record in records)
                await self.journal.put(records)
            finally:
                endpoint.limiter.release()
                endpoint.tally.in_flight -= 1
        finally:
            self.budget.settle(worst, cost)
        if len(records) < len(samples):
            endpoint.max_n = len(records)
        return records

    async def _send(self, call: _Call) -> ChatReply:
        """One good reply, its slot still held: the caller releases it when all is recorded."""
        endpoint, refusals = call.endpoint, 0
        while True:
            queued = time.perf_counter()
            began = await endpoint.limiter.acquire()
            if self._stopping:
                endpoint.limiter.release()
                raise RunError(STOPPED)
            call.start(queued)
            endpoint.tally.in_flight += 1
            try:
                reply = await call.post()
            except BaseException as error:
                endpoint.limiter.release()
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
            if call.retries >= endpoint.spec.attempts - 1 or refusals > MAX_REFUSALS:
                self._give_up(call, began)
            call.retries += call.last_status != 429
            endpoint.tally.retries += 1
            await asyncio.sleep(wait)

    def _after(self, call: _Call, error: ProviderError, began: float) -> float:
        """What a failed attempt means: seconds to wait before the next one, or an error."""
        call.last_error, call.last_status = str(error), error.status
        limiter = call.endpoint.limiter
        if error.status == 429:
            waits: float = limiter.refused(began, call.retry_after_s)
            return waits
        if error.status in FATAL or 300 <= error.status < 400:
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

    def _give_up(self, call: _Call, began: float) -> None:
        """Raises: RunError when nothing answers at all, else ProviderError for this row."""
        self._note(call)
        spec = call.endpoint.spec
        text = f"{call.last_error} (after {call.retries + 1} tries)"
        if call.last_status == 0 and call.endpoint.delivered_at < call.first_try:
            raise RunError(
                f"model '{spec.model}' at {call.endpoint.provider.url} does not answer: {text}. "
                "Is the server running? Run again to go on"
            )
        raise ProviderError(text, call.last_status)

    def _note(self, call: _Call) -> None:
        call.endpoint.tally.failures += 1
        self.journal.note_failure(
            call.started, call.endpoint.spec.model, call.step, call.row,
            call.last_status, call.retries, call.last_error,
        )  # fmt: skip

    async def close(self) -> None:
        for endpoint in self.endpoints.values():
            await endpoint.provider.close()


class _Call:
    """One request on its way: the clock, the tries, the last error."""

    def __init__(self, endpoint: Endpoint, body: bytes, step: str, row: str) -> None:
        self.endpoint, self.body, self.step, self.row = endpoint, body, step, row
        self.retries = 0
        self.last_error, self.last_status = "", 0
        self.retry_after_s: float | None = None
        self.started = self.queue_ms = self.latency_ms = 0.0
        self.first_try = asyncio.get_running_loop().time()

    def start(self, queued: float) -> None:
        self.started = time.time()
        self.queue_ms += (time.perf_counter() - queued) * 1000

    async def post(self) -> ChatReply:
        """Raises: ProviderError with the status of a reply that is no answer."""
        provider = self.endpoint.provider
        self.retry_after_s = None
        sent = time.perf_counter()
        reply: HttpReply = await provider.transport.post(
            provider.url, self.body, provider.headers, self.endpoint.spec.timeout_s
        )
        self.latency_ms = (time.perf_counter() - sent) * 1000
        if reply.status != 200:
            self.retry_after_s = _retry_after(reply.headers.get("retry-after"))
            raise ProviderError(f"HTTP {reply.status}: {provider.error(reply)}", reply.status)
        answer: ChatReply = provider.decode(reply)
        return answer


def _with_defaults(request: ChatRequest, spec: ModelSpec) -> ChatRequest:
    """The model's own sampling defaults where the step left a value open."""
    fill = {
        name: getattr(spec, name)
        for name in ("temperature", "top_p", "max_tokens")
        if getattr(request, name) is None and getattr(spec, name) is not None
    }
    return msgspec.structs.replace(request, **fill) if fill else request


def _seed_of(seed: int | None, sample: int) -> int | None:
    """The seed sent for samples from `sample` on: the first batch sends the request's own."""
    if seed is None or sample == 0:
        return seed
    return int.from_bytes(digest(str(seed), str(sample), size=8), "little") % SEED_RANGE


def _records(
    call: _Call, reply: ChatReply, samples: Sequence[int], keys: list[bytes]
) -> list[Record]:
    """One record per answer; the request's tokens and cost split so that they add up exactly."""
    choices = reply.choices[: len(samples)]
    tokens, estimated = _split_tokens(reply, len(choices))
    prompt_tokens = reply.prompt_tokens
    if prompt_tokens is None:
        prompt_tokens, estimated = len(call.body) // CHARACTERS_PER_TOKEN, True
    price = call.endpoint.price
    made = []
    call.endpoint.tally.tokens_out += sum(tokens)
    for place, (sample, choice) in enumerate(zip(samples, choices, strict=False)):
        paid_in = prompt_tokens if place == 0 else 0
        made.append(
            Record(
                key=keys[sample],
                request=keys[samples[0]],
                kind="chat",
                model=call.endpoint.spec.model,
                step=call.step,
                row=call.row,
                sample=sample,
                content=choice.content.encode("utf-8", "replace").decode(),
                finish_reason=choice.finish_reason,
                prompt_tokens=paid_in,
                completion_tokens=tokens[place],
                estimated=estimated,
                cost_nano=None if price is None else price.cost_nano(paid_in, tokens[place]),
                latency_ms=call.latency_ms,
                queue_ms=call.queue_ms,
                retries=call.retries,
                started=call.started,
                body=call.body.decode() if place == 0 else None,
            )
        )
    return made


def _split_tokens(reply: ChatReply, count: int) -> tuple[list[int], bool]:
    """Completion tokens per answer, and whether they had to be estimated."""
    choices = reply.choices[:count]
    own = [choice.tokens for choice in choices]
    if all(tokens is not None for tokens in own):
        return [tokens or 0 for tokens in own], False
    if reply.completion_tokens is None:
        return [len(c.content) // CHARACTERS_PER_TOKEN + 1 for c in choices], True
    lengths = [len(choice.content) + 1 for choice in choices]
    total, shares, given = reply.completion_tokens, [], 0
    for place in range(count):  # rounding carried along: the shares add up to the total
        upto = round(total * sum(lengths[: place + 1]) / sum(lengths))
        shares.append(upto - given)
        given = upto
    return shares, False


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header; its date form is rare and left to the backoff."""
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None


def _remedy(error: ProviderError) -> str:
    """What a person must do about an error no retry can mend."""
    advice = {
        401: "the key is not accepted; check the variable named in key_env",
        402: "the account has no credit left; top it up and run again",
        403: "the key may not use this model; check its permissions",
        404: "the service knows no such model or address; check model and base_url",
    }.get(error.status, "the address redirects; put its final form into base_url")
    return f"{error}. {advice.capitalize()}"
