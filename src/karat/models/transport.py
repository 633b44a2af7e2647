"""The one I/O seam: how bytes reach a model and come back.

A provider knows a wire format, a transport knows how to carry it. Tests put a fake here to inject
faults; the embedded model is the OpenAI format over an in-process transport.
"""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache, lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import msgspec

from karat.errors import ProviderError
from karat.models.connection import CLOSED, Connection, failed, too_large
from karat.models.connection import MAX_REPLY_BYTES as MAX_REPLY_BYTES

RESTED_S = 1.0  # longer than this, and the service may have closed it meanwhile
KEPT_S = 55.0  # an idle connection; services drop theirs after 60 s and more
AGENT = "karat"
SAFE = "/%:@!$&'()*+,;=~-._"  # in a path; what is quoted already stays as it is
FRAMING = ("content-length", "transfer-encoding")  # the transport's own
NO_FILES = (errno.EMFILE, errno.ENFILE)
TURNS = 20  # of the loop, until connections have closed
# Of OpenSSL's X509_V_ERR codes: the issuer or the chain is not known here (x509_vfy.h, 18 to 21).
UNKNOWN_AUTHORITY = (18, 19, 20, 21)
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class HttpReply(msgspec.Struct):
    """A reply of any status. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Stream(Protocol):
    """A reply whose body comes piece by piece."""

    status: int
    headers: dict[str, str]

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises: ProviderError when it breaks off."""


