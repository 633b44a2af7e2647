"""One model of a run with its connection, limits and counters, and one request on its way to it."""

from __future__ import annotations

import asyncio
import math
import time
from typing import NamedTuple, Protocol

from karat.errors import ProviderError
from karat.models.chat import ChatReply, ChatRequest
from karat.models.limits import MAX_PAUSE_S, Limiter
from karat.models.spec import ModelSpec, load_provider
from karat.models.transport import HttpReply, Transport


class Provider(Protocol):
    """One open connection in one wire format. `concurrency` is how many calls it takes at once."""

    concurrency: int
    url: str

    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def transport(self) -> Transport: ...
    def encode(self, request: ChatRequest) -> bytes: ...
    def decode(self, reply: HttpReply) -> ChatReply: ...
    def error(self, reply: HttpReply) -> str: ...
    def status(self, reply: HttpReply) -> int: ...
    async def close(self) -> None: ...


class Tally:
    """What one model did since the run started, for progress lines."""

    def __init__(self) -> None:
        self.calls = self.answers = self.replayed = 0
        self.in_flight = self.retries = self.failures = 0
        self.tokens_out = 0


class Endpoint:
    """A model of the recipe with its connection, limiter and counters."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.identity = spec.identity()
        self.price = spec.rate()
        self.provider: Provider = load_provider(spec.provider).connect(spec)
        self.limiter = Limiter(self.provider.concurrency)
        self.tally = Tally()
        self._by_sample: bool = getattr(self.provider, "counts_samples", False)
        self.takes_n = False  # it has answered several samples of one request
        self.max_n: int | None = None  # learned when a service answers fewer than asked
        self.delivered_at = 0.0

    def weight(self, samples: int) -> int:
        """Slots one request takes: one, or one a sample where the model writes them itself."""
        return samples if self._by_sample else 1


class Asker(NamedTuple):
    """Who asks: the step's label, the row's id, and what the step's answers depend on."""

    step: str
    row: str
    scope: str = ""


class Call:
    """One request on its way: the clock, the tries, the last error."""

    def __init__(
        self, endpoint: Endpoint, body: bytes, asker: Asker, worst_nano: int, weight: int
    ) -> None:
        self.endpoint, self.body = endpoint, body
        self.step, self.row, self.scope = asker
        self.worst_nano, self.weight = worst_nano, weight
        self.reserved = False
        self.unreachable = False
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
            said = f"HTTP {reply.status}: {provider.error(reply)}"
            raise ProviderError(said, provider.status(reply))
        answer: ChatReply = provider.decode(reply)
        return answer


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header; its date form is rare and left to the backoff."""
    try:
        seconds = float(value or "nan")
    except ValueError:
        return None
    return min(max(0.0, seconds), MAX_PAUSE_S) if math.isfinite(seconds) else None
