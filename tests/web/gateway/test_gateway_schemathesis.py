"""The gateway against schemathesis, which asks all that its OpenAPI document allows, and what it
does not.

A real server over a real service, both on loopback, behind keys. Whatever comes must be answered as
the document says: with its statuses, shapes, headers and content types, never with a fault of the
gateway's own, never late; what does not fit is refused, and nothing is answered without a key.
KARAT_FUZZ=all asks twenty times as much, by chance.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import raw
from described import HEAD, Texts, fetched
from gated import PRICE, made
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from raw import JSON, Reply, ask
from wired import Wired

from karat.web.gateway import openapi

TIMES = 20 if os.environ.get("KARAT_FUZZ") == "all" else 1
LABELS = ["GET /healthz", *(f"{'POST' if one.body else 'GET'} {path}"
                            for path, one in openapi.OPERATIONS.items())]  # fmt: skip
pytestmark = pytest.mark.timeout(180 * TIMES)
LATE_S = 60.0  # what waits for a service that fails waits longer
# How a reader of a body says that it does not fit; no body that fits may be told so.
MISFITS = ("unsupported_parameter", "missing_required_parameter", "invalid_value")
# Shrinking asks for long; what schemathesis says of a failure has the request in it.
PHASES = (Phase.explicit, Phase.generate)


def many(examples: int) -> settings:
    """So many examples, the same ones each time unless there are many."""
    return settings(
        max_examples=examples * TIMES, derandomize=TIMES == 1, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), phases=PHASES,
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with Texts(answer=lambda body, place: "{}") as upstream:
        models = {"loop": upstream.model(price=PRICE)}
        with Wired(tmp_path_factory.mktemp("fuzzed"), models) as wired:
            yield wired


@pytest.fixture(scope="module")
def key(world: Wired) -> str:
    return made(world)


@pytest.fixture(scope="module")
def api(world: Wired, key: str) -> Any:
    """schemathesis's view of the document, which it has checked. It is a second's import."""
    import schemathesis

    config = schemathesis.Config()
    config.projects.default.generation.with_security_parameters = False
    found = schemathesis.openapi.from_url(f"{world.url}/openapi.json", config=config, timeout=10)
    found.validate()
    return found


def test_every_operation_is_asked(api: Any) -> None:
    labels = {found.ok().label for found in api.get_all_operations()}
    assert labels == {*LABELS}


ASKED = [(label, "positive") for label in LABELS] + [(label, "negative") for label in LABELS[1:]]


@pytest.mark.parametrize(("label", "mode"), ASKED)
def test_what_fits_and_what_does_not(api: Any, key: str, label: str, mode: str) -> None:
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    operation = api.find_operation_by_label(label)
    headers = {"Authorization": f"Bearer {key}"}
    sent: dict[str, Any] = {"headers": headers, "timeout": LATE_S}
    cases = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

    @many(8 if operation.body else 4)
    @given(case=cases, named=st.sampled_from(["loop", "loop", "loop", HEAD, None]))
    def holds(case: Any, named: str | None) -> None:
        if mode == "positive":
            case.body = written(case.body)
        if named and isinstance(case.body, dict) and named_as_it_should_be(case.body):
            case.body["model"] = named
        response = case.call(**sent)
        event(f"answered {response.status_code}")  # for --hypothesis-show-statistics
        case.validate_response(
            response, headers=headers, transport_kwargs=sent,
            excluded_checks=[not_a_server_error, positive_data_acceptance],
        )  # fmt: skip
        answered(response.status_code, response.content, fits=mode == "positive")

    holds()


def named_as_it_should_be(body: dict[str, Any]) -> bool:
    return isinstance(body.get("model"), str) and body["model"] != ""


def written(tree: Any) -> Any:
    """Whole numbers without a fraction: 1.0 is one for a JSON schema, and none for the gateway."""
    if isinstance(tree, dict):
        return {name: written(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [written(value) for value in tree]
    return int(tree) if isinstance(tree, float) and tree.is_integer() else tree


def answered(status: int, body: bytes, *, fits: bool) -> None:
    """No fault of the gateway's own, and no body that fits is told that it does not."""
    if status < 400:
        return
    error = orjson.loads(body)["error"]
    if status >= 500:  # the service's answer is no JSON of the schema that was asked for
        assert (status, error.get("code", "invalid_model_output")) == (502, "invalid_model_output")
        assert "schema" in error["message"]
    if fits:
        assert error.get("code") not in MISFITS, error


# --- by hand: what no document can say -----------------------------------------------------------

SEGMENTS = [
    "v1", "chat", "completions", "models", "messages", "rewards", "embeddings", "loop", "", ".",
    "..", "%2e%2e", "%2F", "%2f..", "%00", "%0A", "%ff", "%252e", ";x", "a%20b", "\xe9",
    "{name}", "%C3%A9", "*", "embedded%2Fhelpsteer2", "x" * 300,
]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "PROPFIND"]
HEADERS = ["authorization", "x-api-key", "x-karat-cache", "content-type", "accept", "expect",
           "origin", "sec-fetch-site", "x-forwarded-host", "cookie", "accept-encoding"]  # fmt: skip
LINE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))


@pytest.fixture(scope="module")
def statuses(world: Wired, key: str) -> set[int]:
    """Every status that the document knows, and that of methods which it does not."""
    paths = fetched(world.port)["paths"].values()
    return {405, *(int(one) for path in paths for tree in path.values()
                   for one in tree["responses"])}  # fmt: skip


