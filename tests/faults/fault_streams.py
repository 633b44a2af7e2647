"""Faults of a streamed answer: events cut, repeated, mixed up, or without end."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fault_server import Exchange, Fault, Part, Then, chunks, event, head, reply

KIND = "text/event-stream"
LAST = b"0\r\n\r\n"
PATIENCE = {"timeout_s": 0.5, "attempts": 2}
MOST_PINGS = 3_000  # far more than a client may wait for


def _streamed(*events: bytes) -> list[Part]:
    """These events as a whole reply."""
    return [head("Transfer-Encoding: chunked", kind=KIND) + chunks(*events) + LAST]


def _half(x: Exchange) -> list[bytes]:
    """Events before any that says why the answer ends."""
    return x.events()[: len(x.texts[0].split()) // 2]


def _ill(x: Exchange, *more: bytes) -> list[Part]:
    return _streamed(*_half(x), *more, *x.events())


# Cleanly ended, and no whole answer: paid for, and asked for once more.
BROKEN = {
    "ends in the middle": lambda x: _streamed(*_half(x)),
    "ends within an event": lambda x: _streamed(*_half(x), x.events()[2][:-9]),
    "ends within a character": lambda x: _streamed(*_half(x), 'data: {"a": "ä'.encode()[:-1]),
    "no event at all": lambda x: _streamed(),
    "only the end": lambda x: _streamed(x.events()[-1]),
    "an event that is no JSON": lambda x: _ill(x, b"data: {nonsense\n\n"),
    "an event with NUL": lambda x: _ill(x, b'data: {"choices": "\0"}\n\n'),
    "an event in latin-1": lambda x: _ill(x, 'data: {"ä": 1}\n\n'.encode("latin-1")),
    "an event that is a list": lambda x: _ill(x, b"data: [1]\n\n"),
    "an event of another shape": lambda x: _ill(x, event({"choices": [{"delta": {"content": 7}}]})),
    "a page instead": lambda x: [reply(b"<html>" + x.secret + b"</html>", kind="text/html")],
    "a page as a stream": lambda x: _streamed(b"<html>\n\n" + x.secret + b"</html>\n\n"),
    "an event of 2 MB": lambda x: _streamed(b"data: " + b"a" * 2_000_000 + b"\n\n"),
}
ERRORS = {
    "an error in the middle": {"error": {"message": "overloaded", "code": 503}},
    "an error without a code": {"error": {"message": "KEY was not amused", "type": "odd"}},
    "an error of a choice": {"choices": [{"index": 0, "error": {"message": "x", "code": 502}}]},
    "an error as an object": {"object": "error", "message": "engine died", "code": 500},
}


def _error(tree: object) -> object:
    text = json.dumps(tree)

    def script(x: Exchange) -> list[Part]:
        return _ill(x, event(json.loads(text.replace("KEY", x.secret.decode()))))

    return script


def _endless(part: bytes, pause_s: float) -> object:
    """The same again and again, until the client leaves."""

    def script(x: Exchange) -> Iterator[Part]:
        yield head("Transfer-Encoding: chunked", kind=KIND) + chunks(*_half(x))
        for _ in range(MOST_PINGS):
            yield chunks(part)
            yield pause_s
        yield Then.CLOSE

    return script


def _in_bytes(x: Exchange) -> Iterator[Part]:
    """One byte a chunk: events, and characters, in pieces."""
    yield head("Transfer-Encoding: chunked", kind=KIND)
    data = b"".join(x.events())
    for start in range(0, len(data), 100):
        yield chunks(*(data[i : i + 1] for i in range(start, min(start + 100, len(data)))))
        yield 0.0
    yield LAST


def _dressed(x: Exchange) -> list[Part]:
    """With everything that a stream may hold beside its data."""
    dressing = b": comment\r\nid: 7\r\nretry: 1\r\nevent: message\r\nodd line\r\n"
    events = [dressing + one.replace(b"\n", b"\r\n") for one in x.events()]
    return _streamed(b"\xef\xbb\xbf" + b"\r\n" * 3, *events, b": bye\n\n")


def _two_lines(x: Exchange) -> list[Part]:
    """Each event's JSON on several lines of data."""
    return _streamed(*(one.replace(b": {", b": {\ndata: ", 1) for one in x.events()))


WHOLE = {
    "JSON instead": lambda x: [reply(x.json)],
    "in single bytes": _in_bytes,
    "comments, ids and CRLF": _dressed,
    "data on several lines": _two_lines,
    "the end told twice": lambda x: _streamed(*x.events(), *x.events()[-3:]),
    "no [DONE]": lambda x: _streamed(*x.events()[:-1]),
    "other answers beside it": lambda x: _streamed(
        *(e for one in x.events() for e in (one, event({"choices": [{"index": 1, "delta": {}}]})))
    ),
    "an empty event between": lambda x: _streamed(*x.events()[:1], event({}), *x.events()[1:]),
    "reset behind the end": lambda x: [
        head("Transfer-Encoding: chunked", kind=KIND) + chunks(*x.events()), 0.01, Then.RESET,
    ],
    "no last chunk": lambda x: [
        head("Transfer-Encoding: chunked", kind=KIND) + chunks(*x.events()), Then.CLOSE,
    ],
}  # fmt: skip


def _unsaid(x: Exchange) -> list[Part]:
    """Nothing of what was used; or numbers that are none."""
    odd = ({"prompt_tokens": -1}, {"completion_tokens": "7"}, {"prompt_tokens": 10**30}, [])
    events = [*x.events()[:-2], event({"choices": [], "usage": odd[x.row % len(odd)]})]
    x.used = None
    return _streamed(*(events[:-1] if x.row % 2 else events))


BREAKING_OFF = [
    Fault(f"stream: {name}", how, "drops", "broke off|not a piece|over 16 MiB", stream=True)
    for name, how in BROKEN.items()
]
FAILING = [
    Fault(f"stream: {name}", _error(tree), "drops", "HTTP (200|50.): ", stream=True)
    for name, tree in ERRORS.items()
]
ODDLY = [Fault(f"stream: {name}", how, "same", stream=True) for name, how in WHOLE.items()]
ODDLY.append(Fault("stream: usage that is none", _unsaid, "same", stream=True))


def _open_end(x: Exchange) -> list[Part]:
    return [head("Transfer-Encoding: chunked", kind=KIND) + chunks(*x.events()), Then.HOLD]


HELD_OPEN = Fault(
    "stream: silent behind the end", _open_end, "same", share=0.2, stream=True, model=PATIENCE
)
TWICE = Fault(
    "stream: every event twice",
    lambda x: _streamed(*(e for one in x.events() for e in [one] * 2)), "taken", stream=True,
)  # fmt: skip
ENDLESS = [
    Fault(
        f"stream: {name} without end", _endless(part, pause_s), "drops", says, share=0.2,
        stream=True, model=PATIENCE,
    )
    for name, part, pause_s, says in (
        ("comments", b": still here\n\n", 0.02, "no answer within 2 s"),
        ("empty events", event({"choices": [], "model": "m"}), 0.02, "no answer within 2 s"),
        ("words", event({"choices": [{"delta": {"content": "word " * 2000}}]}), 0.0, "over 16 MiB"),
    )
]  # fmt: skip
