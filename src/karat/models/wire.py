"""A provider, as the client sees it: one open connection in one wire format.

What is asked goes in as karat's own types and comes out as a URL and bytes; a reply comes back the
same way. Nothing here waits, retries or counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from karat.errors import ProviderError
from karat.models.asks import (
    CompleteRequest,
    DecideReply,
    DecideRequest,
    EmbedReply,
    EmbedRequest,
    RerankReply,
    RerankRequest,
)
from karat.models.chat import ChatReply, ChatRequest, Delta
from karat.models.transport import HttpReply, Transport

EventReader = Callable[[str, bytes], list[Delta]]


class Post(NamedTuple):
    """A request ready to be sent."""

    url: str
    body: bytes


class Provider(Protocol):
    """`concurrency` is how many calls it takes at once; `counts_samples`: each of a request's n
    samples takes one of them; `max_n`: the most samples of one request, None for no limit;
    `default_max_tokens`: what an answer may have where nobody said, for a budget."""

    concurrency: int
    counts_samples: bool
    max_n: int | None
    default_max_tokens: int
    address: str  # for messages: the service's base URL

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def transport(self) -> Transport: ...

    def chat(self, request: ChatRequest, *, stream: bool = False) -> Post: ...
    def read_chat(self, reply: HttpReply) -> ChatReply:
        """Raises: ProviderError(200, kind="unreadable") when the body holds no answer."""

    def reader(self) -> EventReader:
        """A fresh reader of one streamed answer: (event, data) of each server-sent event → deltas.

        Raises: ProviderError for an error sent in the stream.
        """

    def complete(self, request: CompleteRequest) -> Post: ...
    def read_complete(self, reply: HttpReply) -> ChatReply:
        """Raises: ProviderError(200, kind="unreadable") when the body holds no continuation."""

    def embed(self, request: EmbedRequest) -> Post: ...
    def read_embed(self, request: EmbedRequest, reply: HttpReply) -> EmbedReply: ...
    def rerank(self, request: RerankRequest) -> Post: ...
    def read_rerank(self, request: RerankRequest, reply: HttpReply) -> RerankReply: ...
    def decide(self, request: DecideRequest) -> Post: ...
    def read_decide(self, request: DecideRequest, reply: HttpReply) -> DecideReply: ...

    def fault(self, reply: HttpReply) -> ProviderError:
        """What a reply of another status than 200 means, sorted; the key is never in it."""

    def quote(self, said: str, length: int) -> str:
        """A service's words without the key it may echo, cut to so many characters."""

    async def close(self) -> None: ...