@pytest.fixture(scope="module")
def send(world: Wired, key: str, statuses: set[int]) -> Callable[..., Reply]:
    """One request with the key, whose answer has a known status and the words of its path."""

    def one(path: str, method: str = "POST", body: bytes = b"", **headers: str) -> Reply:
        headers = {"authorization": f"Bearer {key}", **JSON, **headers}
        reply = ask(world.port, path, method, body, **headers)
        assert reply.status < 500, reply.text
        if path.startswith("/v1/"):  # all others are pages
            assert reply.status in statuses
            if reply.status >= 400 and method != "HEAD":
                worded(path, reply)
        return reply

    return one


def worded(path: str, reply: Reply) -> None:
    """An error in the words of the format that is spoken at this path."""
    if reply.headers.get("content-type") != "application/json":
        assert reply.text == "Invalid HTTP request received."  # there was no request to answer
        return
    tree = orjson.loads(reply.body)
    if re.fullmatch(r"/v1/messages(/.*)?", path):
        assert tree["type"] == "error"
        assert set(tree["error"]) == {"type", "message"}
    elif "%" in path:  # which may lead to the messages, too
        assert {"message", "type"} <= set(tree["error"])
    else:
        assert set(tree["error"]) == {"message", "type", "param", "code"}


def test_paths(send: Callable[..., Reply]) -> None:
    @many(100)
    @given(st.lists(st.sampled_from(SEGMENTS), max_size=5), st.sampled_from(METHODS), st.booleans())
    def holds(parts: list[str], method: str, v1: bool) -> None:
        reply = send("/" + "/".join(["v1", *parts] if v1 else parts), method)
        if reply.status == 405:
            assert reply.headers["allow"] or not v1

    holds()


def test_headers(send: Callable[..., Reply]) -> None:
    ours = orjson.dumps({"model": "loop", "messages": [{"role": "user", "content": "x"}]})

    @many(40)
    @given(st.dictionaries(st.sampled_from(HEADERS), LINE, min_size=1, max_size=4))
    def holds(given_: dict[str, str]) -> None:
        fields = {name.replace("-", "_"): value.strip() for name, value in given_.items()}
        reply = send("/v1/chat/completions", "POST", ours, **fields)
        if "authorization" in fields:
            assert reply.status in (400, 401, 403, 415)
        assert (reply.status == 200) == (set(fields) <= {
            "x_api_key", "accept", "expect", "x_forwarded_host", "cookie", "accept_encoding"
        }) or fields.get("origin", fields.get("sec_fetch_site")) is not None  # fmt: skip

    holds()


def test_keys(world: Wired, key: str) -> None:
    """Nothing but the key is the key, whatever is near it."""
    near = st.builds(
        lambda start, middle, end: key[:start] + middle + key[end:],
        st.integers(0, len(key)), LINE, st.integers(0, len(key)),
    )  # fmt: skip

    @many(40)
    @given(near | LINE, st.sampled_from(["Bearer {}", "bearer {}", "Basic {}", "{}", "x-api-key"]))
    def holds(secret: str, form: str) -> None:
        if form == "x-api-key":
            headers, right = {"x_api_key": secret}, secret.strip() == key
        else:
            headers, right = {"authorization": form.format(secret)}, False
            kind, _, rest = headers["authorization"].strip().partition(" ")
            right = kind.lower() == "bearer" and rest.strip() == key
        reply = ask(world.port, "/v1/models", **headers)
        assert reply.status == (200 if right else 401), headers

    holds()


BODY = orjson.dumps(
    {
        "model": "loop",
        "max_tokens": 5,
        "stream": True,
        "n": 2,
        "stop": ["a"],
        "messages": [{"role": "user", "content": "Why is the sky blue, 3 µm?"}],
    }
)
PIECES = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 400,
    b'"\\ud800"',
    b"\xff",
    b"\x00",
    b"[" * 900,
    b'{"model":"loop"',
    b",",
    b"}",
    b'"n":1,',
    b"null",
    b"\xef\xbb\xbf",
    b"\\u0000",
    b"1.0",
]


def test_bodies_that_are_nearly_json(send: Callable[..., Reply]) -> None:
    @many(100)
    @given(
        st.sampled_from(["chat/completions", "completions", "embeddings", "messages", "rewards"]),
        st.integers(0, len(BODY)), st.integers(0, 12), st.sampled_from(PIECES) | st.binary(),
    )  # fmt: skip
    def holds(path: str, place: int, out: int, piece: bytes) -> None:
        body = BODY[:place] + piece + BODY[place + out :]
        assert send(f"/v1/{path}", "POST", body).status in (200, 400, 404)

    holds()


@pytest.mark.parametrize("coding", ["utf-16", "utf-32", "utf-8-sig"])
def test_other_codings_of_json_are_no_json(send: Callable[..., Reply], coding: str) -> None:
    assert send("/v1/chat/completions", "POST", BODY.decode().encode(coding)).status == 400


@pytest.mark.parametrize("path", ["chat/completions", "messages"])
def test_a_huge_body_is_refused_before_and_after_it_came(world: Wired, key: str, path: str) -> None:
    head = (
        f"POST /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1:{world.port}\r\nconnection: close\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    ).encode()
    announced = head + b"content-length: %d\r\n\r\n" % (33 * 2**20)
    piece = b"%x\r\n" % 2**20 + b"x" * 2**20 + b"\r\n"
    for body in (announced, head + b"transfer-encoding: chunked\r\n\r\n" + piece * 33):
        reply = raw.read(raw.send(world.port, body))
        assert reply.status == 413
        worded(f"/v1/{path}", reply)


@pytest.mark.parametrize("name", ["loop", HEAD, "nothing", "\xe9", "%00", "..", "", "a%2Fb"])
def test_names_in_paths(send: Callable[..., Reply], name: str) -> None:
    found = send(f"/v1/models/{quote(name) if '%' not in name else name}", "GET")
    assert found.status == (200 if name in ("loop", HEAD) else 404)
