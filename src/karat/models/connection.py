"""One HTTP/1.1 connection: a request goes out, a reply comes in, one at a time.

Of its own because a run is millions of small POSTs to one address: general clients spend four times
as much CPU on each. Reading the bytes is llhttp's (by httptools), writing them is one line.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import cast

import httptools

from karat.errors import ProviderError
from karat.models.faults import fault

MAX_REPLY_BYTES = 64 * 2**20
MAX_HEAD_BYTES = 256 * 2**10  # without a byte of body: headers, 1xx replies, trailers
AHEAD_BYTES = 2**20  # of a stream that nobody has taken yet: from here on the service must wait
CLOSED = "closed by karat"
TLS_RECORDS = (b"\x15\x03", b"\x16\x03")


class Connection(asyncio.Protocol):
    """`idle` is called with the connection when it may carry another request, `gone` when none.

    It is given back only after its reply was taken: until then the reply lies in it. `since`: when
    it was last given back. Nothing is ever sent twice here: whether a request may be repeated is
    known only to whoever asked (a chat may be, the creation of a batch must not).
    """

    def __init__(
        self, idle: Callable[[Connection], None], gone: Callable[[Connection], None]
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.since = 0.0
        self._idle, self._gone = idle, gone
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._fruitless = 0  # bytes since the last of a body
        self._busy = self._whole = self._reuse = False  # busy: a reply is awaited, hence not whole
        self._until_close = self._streams = self._paused = False
        self._error: ProviderError | None = None
        self._waiter: asyncio.Future[None] | None = None

    # --- one exchange --------------------------------------------------------------------------

    def send(self, head: bytes, body: bytes, *, stream: bool = False) -> None:
        """Sends a request; it must be usable. `stream`: its reply is taken in pieces."""
        assert self._transport is not None
        self.status, self.headers = 0, {}
        self._fruitless = 0
        self._busy, self._whole, self._reuse = True, False, False
        self._until_close, self._streams = False, stream
        self._transport.write(head + body)

    async def reply(self, left_s: float, timeout_s: float) -> bytes:
        """The whole body, where it comes in what is left of `timeout_s`.

        Take status and headers before the connection goes on. Raises: ProviderError.
        """
        timer = self._loop.call_later(left_s, self._too_slow, timeout_s)
        try:
            while not self._whole:
                await self._sign()
            data, self._body = bytes(self._body), bytearray()
            if "content-encoding" in self.headers:
                data = self._unpacked(data)
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()
        return data

    def free(self) -> None:
        """Its reply was taken: another request may go out."""
        if not self._reuse:
            self.abort()
        elif self.usable:
            self._idle(self)

    async def begun(self, timeout_s: float) -> None:
        """Returns when status and headers are there. Raises: ProviderError."""
        while not self.status:
            await self._next_sign(timeout_s)

    async def pieces(self, timeout_s: float) -> AsyncIterator[bytes]:
        """The body as it comes; `timeout_s` is the longest silence. Raises: ProviderError."""
        form = _packing(self.headers)
        packed = _Packed(form, self.status) if form else None
        while True:
            while self._body:
                piece, self._body = bytes(self._body), bytearray()
                if packed is None:
                    yield piece
                else:
                    for part in packed.unpack(piece):
                        yield part
            if self._whole:
                if packed is not None:
                    packed.end()
                self.free()
                return
            self._read_on()
            await self._next_sign(timeout_s)

    def abort(self, why: ProviderError | None = None) -> None:
        """Closes it at once; whoever waits for a reply is told why."""
        if self._busy:
            self._busy = False
            self._error = why or failed(CLOSED)
            self._wake()
        if self._transport is not None:
            self._transport.abort()

    @property
    def usable(self) -> bool:
        """Whether a request may go out."""
        return self._transport is not None and not self._transport.is_closing() and not self._busy

    def _too_slow(self, seconds: float) -> None:
        if self._busy:
            self.abort(ProviderError(f"no answer within {seconds:g} s", kind="timeout"))

    async def _next_sign(self, timeout_s: float) -> None:
        timer = self._loop.call_later(timeout_s, self._too_slow, timeout_s)
        try:
            await self._sign()
        finally:
            timer.cancel()

    async def _sign(self) -> None:
        """Waits until something has come. Raises: ProviderError when it never will."""
        if self._error is None:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._error is not None and not (self._streams and self._body):  # that is taken first
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- what comes in: asyncio's callbacks, then llhttp's ---------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.abort()  # a reply to nothing
            return
        self._fruitless += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            tls = not self.status and data[:2] in TLS_RECORDS
            self.abort(failed("it speaks TLS: write https://" if tls else f"no HTTP: {error}"))
        except httptools.HttpParserUpgrade:  # 101; of another family than the parser's errors
            self.abort(failed("the service wants to speak something else than HTTP"))
        if self._fruitless > MAX_HEAD_BYTES:
            self.abort(failed("the reply has no end of headers"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._busy and self._until_close and exc is None:
            self._finish(reuse=False)
        elif self._busy:
            self.abort(failed(str(exc) if exc else "closed before the answer was whole"))
        self._gone(self)

    def on_message_begin(self) -> None:
        self._reuse = False  # a second reply to one request: not to be trusted with another

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # a trailer, or of a second reply
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        before = self.headers.get(key)
        self.headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.status or status < 200:
            return
        self.status = status
        self._until_close = (
            "content-length" not in self.headers
            and "chunked" not in self.headers.get("transfer-encoding", "").lower()
        )
        if self._streams:
            self._wake()

    def on_body(self, data: bytes) -> None:
        if not (self._busy and self.status):
            return
        self._fruitless = 0
        self._body += data
        if self._streams:
            if len(self._body) > AHEAD_BYTES and not self._paused and self._transport is not None:
                self._transport.pause_reading()
                self._paused = True
            self._wake()
        elif len(self._body) > MAX_REPLY_BYTES:
            self.abort(too_large(self.status))

    def on_message_complete(self) -> None:
        if not self._busy:
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

    def _unpacked(self, data: bytes) -> bytes:
        form = _packing(self.headers)
        if not form or not data:
            return data
        whole, packed = bytearray(), _Packed(form, self.status)
        for part in packed.unpack(data):
            whole += part
            if len(whole) > MAX_REPLY_BYTES:
                raise too_large(self.status)
        packed.end()
        return bytes(whole)


class _Packed:
    """A packed body, which nobody asked for: proxies send them all the same."""

    def __init__(self, form: str, status: int) -> None:
        self._form, self._status = form, status
        if form not in ("gzip", "x-gzip", "deflate"):
            raise self._unreadable(f"the reply is packed as {form}, unasked")
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """In parts of at most AHEAD_BYTES. Raises: ProviderError."""
        self._begun = True
        try:
            for start in range(0, len(data), 2**16):  # what is left over is copied at every step
                left = data[start : start + 2**16]
                while left:
                    if self._inflate.eof:  # gzip files may stand one behind another
                        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
                    yield self._inflate.decompress(left, AHEAD_BYTES)
                    left = self._inflate.unconsumed_tail or self._inflate.unused_data
        except zlib.error as error:
            raise self._unreadable(f"not {self._form}: {error}") from None

    def end(self) -> None:
        """Raises: ProviderError when the body was cut short."""
        if self._begun and not self._inflate.eof:
            raise self._unreadable(f"the {self._form} of the reply ends early")

    def _unreadable(self, said: str) -> ProviderError:
        if self._status != 200:  # its status says enough
            return fault(self._status, said)
        return ProviderError(said, 200, kind="unreadable")


def _packing(headers: dict[str, str]) -> str:
    form = headers.get("content-encoding", "").strip().lower()
    return "" if form == "identity" else form


def failed(why: str) -> ProviderError:
    return ProviderError(f"connection failed: {why}", kind="connection")


def too_large(status: int = 200) -> ProviderError:
    said = f"the reply is over {MAX_REPLY_BYTES >> 20} MiB"
    if status != 200:  # else it was an answer, and is paid for
        return fault(status, said)
    return ProviderError(said, status, kind="unreadable")
