"""One HTTP/1.1 connection: a request goes out, a reply comes in, one at a time.

Of its own because a run is millions of small POSTs to one address: general clients spend four times
as much CPU on each. Reading the bytes is llhttp's (by httptools), writing them is one line.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import Any, cast

import httptools

from karat.errors import ProviderError

MAX_REPLY_BYTES = 64 * 2**20
MAX_HEAD_BYTES = 256 * 2**10
AHEAD_BYTES = 2**20  # of a stream that nobody has taken yet: from here on the service must wait


@lru_cache(4096)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


class Connection(asyncio.Protocol):
    """`idle` is called with the connection when it may carry another request, `gone` when none.

    It is given back only after its reply was taken: until then the reply lies in it.
    """

    def __init__(
        self, idle: Callable[[Connection], None], gone: Callable[[Connection], None]
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.idle_since = 0.0
        self._idle, self._gone = idle, gone
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._held = self._head_bytes = 0
        self._busy = self._whole = self._reuse = False
        self._until_close = self._streams = self._paused = False
        self._error: ProviderError | None = None
        self._waiter: asyncio.Future[None] | None = None

    # --- one exchange --------------------------------------------------------------------------

    def send(self, head: bytes, body: bytes, *, stream: bool = False) -> None:
        """Sends a request; the connection must be idle. `stream`: its reply is taken in pieces."""
        assert self._transport is not None
        self.status, self.headers = 0, {}
        self._pieces.clear()
        self._held = self._head_bytes = 0
        self._busy, self._whole, self._reuse = True, False, False
        self._until_close, self._streams = False, stream
        self._transport.write(head + body)

    async def reply(self, left_s: float, timeout_s: float) -> bytes:
        """The whole body, where it comes in what is left of `timeout_s`.

        Take status and headers before the connection goes on. Raises: ProviderError.
        """
        loop = asyncio.get_running_loop()
        timer = loop.call_later(left_s, self._too_slow, timeout_s)
        try:
            while not self._whole:
                await self._sign()
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        if "content-encoding" in self.headers:
            data = b"".join(self._unpacked(data))
        return data

    def free(self) -> None:
        """Its reply was taken: another request may go out."""
        self._pieces.clear()
        if not self._reuse:
            self.abort()
        elif self.usable:
            self._idle(self)

    async def begun(self, timeout_s: float) -> None:
        """Returns when status and headers are there. Raises: ProviderError."""
        while not self.status and not self._whole:
            await self._next_sign(timeout_s)

    async def pieces(self, timeout_s: float) -> AsyncIterator[bytes]:
        """The body as it comes; `timeout_s` is the longest silence. Raises: ProviderError."""
        unpack = self._unpacker()
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece)
                for part in unpack(piece):
                    yield part
            if self._whole:
                self.free()
                return
            self._read_on()
            await self._next_sign(timeout_s)

    def abort(self) -> None:
        """Closes it at once; whatever is under way is of no use to anybody."""
        if self._transport is not None:
            self._transport.abort()
        self._busy = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and not self._busy

    def _too_slow(self, seconds: float) -> None:
        self._fail(ProviderError(f"no answer within {seconds:g} s", kind="timeout"))

    async def _next_sign(self, timeout_s: float) -> None:
        timer = asyncio.get_running_loop().call_later(timeout_s, self._too_slow, timeout_s)
        try:
            await self._sign()
        finally:
            timer.cancel()

    async def _sign(self) -> None:
        """Waits until something has come. Raises: ProviderError when it never will."""
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: ProviderError) -> None:
        if self._busy and self._error is None:
            self._error = error
            self._wake()
        self.abort()

    # --- what comes in: asyncio's callbacks, then llhttp's ---------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.abort()  # a reply to nothing
            return
        if not self.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES + AHEAD_BYTES:
                self._fail(ProviderError("the reply has no end of headers", kind="connection"))
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ProviderError(f"connection failed: no HTTP: {error}", kind="connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._until_close and not self._whole and exc is None:
            self._finish(reuse=False)
        elif self._busy and not self._whole:
            why = str(exc) if exc else "closed before the answer was whole"
            self._fail(ProviderError(f"connection failed: {why}", kind="connection"))
        self._transport = None
        self._gone(self)

    def on_message_begin(self) -> None:
        self._reuse = False  # a second reply to one request: not to be trusted with another

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._whole:
            return
        key, text = _name(name), value.decode("latin-1")
        before = self.headers.get(key)
        self.headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._whole or 100 <= status < 200:
            return
        self.status = status
        length = self.headers.get("content-length")
        chunked = "chunked" in self.headers.get("transfer-encoding", "")
        self._until_close = length is None and not chunked
        if self._streams:
            self._wake()

    def on_body(self, data: bytes) -> None:
        if self._whole:
            return
        self._pieces.append(data)
        self._held += len(data)
        if self._streams:
            if self._held > AHEAD_BYTES and self._transport is not None and not self._paused:
                self._transport.pause_reading()
                self._paused = True
            self._wake()
        elif self._held > MAX_REPLY_BYTES:
            self._fail(too_large())

    def on_message_complete(self) -> None:
        if self._whole:
            return
        if not self.status:  # 100 Continue, 103 Early Hints
            self.headers = {}
            return
        self._finish(reuse=self._parser.should_keep_alive())

    def _finish(self, *, reuse: bool) -> None:
        self._whole, self._busy, self._reuse = True, False, reuse
        self._read_on()
        self._wake()

    def _read_on(self) -> None:
        if self._paused and self._transport is not None:
            self._transport.resume_reading()
            self._paused = False

    # --- packed bodies, which nobody was asked for ------------------------------------------------

    def _unpacked(self, data: bytes) -> list[bytes]:
        parts, size = [], 0
        for part in self._unpacker()(data):
            size += len(part)
            if size > MAX_REPLY_BYTES:
                raise too_large()
            parts.append(part)
        return parts

    def _unpacker(self) -> Callable[[bytes], Any]:
        form = self.headers.get("content-encoding", "identity").strip().lower()
        if form in ("", "identity"):
            return lambda data: (data,)
        if form not in ("gzip", "x-gzip", "deflate"):
            raise ProviderError(f"the reply is packed as {form}, unasked", 200, kind="unreadable")
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)

        def unpack(data: bytes) -> Any:
            try:
                while data:
                    yield inflate.decompress(data, AHEAD_BYTES)
                    data = inflate.unconsumed_tail
            except zlib.error as error:
                raise ProviderError(f"not {form}: {error}", 200, kind="unreadable") from None

        return unpack


def too_large() -> ProviderError:
    return ProviderError(f"the reply is over {MAX_REPLY_BYTES >> 20} MiB", kind="unreadable")
