"""Faults of the answer itself: statuses, bodies, encodings, and what a usage may say.

Where there are many forms of one fault, the number of the row says which of them it meets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from fault_server import Exchange, Fault, Part, chunked, reply

QUICK = {"attempts": 2}

# --- statuses ------------------------------------------------------------------------------------

PASSING = (408, 409, 425, *range(500, 512), *range(520, 531), 598, 599, 600, 799)
REFUSED = (
    201, 202, 203, 204, 206, 226, 299, 400, 405, 406, 407, *range(410, 419), 421, 422, 423, 424,
    426, 428, 431, 444, 451, 499,
)  # fmt: skip
STOPPING = {
    301: "final form into base_url", 302: "base_url", 303: "base_url", 304: "base_url",
    307: "base_url", 308: "base_url", 399: "base_url", 401: "variable named in key_env",
    402: "top it up", 404: "check model and base_url",
}  # fmt: skip
AFTER: tuple[tuple[str, ...], ...] = (
    (), ("Retry-After: 0",), ("Retry-After: 0.01",), ("Retry-After: -5",), ("Retry-After: nan",),
    ("Retry-After: inf",), ("Retry-After: 1e400",), ("Retry-After: 86400",), ("Retry-After:",),
    ("Retry-After: " + "9" * 400,), ("Retry-After: 1, 2",), ("Retry-After: tomorrow",),
    ("Retry-After: ٣",), ("Retry-After: " + formatdate(0, usegmt=True),),
    ("Retry-After: " + formatdate(2**33, usegmt=True),), ("Retry-After: Mon, 99 Foo 10000",),
    ("retry-after-ms: 1e9",), ("x-ratelimit-remaining: 0", "x-ratelimit-reset: 1e300"),
    ("x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-tokens: 999999d"),
)  # fmt: skip


def _told(x: Exchange) -> bytes:
    """What services say beside a status; each of them gives the key away."""
    key = x.secret.decode("latin-1")
    page = f"<html><h1>Oops</h1>{'<br>' * 40} bearer {key}</html>"
    forms = (
        json.dumps({"error": {"message": f"bad luck, {key}", "code": "x"}}), page, "", key,
        json.dumps([{"error": key}]), json.dumps({"detail": [{"msg": key}]}), "P" * 290 + key,
    )  # fmt: skip
    return forms[x.row % len(forms)].encode()


def _status(code: int, x: Exchange) -> bytes:
    after = AFTER[x.row % len(AFTER)]
    if code in (204, 304):  # these have no body
        return f"HTTP/1.1 {code} None\r\n\r\n".encode()
    return reply(_told(x), *after, f"X-Key: {x.secret.decode()}", status=f"{code} Whatever")


def _one_of(codes: tuple[int, ...]) -> Callable[[Exchange], list[Part]]:
    return lambda x: [_status(codes[x.row % len(codes)], x)]


def _moved(code: int) -> Callable[[Exchange], list[Part]]:
    """A redirect leads back to this server: it would see who follows it."""
    there = "Location: /v1/chat/completions"
    return lambda x: [
        reply(b"{}", there, status=f"{code} Moved") if code != 304 else _status(304, x)
    ]


STOPS = [
    Fault(f"status {code}", _moved(code), "stops", says, share=0.6, lasting=1)
    for code, says in STOPPING.items()
]
STATUSES = [
    Fault(
        "passing statuses", _one_of(PASSING), "drops",
        r"HTTP (408|409|425|5\d\d|600|799): .*after 2 tries", share=1, lasting=0.3, rows="many",
        forms=len(PASSING), model=QUICK,
    ),
    Fault("too many requests", _one_of((429,)), "drops", lasting=0, rows="many"),
    Fault(
        "refused requests", _one_of(REFUSED), "drops", r"HTTP (2\d\d|4\d\d): ", share=1,
        lasting=1, rows="many", forms=len(REFUSED),
    ),
]  # fmt: skip

# --- bodies under 200 ----------------------------------------------------------------------------


def _wrong_shapes(x: Exchange) -> list[Part]:
    """What is JSON, or nearly, and no completion."""
    body = x.json
    key = x.secret
    forms: list[bytes] = [
        b"", b" ", b"null", b"[]", b"42", b'"' + key + b'"', b"{}", b'{"choices": null}',
        b'{"choices": []}', b'{"choices": {}}', b'{"choices": "abc"}', b'{"choices": [null]}',
        b'{"choices": [{}, {}]}', b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 42}}]}',
        b'{"choices": [{"message": {"content": {"text": "a"}}}]}',
        b'{"choices": [{"message": {"content": [1, 2]}}]}',
        b'{"data": ' + body + b"}", b"[" + body + b"]",
        b'{"choices": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", b"NaN", b"{" * 9, b"\xff" * 40,
        body[:-1], body[: len(body) // 2], body + b"}", body + body, body.replace(b":", b"=", 1),
        b"<html><title>502 Bad Gateway</title>" + key + b"</html>", b"OK " + key,
        b" " * 63_975 + key + b'{"padded": "to where what is kept ends"',
        b'{"error": {"message": "overloaded ' + key + b'"}}',
        b'{"object": "error", "message": "a"}',
    ]  # fmt: skip
    return [reply(forms[x.row % len(forms)])]


def _wrong_bytes(x: Exchange) -> list[Part]:
    """Text in another encoding than JSON's, or with bytes that no JSON has."""
    body = x.json
    text = body.decode()
    forms = [
        text.replace("a", "ä").encode("latin-1", "replace"), body.replace(b"content", b"cont\0nt"),
        body.replace(b": ", b":\0", 2), text.replace("e", "\u00e9").encode("cp1252", "replace"),
        body.replace(b'"stop"', b'"st\xc0\x80p"'), body.replace(b'"stop"', b'"\xed\xa0\x80\xff"'),
        body[:30] + b"\xe2\x82" + body[30:], body.replace(b" ", b"\x0b", 1),
    ]  # fmt: skip
    return [reply(forms[x.row % len(forms)])]


