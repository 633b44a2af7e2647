"""A streamed answer, put together again.

Streaming measures the time to the first token and keeps a long answer's connection busy; what a
step gets is the same either way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping

from karat.errors import ProviderError
from karat.models.chat import ChatReply, Choice, Completion, Delta, ToolCall, Usage
from karat.models.connection import MAX_REPLY_BYTES, too_large
from karat.models.orders import Bought, chat_answers
from karat.models.rate_headers import retry_after
from karat.models.sse import events
from karat.models.transport import HttpReply, Stream, read_all
from karat.models.wire import Post, Provider

Hear = Callable[[Delta], None]
Met = Callable[[Mapping[str, str]], None]
STILL = 4  # times `timeout_s`: so long may signs of life come in an answer's place


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


class _Going:
    """A stream for as long as an answer goes on in it.

    Some services send comments or empty events while a request waits for its turn. One that sends
    nothing else would never end, nor would one that goes on writing whatever it was told.
    """

    def __init__(self, stream: Stream, timeout_s: float) -> None:
        self.status, self.headers = stream.status, stream.headers
        self._stream, self._still_s = stream, STILL * timeout_s
        self._clock = asyncio.get_running_loop().time
        self._since, self._signs, self._size = self._clock(), 0, 0

    def went_on(self, delta: Delta) -> None:
        """Raises: ProviderError when the answer is too large."""
        size = len(delta.content) + len(delta.reasoning) + len(delta.tool[3] if delta.tool else "")
        if size or delta.tool or delta.finish_reason:
            self._since, self._signs = self._clock(), 0
        self._size += size
        if self._size > MAX_REPLY_BYTES:
            raise too_large()

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._stream.pieces():
            self._signs += 1
            if self._signs > 2 and self._clock() - self._since > self._still_s:
                raise ProviderError(f"no answer within {self._still_s:g} s", kind="timeout")
            yield piece


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
        going = _Going(stream, timeout_s)
        if stream.status != 200:
            raise sorted_fault(provider, await read_all(going))
        if stream.headers.get("content-type", "").startswith("application/json"):
            # It has not heard that a stream was wanted. The answer is paid for and whole.
            reply = provider.read_chat(await read_all(going))
            if not reply.choices:
                raise ProviderError("the reply has no answer", 200, kind="unreadable")
            for delta in in_pieces(reply.choices[0], reply.usage, reply.served_model):
                yield delta
            return
        try:
            async for name, data in events(going.pieces()):
                for delta in read(name, data):
                    going.went_on(delta)
                    finished |= bool(delta.finish_reason)
                    yield delta
        except ProviderError as error:
            if not finished or error.kind not in ("timeout", "connection"):
                raise  # else nothing is missing but what was used
    if not finished:
        raise ProviderError("the streamed answer broke off", 200, kind="unreadable")


def in_pieces(answer: Choice | Completion, usage: Usage, served: str = "") -> list[Delta]:
    """A whole answer as the pieces of a stream."""
    tools = [
        Delta(tool=(place, call.id, call.name, call.arguments))
        for place, call in enumerate(answer.tool_calls)
    ]
    text = Delta(answer.content, answer.reasoning)
    end = Delta(finish_reason=answer.finish_reason, usage=usage, served_model=served)
    return [text, *tools, end]


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
