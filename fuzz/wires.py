"""What services answer: whole replies, streams, batches, headers. Bytes from outside, all of them.

Each body is read by every format, as a wrong base_url would have it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

from fuzz.promises import KINDS, done, each, finite, named, promise, typed
from karat.errors import ProviderError
from karat.models import _batch_anthropic, _batch_openai
from karat.models.answer import Assembly
from karat.models.asks import (
    DecideReply,
    DecideRequest,
    EmbedReply,
    EmbedRequest,
    Question,
    RerankReply,
    RerankRequest,
)
from karat.models.batch_desk import Look
from karat.models.chat import ChatReply, Delta
from karat.models.providers import anthropic, gemini, openai, responses
from karat.models.rate_headers import MAX_PAUSE_S, read_limits, retry_after
from karat.models.spec import parse_model
from karat.models.sse import events
from karat.models.transport import HttpReply, Whole
from karat.row import Message

T = TypeVar("T")
KEY = "sk-fuzz-0123456789"
EMBED = EmbedRequest(("one", "two"))
RERANK = RerankRequest("tides", ("one", "two"))
DECIDE = DecideRequest((Message("user", "tides"),), (Question("Is it so?"),))


class Canned:
    """A transport that gives one body to whatever is asked: the one I/O seam."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.reply = HttpReply(status, {}, body)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply:
        return self.reply

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[Whole]:
        yield Whole(self.reply)

    async def close(self) -> None:
        return None


@cache
def provider(model: str, **more: str) -> Any:
    """A connection to a service of this name, with a key that must show in no message."""
    spec = parse_model({"model": model, "base_url": "http://h/v1", **more})
    kinds = {
        "openai": openai.OpenAI, "responses": responses.Responses,
        "anthropic": anthropic.Anthropic, "gemini": gemini.Gemini,
    }  # fmt: skip
    return kinds[spec.format](spec, Canned(b""), 1, "http://h/v1", KEY)


@cache
def providers() -> tuple[Any, ...]:
    return (
        provider("openai/x"), provider("openrouter/x"), provider("xai/x"),
        provider("openai/x", wire="responses"), provider("anthropic/claude-sonnet-4-5"),
        provider("google/gemini-2.5-flash"),
    )  # fmt: skip


def answered(data: bytes) -> None:
    """A whole reply: an answer of the stated types, or an error that does not tell the key."""
    ok = HttpReply(200, {}, data)
    for one in providers():
        found = _read(lambda one=one: one.read_chat(ok))
        if found is not None:
            typed(found, ChatReply)
            promise(bool(found.choices), "a reply without an answer")
            for choice in found.choices:
                finite([(t.logprob, [p for _, p in t.top]) for t in choice.logprobs or ()])
    for one in providers()[:1]:
        found = _read(lambda one=one: one.read_complete(ok))
        if found is not None:
            typed(found, ChatReply)
    for status in (302, 400, 403, 429, 500):
        for one in providers():
            error = one.fault(HttpReply(status, {}, data))
            promise(isinstance(error, ProviderError), "a fault that is no error")
            promise(KEY not in str(error), "the key in a message")


def asked(data: bytes) -> None:
    """Embeddings, an order, decisions."""
    ok = HttpReply(200, {}, data)
    for name in ("openai/x", "google/gemini-2.5-flash", "cohere/x", "nvidia/x", "vllm/x"):
        one = provider(name)
        vectors = _read(lambda one=one: one.read_embed(EMBED, ok))
        if vectors is not None:
            promise(len(typed(vectors, EmbedReply).vectors) == 2, "not one vector a text")
            finite(vectors.vectors)
        order = _read(lambda one=one: one.read_rerank(RERANK, ok))
        if order is not None:
            promise(len(typed(order, RerankReply).scores) == 2, "not one score a document")
            finite(order.scores)
        verdicts = _read(lambda one=one: one.read_decide(DECIDE, ok))
        if verdicts is not None:
            promise(len(typed(verdicts, DecideReply).verdicts) == 1, "not one verdict a question")


def _read(call: Callable[[], T]) -> T | None:
    """What a reader gives; its error must not tell the key."""
    try:
        return call()
    except ProviderError as error:
        promise(error.kind in KINDS, f"an error of kind {error.kind!r}")
        promise(KEY not in str(error), "the key in a message")
        return None


def streamed(data: bytes) -> None:
    """A stream's events, however it is cut; the deltas of each format; the answer they make."""
    whole = _events(data, len(data) or 1)
    for size in (1, 7):
        promise(len(data) > 4096 or _events(data, size) == whole, f"other events in {size}s")
    for one in providers():
        read, made = one.reader(), Assembly()
        for event, body in whole or ():
            found = named(lambda e=event, b=body, r=read: r(e, b), ProviderError)
            for delta in found or ():
                made.add(typed(delta, Delta))
            if found is None:
                break
        typed(made.reply(), ChatReply)


def _events(data: bytes, size: int) -> list[tuple[str, bytes]] | None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    return named(lambda: list(each(events(pieces()))), ProviderError)


def batched(data: bytes) -> None:
    """What is said about a batch, and its lines of results."""
    for desks, name in ((_batch_openai, "openai/x"), (_batch_anthropic, "anthropic/claude-x")):
        one = provider(name)
        one.transport = Canned(data)
        desk = desks.connect(one)
        look = named(lambda desk=desk: done(desk.look("b")), ProviderError)
        if look is not None:
            promise(all(file.startswith("/") for file in look.files), "a file of another host")
        named(lambda desk=desk: done(desk.create(b"{}")), ProviderError)
        if len(data) < 8192:  # a page may say that there are more, a hundred times
            named(lambda desk=desk: done(desk.search("k", 1, 0.0)), ProviderError)
        found = named(
            lambda desk=desk: list(each(desk.results(Look(True, files=("/f",))))), ProviderError
        )
        for custom_id, reply in found or ():
            promise(isinstance(custom_id, str), "an id that is no text")
            if reply is not None and reply.status == 200:
                _read(lambda one=one, reply=reply: one.read_chat(reply))


def headers(data: bytes) -> None:
    """Lines of `name: value`: what is left of the limits, and how long to wait."""
    said: dict[str, str] = {}
    for line in data.decode("latin-1").split("\n"):
        name, _, value = line.partition(":")
        said[name.strip().lower()] = value.strip()
    for now in (0.0, 1.7e9):
        limits = read_limits(said, now)
        for value in () if limits is None else (
            limits.remaining_requests, limits.requests_reset_s, limits.remaining_tokens,
            limits.tokens_reset_s,
        ):  # fmt: skip
            promise(value is None or (math.isfinite(value) and value >= 0), f"{value} is left")
        wait = retry_after(said, data, now)
        promise(wait is None or 0 <= wait <= MAX_PAUSE_S, f"a pause of {wait} s")