class Transport(Protocol):
    """Carries one request. Raises: ProviderError(status=0) when no complete reply came."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply: ...

    def stream(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> AbstractAsyncContextManager[Stream]:
        """`timeout_s` is the longest silence, not the whole."""

    async def close(self) -> None: ...


class Origin(NamedTuple):
    """Whom to connect to."""

    host: str
    port: int
    secure: bool


class HttpTransport:
    """HTTP/1.1 over connections that are kept and used again, as many as there are calls.

    Redirects are not followed: a key stays with its host. No proxy is used, no cookie kept.
    """

    def __init__(self) -> None:
        self._idle: dict[Origin, dict[Connection, None]] = {}  # in the order they were given back
        self._open: set[Connection] = set()
        self._dials: set[asyncio.Timeout] = set()
        self._closed = False

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply:
        origin, head = _request("POST", url, tuple(headers.items()))
        connection, left_s = await self._connection(origin, timeout_s)
        connection.send(b"%b%d\r\n\r\n" % (head, len(body)), body)
        data = await connection.reply(left_s, timeout_s)
        reply = HttpReply(connection.status, connection.headers, data)
        connection.free()
        return reply

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[Stream]:
        origin, head = _request(method, url, tuple(headers.items()))
        connection, _ = await self._connection(origin, timeout_s)
        streamed = None
        try:
            connection.send(b"%b%d\r\n\r\n" % (head, len(body)), body, stream=True)
            await connection.begun(timeout_s)
            streamed = _Streamed(connection, timeout_s)
            yield streamed
        finally:
            if streamed is None or not streamed.ended:
                connection.abort()

    async def _connection(self, origin: Origin, timeout_s: float) -> tuple[Connection, float]:
        """One that is free, and what is left of the time."""
        idle = self._idle.get(origin)
        if idle:
            now = asyncio.get_running_loop().time()
            oldest = next(iter(idle))
            if now - oldest.since > KEPT_S:  # one a call: there are no more than there were calls
                del idle[oldest]
                oldest.abort()
            looked = False
            while idle:
                if not looked and now - next(reversed(idle)).since > RESTED_S:
                    looked = True
                    await asyncio.sleep(0)  # in the turn after this the loop looks at its sockets:
                    await asyncio.sleep(0)  # some may have been closed while it had no time to
                    continue
                connection, _ = idle.popitem()
                if connection.usable and now - connection.since < KEPT_S:
                    return connection, timeout_s
                connection.abort()
        return await self._new(origin, timeout_s)

    async def _new(self, origin: Origin, timeout_s: float) -> tuple[Connection, float]:
        """A fresh one, and what is left of the time."""
        if self._closed:
            raise failed(CLOSED)
        loop = asyncio.get_running_loop()
        began = loop.time()
        idle = self._idle.setdefault(origin, {})

        def keep(free: Connection) -> None:
            free.since = loop.time()
            idle[free] = None

        def gone(lost: Connection) -> None:
            idle.pop(lost, None)
            self._open.discard(lost)

        made = Connection(keep, gone)
        limit = asyncio.timeout(timeout_s)
        self._open.add(made)
        self._dials.add(limit)
        try:
            await _dial(origin, made, limit)
        except BaseException as error:
            self._open.discard(made)
            if not isinstance(error, TimeoutError):
                raise
            if not self._closed:
                said = f"no connection within {timeout_s:g} s"
                raise ProviderError(said, kind="timeout", unreachable=True) from None
        finally:
            self._dials.discard(limit)
        if self._closed or not made.usable:
            made.abort()
            raise failed(CLOSED if self._closed else "closed at once")
        return made, max(0.001, timeout_s - (loop.time() - began))

    async def close(self) -> None:
        """Ends everything; calls under way raise ProviderError."""
        self._closed = True
        for limit in self._dials:
            if not limit.expired():
                limit.reschedule(0)
        for connection in tuple(self._open):
            connection.abort()
        self._idle.clear()
        for _ in range(TURNS):
            if not self._open:
                break
            await asyncio.sleep(0)


class _Streamed:
    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self.status, self.headers = connection.status, connection.headers
        self._connection, self._timeout_s = connection, timeout_s
        self.ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        if self.ended:
            return  # the connection is somebody else's by now
        async for piece in self._connection.pieces(self._timeout_s):
            yield piece
        self.ended = True


class Whole:
    """A reply that comes in one piece, for who asked for a stream."""

    def __init__(self, reply: HttpReply) -> None:
        self.status, self.headers, self._body = reply.status, reply.headers, reply.body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._body


async def read_all(stream: Stream) -> HttpReply:
    """The whole reply, never more than MAX_REPLY_BYTES of it. Raises: ProviderError."""
    data = bytearray()
    async for piece in stream.pieces():
        data += piece
        if len(data) > MAX_REPLY_BYTES:
            raise too_large(stream.status)
    return HttpReply(stream.status, stream.headers, bytes(data))


async def _dial(origin: Origin, made: Connection, limit: asyncio.Timeout) -> None:
    """Raises: TimeoutError, or ProviderError in words that say what to do."""
    try:
        async with limit:
            await asyncio.get_running_loop().create_connection(
                lambda: made, origin.host, origin.port, ssl=_tls() if origin.secure else None
            )
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:  # ssl.SSLError, UnicodeError of a host's name
        ours = isinstance(error, OSError) and error.errno in NO_FILES
        raise ProviderError(
            f"no connection to {origin.host}:{origin.port}: {_why(error)}",
            kind="connection", unreachable=not ours,
        ) from error  # fmt: skip


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"its certificate is not accepted: {error.verify_message}"
        if error.verify_code in UNKNOWN_AUTHORITY:
            said += "; if the server is yours, name its authority's file in SSL_CERT_FILE"
        return said
    if isinstance(error, ssl.SSLError) and error.reason in NO_TLS:
        return "it speaks no TLS: write http:// if the server is yours"
    if isinstance(error, OSError) and error.errno in NO_FILES:
        return "too many open files; raise `ulimit -n`, or lower concurrency"
    return str(error)


@lru_cache(256)
def _request(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> tuple[Origin, bytes]:
    """Whom to ask, and the head of the request up to the length of its body.

    Raises: ProviderError for an address or a header that is none, or would be two.
    """
    origin, named, target = _address(url)
    sent = {"host": named, "user-agent": AGENT, "accept": "*/*", "accept-encoding": "identity"}
    for name, value in headers:
        key = name.lower()
        if not _NAME.fullmatch(key) or not _VALUE.fullmatch(value) or key in FRAMING:
            raise ProviderError(f"no header can be {name!r}, or hold what it holds", kind="row")
        sent[key] = value
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    return origin, ("\r\n".join(lines) + "\r\ncontent-length: ").encode("latin-1")


def _address(url: str) -> tuple[Origin, str, str]:
    """Whom to connect to, what the host header says, and the path with the query."""
    try:
        parts = urlsplit(url)
        host, port, secure = parts.hostname or "", parts.port, parts.scheme == "https"
        if not host.isascii():
            host = host.encode("idna").decode()
        target = quote(parts.path or "/", safe=SAFE)
        if parts.query:
            target += "?" + quote(parts.query, safe=SAFE + "?")
    except ValueError as error:
        raise ProviderError(f"no address: {error}", kind="row") from None
    if parts.scheme not in ("http", "https") or not host or _CONTROL.search(url):
        raise ProviderError("no address: it must be http:// or https:// and a host", kind="row")
    named = f"[{host}]" if ":" in host else host
    origin = Origin(host, port or (443 if secure else 80), secure)
    return origin, named if port is None else f"{named}:{port}", target
