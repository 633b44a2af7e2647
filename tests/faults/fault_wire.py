"""Faults below the answer: connections that break or stall, and framing that is wrong or unusual.

Each is a list of what a hit request is answered with: bytes, seconds to wait, and what becomes of
the connection. They hit streamed answers as well as whole ones.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from functools import cache

from fault_server import Exchange, Fault, Part, Then, chunks, head, reply

CLOSE, RESET, HOLD = Then.CLOSE, Then.RESET, Then.HOLD
ARRIVED_S = 0.01  # what was sent has been read by then: a reset takes back what was not
LATE = b"Content-Length: 7\r\n\r\n"
PATIENCE = {"timeout_s": 0.5, "attempts": 2}


def _upto(x: Exchange, share: float) -> bytes:
    """The right reply up to this share of its body."""
    top, _, body = x.whole.partition(b"\r\n\r\n")
    return top + b"\r\n\r\n" + body[: int(len(body) * share)]


def _typed(x: Exchange) -> str:
    return "text/event-stream" if x.stream else "application/json"


def _body(x: Exchange) -> bytes:
    return b"".join(x.events()) if x.stream else x.json


def _framed(x: Exchange, *lines: str, after: bytes = b"") -> bytes:
    """The right body under these lines of framing."""
    return head(*lines, kind=_typed(x)) + (after or _body(x))


def _torn(x: Exchange, size: bytes) -> bytes:
    """A chunk of the right body under a size that is wrong."""
    return _framed(x, "Transfer-Encoding: chunked", after=size + b"\r\n" + _body(x) + b"\r\n")


# Nothing of these was an answer: the connection is to blame, and the request is sent again.
BREAKS = {
    "reset before the reply": lambda x: [RESET],
    "closed before the reply": lambda x: [CLOSE],
    "reset within the headers": lambda x: [b"HTTP/1.1 200 OK\r\nConte", ARRIVED_S, RESET],
    "closed within the headers": lambda x: [b"HTTP/1.1 200 OK\r\nConte", CLOSE],
    "reset within the body": lambda x: [_upto(x, 0.5), ARRIVED_S, RESET],
    "closed within the body": lambda x: [_upto(x, 0.5), CLOSE],
    "no HTTP at all": lambda x: [b"220 mail.example ESMTP\r\n", CLOSE],
    "TLS where none was asked for": lambda x: [b"\x15\x03\x03\x00\x02\x02\x28", CLOSE],
    "a status line without a number": lambda x: [b"HTTP/1.1 OK\r\n\r\n", CLOSE],
    "headers without end": lambda x: [b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300_000, HOLD],
    "a header with NUL": lambda x: [b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", CLOSE],
    "two lengths": lambda x: [_framed(x, "Content-Length: 5", "Content-Length: 6"), CLOSE],
    "a length that is none": lambda x: [_framed(x, "Content-Length: -1"), CLOSE],
    "a length of 30 digits": lambda x: [_framed(x, f"Content-Length: {'9' * 30}"), CLOSE],
    "a chunk's size that is none": lambda x: [_torn(x, b"zz"), CLOSE],
    "a chunk's size of 20 digits": lambda x: [_torn(x, b"f" * 20), CLOSE],
    "a chunk longer than its size": lambda x: [_torn(x, b"3"), CLOSE],
    "another protocol": lambda x: [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", CLOSE,
    ],
}  # fmt: skip

# As well, but where the answer is a stream: that says itself where it ends.
BREAKS_AT_THE_END = {
    "reset before the last byte": lambda x: [x.whole[:-1], ARRIVED_S, RESET],
    "length too long": lambda x: [_framed(x, f"Content-Length: {len(_body(x)) + 9}"), CLOSE],
    "a chunk shorter than its size": lambda x: [_torn(x, b"ffff"), CLOSE],
    "a length behind the chunks": lambda x: [
        _framed(x, "Transfer-Encoding: chunked", after=chunks(_body(x)) + b"0\r\n" + LATE), CLOSE,
    ],
    "no last chunk": lambda x: [
        _framed(x, "Transfer-Encoding: chunked", after=chunks(_body(x))), CLOSE,
    ],
}  # fmt: skip

STALLS = {
    "silent before the reply": lambda x: [HOLD],
    "silent within the headers": lambda x: [b"HTTP/1.1 200 OK\r\nConte", HOLD],
    "silent within the body": lambda x: [_upto(x, 0.5), HOLD],
    "length too long, and held open": lambda x: [
        _framed(x, f"Content-Length: {len(_body(x)) + 9}", after=_upto(x, 0.2)), HOLD,
    ],
}  # fmt: skip


def _in_bits(x: Exchange) -> Iterator[Part]:
    """Chunks of five bytes that come one by one, with extensions and trailers."""
    yield head("transfer-encoding: CHUNKED", "X-Odd:", "x-ratelimit-remaining: ?", kind=_typed(x))
    body = _body(x)
    for start in range(0, len(body), 5):
        part = body[start : start + 5]
        yield b'%x;name="v"\r\n%b\r\n' % (len(part), part)
        if start % 200 == 0:
            yield 0.0
    yield b"0\r\nX-Sum: 7\r\nStatus: 500\r\n\r\n"


def _packed(x: Exchange) -> bytes:
    data = gzip.compress(_body(x)[:50]) + gzip.compress(_body(x)[50:])
    return _framed(x, "Content-Encoding: GZIP", f"Content-Length: {len(data)}", after=data)


EARLY = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"

# Odd, and whole: each is the right answer, and must be taken at once.
ODD = {
    "reset while it rests": lambda x: [x.whole, ARRIVED_S, RESET],
    "closed while it rests": lambda x: [x.whole, CLOSE],
    "1xx before the reply": lambda x: [EARLY * 3, ARRIVED_S, x.whole],
    "HTTP/1.0, until it is closed": lambda x: [
        b"HTTP/1.0 200 OK\r\n\r\n" + _body(x), CLOSE,
    ],
    "in bits": _in_bits,
    "two replies to one request": lambda x: [x.whole + x.whole],
    "gzip that nobody asked for": lambda x: [_packed(x)],
    "nothing left for ever": lambda x: [_framed(
        x, "x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 99999d",
        "x-ratelimit-remaining-tokens: -9", "retry-after: 99999999",
        f"Content-Length: {len(_body(x))}",
    )],
    "headers of other encodings": lambda x: [_framed(
        x, "X-Name: \u00e4\u00f6", "Set-Cookie: a=b", f"Content-Length: {len(_body(x))}",
    )],
}  # fmt: skip


@cache
def _bomb() -> bytes:
    """20 MB of spaces in 20 KB."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(pack.compress(b" " * 2**20) for _ in range(20)) + pack.flush()