def _short_length(x: Exchange) -> list[Part]:
    """The length is too short: the rest of the body would be the next reply."""
    body = x.json
    return [reply(body[: len(body) // 2]) + body[len(body) // 2 :]]


def _odd_but_right(x: Exchange) -> list[Part]:
    """The right answer in another encoding, type or form."""
    body, tree = x.json, x.tree()
    parts = [{"type": "text", "text": text} for text in x.texts[0].split("\n")]
    listed = x.tree(choices=[
        {**choice, "message": {"content": parts if i == 0 else choice["message"]["content"]}}
        for i, choice in enumerate(x.choices())
    ])  # fmt: skip
    extra = {"index": 9, "message": {"content": "not asked for"}, "finish_reason": "stop"}
    forms: list[bytes] = [
        reply(b"\xef\xbb\xbf" + body), reply(body.decode().encode("utf-16")),
        reply(body.decode().encode("utf-32")), reply(body, kind="text/html; charset=latin-1"),
        reply(body, kind="application/json; charset=utf-16"), reply(body, kind=""),
        reply(json.dumps(tree).encode()), reply(b" \r\n\t" * 9 + body + b"\n" * 9),
        reply(b" " * (10_000_000 if x.row == 8 else 9) + body), chunked(body[:9], body[9:]),
        reply(json.dumps(listed).encode()),
        reply(json.dumps({**tree, "error": None, "novel": {"a": [1]}, "id": 7}).encode()),
        reply(json.dumps(x.tree(choices=[*x.choices(), extra])).encode()),
        reply(body[:-1] + b', "model": "again", "usage": ' + json.dumps(x.usage).encode() + b"}"),
    ]  # fmt: skip
    return [forms[x.row % len(forms)]]


def _unlike(x: Exchange) -> list[Part]:
    """Texts that are not what was meant, and that nothing can tell from an answer."""
    forms: list[Any] = [
        "half a pair \ud83d",
        "NUL \0 in it",
        "",
        "a\u2028b\x85c\x1bd",
        "\ufffe\uffff",
    ]
    text = forms[x.row % len(forms)]
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for _ in x.texts]
    if x.row % 2 and len(choices) > 1:
        choices[1] = {"odd": 1}  # one of two cannot be read
    return [reply(json.dumps(x.tree(choices=choices)).encode())]


def _ten_mb(x: Exchange) -> list[Part]:
    """An answer of ten million characters."""
    choices = x.choices()
    choices[0]["message"]["content"] += " and so on" * 1_000_000
    return [reply(json.dumps(x.tree(choices=choices), ensure_ascii=False).encode())]


WRONG = [
    Fault(
        "JSON of another shape", _wrong_shapes, "drops", "not a chat completion|HTTP 2", share=0.9,
        rows="many", stream=False,
    ),
    Fault(
        "bytes that are no JSON", _wrong_bytes, "drops", "not a chat completion", share=0.8,
        rows="many", stream=False,
    ),
    Fault("length too short", _short_length, "drops", "not a chat completion", stream=False),
]  # fmt: skip
RIGHT = Fault("odd, and right", _odd_but_right, "same", share=1, rows="many", stream=False)
TAKEN = [
    Fault("texts unlike what was meant", _unlike, "taken", rows="many", stream=False),
    Fault("ten million characters", _ten_mb, "taken", share=0.1, stream=False),
]

# --- usage ---------------------------------------------------------------------------------------


def _no_usage(x: Exchange) -> list[Part]:
    """What counts nothing: karat estimates, and says that it did."""
    used: list[Any] = [
        ..., None, {}, [], "10", 10, {"prompt_tokens": -1, "completion_tokens": -7},
        {"prompt_tokens": "10", "completion_tokens": "7"}, {"prompt_tokens": 10.5},
        {"prompt_tokens": True, "completion_tokens": False}, {"total_tokens": 17},
        {"prompt_tokens": 10**13, "completion_tokens": 10**30},
    ]  # fmt: skip
    tree = x.tree(usage=used[x.row % len(used)])
    x.used = None
    return [reply(json.dumps(tree).encode())]


def _huge_usage(x: Exchange) -> list[Part]:
    """What the service says it counted is what it will bill."""
    x.used = (10**9 + x.row, 10**12)
    return [reply(x.json)]


USAGE = [
    Fault("no usage", _no_usage, "same", share=1, lasting=1, rows="many", stream=False),
    Fault("huge usage", _huge_usage, "same", stream=False),
]
