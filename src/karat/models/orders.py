"""Orders: what is asked for in one call to the client, in a form that can be bought in parts.

An order is so many answers, each under a key of its own. Chat and completion ask for n samples,
embeddings for a vector a text, rerank and decisions for one answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
import orjson

from karat.errors import ProviderError
from karat.models.asks import (
    CompleteRequest,
    DecideRequest,
    EmbedRequest,
    RerankRequest,
    Verdict,
)
from karat.models.chat import ChatReply, ChatRequest, Choice, TokenLogprob, ToolCall, Usage
from karat.models.transport import HttpReply
from karat.models.wire import Post, Provider
from karat.row import SEED_RANGE, digest

ENCODER = msgspec.json.Encoder(order="deterministic")  # a schema's keys in whatever order


class Answer(msgspec.Struct):
    """One answer as it is journaled. `tokens` is None where only the whole request was counted."""

    content: str | bytes
    finish_reason: str = ""
    tokens: int | None = None
    more: str | None = None


class Bought(msgspec.Struct):
    """The answers of one request and what they used."""

    answers: list[Answer]
    usage: Usage
    served: str = ""


class Order(Protocol):
    """`size` answers are wanted; `together`: the most that fit into one request, None: all.

    `sampled` says with what values the answers are drawn, in chat's words; None where none are
    drawn. Samples of one request are neighbours, since their seeds count upwards.
    """

    kind: str
    size: int
    together: int | None

    @property
    def sampled(self) -> ChatRequest | None: ...
    def keys(self, identity: str) -> list[bytes]: ...
    def post(self, provider: Provider, places: Sequence[int], *, stream: bool = False) -> Post: ...
    def read(self, provider: Provider, places: Sequence[int], reply: HttpReply) -> Bought: ...
    def most_tokens(self, count: int, default: int) -> int:
        """The most tokens `count` answers can have, for a budget's worst case; `default` is one
        answer's where nobody said."""


class Extras(msgspec.Struct, omit_defaults=True):
    """What a chat answer holds beside its text, in the journal's `more`."""

    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: list[TokenLogprob] | None = None


MOST_TEXTS = 256  # of one embeddings request


class ChatOrder:
    """n samples of one conversation; sample i has its own seed, hence its own key."""

    kind = "chat"
    together: int | None = None

    def __init__(self, request: ChatRequest) -> None:
        self.request = self.sampled = request
        self.size = request.n

    def keys(self, identity: str) -> list[bytes]:
        base = ENCODER.encode(msgspec.structs.replace(self.request, n=1))
        return [digest(identity, base, str(i)) for i in range(self.size)]

    def post(self, provider: Provider, places: Sequence[int], *, stream: bool = False) -> Post:
        return provider.chat(_at(self.request, places), stream=stream)

    def read(self, provider: Provider, places: Sequence[int], reply: HttpReply) -> Bought:
        return chat_answers(provider.read_chat(reply))

    def most_tokens(self, count: int, default: int) -> int:
        return (self.request.max_tokens or default) * count


class CompleteOrder:
    """n samples of how one text goes on, bought and told apart as a chat's are."""

    kind = "complete"
    together: int | None = None

    def __init__(self, request: CompleteRequest) -> None:
        self.request = r = request
        self.size = r.n
        self.sampled: ChatRequest | None = ChatRequest(
            (), r.n, r.temperature, r.top_p, r.max_tokens, r.stop, r.seed, r.top_k, r.min_p,
            r.presence_penalty, r.frequency_penalty,
        )  # fmt: skip

    def keys(self, identity: str) -> list[bytes]:
        base = ENCODER.encode(msgspec.structs.replace(self.request, n=1))
        return [digest(identity, self.kind, base, str(i)) for i in range(self.size)]

    def post(self, provider: Provider, places: Sequence[int], *, stream: bool = False) -> Post:
        return provider.complete(_at(self.request, places))

    def read(self, provider: Provider, places: Sequence[int], reply: HttpReply) -> Bought:
        return chat_answers(provider.read_complete(reply))

    def most_tokens(self, count: int, default: int) -> int:
        return (self.request.max_tokens or default) * count


S = TypeVar("S", ChatRequest, CompleteRequest)


