"""A streamed answer, put together again.

Streaming measures the time to the first token and keeps a long answer's connection busy; what a
step gets is the same either way.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping

from karat.errors import ProviderError
from karat.models.chat import ChatReply, Choice, Delta, ToolCall, Usage
from karat.models.orders import Bought, chat_answers
from karat.models.rate_headers import retry_after
from karat.models.sse import events
from karat.models.transport import HttpReply, read_all
from karat.models.wire import Post, Provider

Hear = Callable[[Delta], None]
Met = Callable[[Mapping[str, str]], None]


class Assembly:
    """Deltas on their way to being one reply."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._tools: dict[int, list[str]] = {}  # id, name, pieces of the arguments
        self._finish_reason = self._served = ""
        self._usage = Usage()

    def add(self, delta: Delta) -> None:
        if delta.content:
            self._content.append(delta.content)
        if delta.reasoning:
            self._reasoning.append(delta.reasoning)
        if delta.tool is not None:
            place, call, name, piece = delta.tool
            held = self._tools.setdefault(place, ["", ""])
            held[0], held[1] = held[0] or call, held[1] or name
            held.append(piece)
        self._finish_reason = delta.finish_reason or self._finish_reason
        self._served = delta.served_model or self._served
        self._usage = delta.usage or self._usage

    @property
    def finished(self) -> bool:
        """Whether the service has said why it stopped."""
        return bool(self._finish_reason)

    def reply(self) -> ChatReply:
        """The answer so far."""
        calls = tuple(
            ToolCall(held[0] or f"call_{place}", held[1], "".join(held[2:]))
            for place, held in sorted(self._tools.items())
        )
        choice = Choice(
            "".join(self._content), self._finish_reason, reasoning="".join(self._reasoning),
            tool_calls=calls,
        )  # fmt: skip
        return ChatReply([choice], self._usage, self._served)


async def deltas(
    provider: Provider, post: Post, timeout_s: float, met: Met
) -> AsyncIterator[Delta]:
    """The pieces of one streamed answer; `met` gets the reply's headers before the first.

    Raises: ProviderError, also when it breaks off.
    """
    read, finished = provider.reader(), False
    async with provider.transport.stream(
        "POST", post.url, post.body, provider.headers, timeout_s
    ) as stream:
        met(stream.headers)
        if stream.status != 200:
            raise sorted_fault(provider, await read_all(stream))
        async for name, data in events(stream.pieces()):
            for delta in read(name, data):
                finished |= bool(delta.finish_reason)
                yield delta
    if not finished:
        raise ProviderError("the streamed answer broke off", 200, kind="unreadable")


def sorted_fault(provider: Provider, reply: HttpReply) -> ProviderError:
    """What a reply that is no answer means, and how long it asks to wait."""
    error = provider.fault(reply)
    error.retry_after_s = retry_after(reply.headers, reply.body, time.time())
    return error


async def stream_answer(
    provider: Provider, post: Post, timeout_s: float, met: Met, hear: Hear | None = None
) -> tuple[Bought, float | None]:
    """The whole answer, and when its first piece came (perf_counter).

    `hear` gets every piece as it comes. Raises: ProviderError.
    """
    made, first = Assembly(), None
    async for delta in deltas(provider, post, timeout_s, met):
        if first is None and (delta.content or delta.reasoning or delta.tool):
            first = time.perf_counter()
        made.add(delta)
        if hear is not None:
            hear(delta)
    return chat_answers(made.reply()), first