def _large(x: Exchange) -> list[Part]:
    """20 MB without packing."""
    body = b" " * 2**20
    return [head(f"Content-Length: {20 << 20}"), *([body] * 20)]


def _packed_wrong(x: Exchange) -> list[Part]:
    data = gzip.compress(x.json)
    forms = [("gzip", x.json), ("gzip", data[:-9]), ("br", data), ("gzip, gzip", data)]
    form, body = forms[x.row % len(forms)]
    return [reply(body, f"Content-Encoding: {form}")]


BREAKING = [Fault(name, how, "drops", "connection failed") for name, how in BREAKS.items()]
ENDING = [
    Fault(name, how, "drops", "connection failed", stream=False)
    for name, how in BREAKS_AT_THE_END.items()
]
STALLING = [
    Fault(name, how, "drops", r"no answer within 0\.5 s", share=0.3, model=PATIENCE)
    for name, how in STALLS.items()
]
ODDLY = [  # a connection that goes while it rests takes the next request along
    Fault(name, how, "same", share=0.3, model={"attempts": 8}) for name, how in ODD.items()
]
OVERSIZED = [
    Fault(
        "a gzip bomb",
        lambda x: [reply(_bomb(), "Content-Encoding: gzip")],
        "drops",
        "over 16 MiB",
        share=0.2,
        stream=False,
    ),
    Fault("20 MB", _large, "drops", "over 16 MiB", share=0.2, stream=False),
]
PACKED = Fault(
    "packing that is wrong", _packed_wrong, "drops", "not gzip|ends early|packed as",
    rows="many", stream=False,
)  # fmt: skip