def _at(request: S, places: Sequence[int]) -> S:
    """The request for the samples at these places.

    Services that take n number their seeds upwards, so four samples and four more are the same
    texts as eight at once.
    """
    seed = request.seed
    if seed is not None:
        seed = (seed + places[0]) % SEED_RANGE
    return msgspec.structs.replace(request, n=len(places), seed=seed)


def chat_answers(reply: ChatReply) -> Bought:
    """The choices of a chat or a completion as they are journaled."""
    answers = [Answer(c.content, c.finish_reason, c.tokens, _more(c)) for c in reply.choices]
    return Bought(answers, reply.usage, reply.served_model)


def _more(choice: Choice) -> str | None:
    if not (choice.reasoning or choice.tool_calls or choice.logprobs is not None):
        return None
    held = Extras(choice.reasoning, choice.tool_calls, choice.logprobs)
    return ENCODER.encode(held).decode()


class EmbedOrder:
    """A vector for each text, journaled as float32, little-endian."""

    kind = "embed"
    together: int | None = MOST_TEXTS
    sampled: ChatRequest | None = None

    def __init__(self, request: EmbedRequest) -> None:
        self.request = request
        self.size = len(request.texts)

    def keys(self, identity: str) -> list[bytes]:
        base = ENCODER.encode(msgspec.structs.replace(self.request, texts=()))
        return [digest(identity, "embed", base, text) for text in self.request.texts]

    def _part(self, places: Sequence[int]) -> EmbedRequest:
        texts = tuple(self.request.texts[i] for i in places)
        return msgspec.structs.replace(self.request, texts=texts)

    def post(self, provider: Provider, places: Sequence[int], *, stream: bool = False) -> Post:
        return provider.embed(self._part(places))

    def read(self, provider: Provider, places: Sequence[int], reply: HttpReply) -> Bought:
        found = provider.read_embed(self._part(places), reply)
        vectors = [np.asarray(vector, "<f4") for vector in found.vectors]
        if len(vectors) != len(places) or not all(np.isfinite(v).all() for v in vectors):
            raise ProviderError(
                f"{len(vectors)} vectors for {len(places)} texts, or numbers that are none", 200,
                kind="unreadable",
            )  # fmt: skip
        return Bought([Answer(v.tobytes()) for v in vectors], found.usage, found.served_model)

    def most_tokens(self, count: int, default: int) -> int:
        return 0


class RerankOrder:
    """The relevance of each document, one answer."""

    kind = "rerank"
    size = 1
    together: int | None = None
    sampled: ChatRequest | None = None

    def __init__(self, request: RerankRequest) -> None:
        self.request = request

    def keys(self, identity: str) -> list[bytes]:
        return [digest(identity, self.kind, ENCODER.encode(self.request))]

    def post(self, provider: Provider, places: Sequence[int], *, stream: bool = False) -> Post:
        return provider.rerank(self.request)

    def read(self, provider: Provider, places: Sequence[int], reply: HttpReply) -> Bought:
        found = provider.read_rerank(self.request, reply)
        return Bought(
            [Answer(orjson.dumps(found.scores).decode())], found.usage, found.served_model
        )

    def most_tokens(self, count: int, default: int) -> int:
        return 0


class DecideOrder:
    """Verdicts on all questions of one request, one answer."""

    kind = "decide"
    size = 1
    together: int | None = None
    sampled: ChatRequest | None = None

    def __init__(self, request: DecideRequest) -> None:
        self.request = request

    def keys(self, identity: str) -> list[bytes]:
        return [digest(identity, self.kind, ENCODER.encode(self.request))]

    def post(self, provider: Provider, places: Sequence[int], *, stream: bool = False) -> Post:
        return provider.decide(self.request)

    def read(self, provider: Provider, places: Sequence[int], reply: HttpReply) -> Bought:
        found = provider.read_decide(self.request, reply)
        content = ENCODER.encode(found.verdicts).decode()
        return Bought([Answer(content)], found.usage, found.served_model)

    def most_tokens(self, count: int, default: int) -> int:
        return 16 * len(self.request.questions)


def verdicts(content: Any) -> list[Verdict]:
    """A journaled answer to a DecideOrder."""
    return msgspec.json.decode(content, type=list[Verdict])
