"""`/openapi.json`: the document says what the gateway takes and answers, no less and no more."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from described import HEAD, Texts, fetched
from gated import PRICE, made
from raw import JSON, Reply, ask
from serving import TOKEN, Serving
from wired import Wired

from karat.web.gateway import openapi
from karat.web.gateway.door import Door
from karat.web.gateway.engine import Gateway

WHY = [{"role": "user", "content": "Why tides?"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
THEIRS = [{"name": "weather", "input_schema": {"type": "object"}}]
GRADED = [*WHY, {"role": "assistant", "content": "The moon."}]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    """A gateway over one service, without keys."""
    with Texts() as upstream:
        models = {"loop": upstream.model(price=PRICE)}
        with Wired(tmp_path_factory.mktemp("described"), models) as wired:
            yield wired


@pytest.fixture(scope="module")
def document(world: Wired) -> dict[str, Any]:
    return fetched(world.port)


def doors(gateway: Gateway) -> list[Any]:
    from karat.web.gateway.routes import routes

    return [route for route in routes(gateway) if route.methods]


def walk(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a tree."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from walk(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from walk(value)


# --- of what it is made --------------------------------------------------------------------------


def test_it_holds_every_route_and_no_other(world: Wired, document: dict[str, Any]) -> None:
    served = {route.path_format: route.methods - {"HEAD"} for route in doors(world.gateway)}
    served |= {"/healthz": {"GET"}, "/openapi.json": {"GET"}}
    assert {path: {m.upper() for m in tree} for path, tree in document["paths"].items()} == served
    assert all(isinstance(route.app, Door) for route in doors(world.gateway))


def test_a_route_that_is_not_described_is_none(world: Wired, monkeypatch: Any) -> None:
    monkeypatch.delitem(openapi.OPERATIONS, "/v1/rewards")
    with pytest.raises(KeyError, match="rewards"):
        openapi.document(doors(world.gateway), asks=False)


def test_what_it_refers_to_is_there_and_nothing_else(document: dict[str, Any]) -> None:
    used = {tree["$ref"] for tree in walk(document) if isinstance(tree.get("$ref"), str)}
    there = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses")
        for name in document["components"][kind]
    }
    assert used == there
    assert not [name for name in there if re.search(r"/_|[^/]_|\bkarat", name.partition("s/")[2])]


def test_every_schema_of_it_is_one(document: dict[str, Any]) -> None:
    for name in document["components"]["schemas"]:
        jsonschema_rs.Draft202012Validator(schema_of(document, f"#/components/schemas/{name}"))


def schema_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A component with all others beside it, which takes no field that it does not name."""
    tree = orjson.loads(orjson.dumps(document["components"]))
    for one in walk(tree["schemas"]):
        if one.get("type") == "object" and "properties" in one:
            one.setdefault("additionalProperties", False)
    return {"$ref": name, "components": tree}


def test_every_status_that_the_source_names_is_described(document: dict[str, Any]) -> None:
    """Numbers of errors in the door, the guard and all that refuses, as the parser sees them."""
    folder = Path(openapi.__file__).parent
    files = [*folder.glob("*.py"), folder.parent / "guard.py", folder.parent / "origins.py"]
    files += [folder.parent / "wire.py"]
    files = [file for file in files if not file.name.startswith("openapi")]
    named = {
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and type(node.value) is int and 400 <= node.value < 600
    }
    # Anthropic has words for 402 and 529, 405 is for other methods, 499 is sent to nobody, and the
    # mode of a folder is no status.
    assert named - {402, 405, 499, 529, 0o700} == set(openapi._WORDS)


def test_every_error_of_a_document_has_the_words_of_its_format(document: dict[str, Any]) -> None:
    for path, tree in document["paths"].items():
        (one,) = tree.values()
        shapes = {
            re.sub(r"\d+", "", answer["$ref"].rpartition("/")[2])
            for status, answer in one["responses"].items()
            if status != "200"
        }
        wanted = {"/v1/messages": "MessagesError"}.get(path, "Error")
        assert shapes == {wanted if path.startswith("/v1/") else "PlainError"}


# --- who may read it -----------------------------------------------------------------------------


def test_it_is_open_where_a_token_is_asked_for_and_says_nothing_of_the_server(
    closed: Serving, world: Wired, document: dict[str, Any]
) -> None:
    asks = fetched(closed.port)
    assert {} in document["security"]
    assert {} not in asks["security"]
    assert {**asks, "security": 0} == {**document, "security": 0}
    text = ask(world.port, "/openapi.json").text
    for secret in ("loop", "127.0.0.1", str(world.port), TOKEN, str(world.gateway.run.path)):
        assert f'"{secret}' not in text
    assert ask(closed.port, "/openapi.json/").status == 401


def test_no_page_of_another_site_reads_it(closed: Serving) -> None:
    foreign = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "cors"}
    assert ask(closed.port, "/openapi.json", **foreign).status == 403
    assert ask(closed.port, "/openapi.json", host="rebound.example").status == 421


def test_a_key_that_was_made_while_it_runs_is_asked_for(tmp_path: Path) -> None:
    with Wired(tmp_path) as wired:
        assert {} in fetched(wired.port)["security"]
        made(wired)
        assert {} not in fetched(wired.port)["security"]
        (wired.gateway.run.path / "keys.json").write_text("{")
        assert {} not in fetched(wired.port)["security"]


# --- real answers --------------------------------------------------------------------------------

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("chat/completions", {"messages": WHY}),
    ("chat/completions", {"messages": WHY, "n": 3, "tools": TOOLS}),
    ("chat/completions", {"messages": GRADED, "model": HEAD}),
    ("chat/completions", {"messages": WHY, "logprobs": True, "top_logprobs": 1}),
    ("completions", {"prompt": ["Tides", "are"], "n": 2}),
    ("embeddings", {"input": ["Tides", "are"]}),
    ("embeddings", {"input": "Tides", "encoding_format": "base64"}),
    ("rewards", {"model": HEAD, "prompt": "Why?", "responses": ["The moon.", ""]}),
    ("messages", {"messages": WHY, "max_tokens": 9}),
    ("messages", {"messages": WHY, "max_tokens": 9, "tools": THEIRS}),
]
STREAMED = [
    *((path, body) for path, body in ASKED if path in ("completions", "messages")),
    ("chat/completions", {"messages": WHY}),
    ("chat/completions", {"messages": WHY, "n": 2}),
    ("chat/completions", {"messages": WHY, "logprobs": True, "top_logprobs": 1}),
    ("chat/completions", {"messages": WHY, "tools": TOOLS}),
    ("completions", {"prompt": "Tides", "stream_options": {"include_usage": True}}),
    ("chat/completions", {"messages": WHY, "stream_options": {"include_usage": True}}),
]


def say(port: int, path: str, body: Any, **more: str) -> Reply:
    data = orjson.dumps({"model": "loop", **body}) if isinstance(body, dict) else body
    return ask(port, f"/v1/{path}", "POST", data, **{**JSON, **more})


def check(document: dict[str, Any], path: str, reply: Reply, method: str = "post") -> None:
    """Holds an answer against what the document says of this path and status."""
    answer = document["paths"][path][method]["responses"][str(reply.status)]
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    kind = reply.headers["content-type"].partition(";")[0]
    schema = answer["content"][kind]["schema"]
    whole = {**schema_of(document, ""), **schema}
    del whole["components"]["responses"]
    for name, header in answer.get("headers", {}).items():
        assert name in reply.headers or not header.get("required"), name
    undescribed = {name for name in reply.headers if name.startswith("x-karat")} - {
        *answer.get("headers", {})
    }
    assert not undescribed
    if kind == "application/json":
        jsonschema_rs.Draft202012Validator(whole).validate(orjson.loads(reply.body))
        return
    events = [line for line in reply.text.split("\n\n") if line]
    data = whole["properties"]["data"]
    payload = next(one for one in (data, *data.get("anyOf", ())) if "contentSchema" in one)
    content = {**payload["contentSchema"], "components": whole["components"]}
    validator = jsonschema_rs.Draft202012Validator(content)
    assert len(events) > 1
    for event in events:
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        assert set(fields) == set(whole["properties"])
        if fields["data"] == "[DONE]":
            assert "anyOf" in data
            continue
        validator.validate(orjson.loads(fields["data"]))


@pytest.mark.parametrize(("path", "body"), ASKED, ids=range(len(ASKED)))
def test_an_answer_is_as_it_says(
    world: Wired, document: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    reply = say(world.port, path, body)
    assert reply.status == 200, reply.text
    check(document, f"/v1/{path}", reply)


@pytest.mark.parametrize(("path", "body"), STREAMED, ids=range(len(STREAMED)))
def test_a_stream_is_as_it_says(
    world: Wired, document: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    reply = say(world.port, path, {**body, "stream": True})
    assert (reply.status, reply.headers["content-type"][:17]) == (200, "text/event-stream")
    check(document, f"/v1/{path}", reply)


def test_the_models_are_as_it_says(world: Wired, document: dict[str, Any]) -> None:
    check(document, "/v1/models", ask(world.port, "/v1/models"), "get")
    for name in ("loop", HEAD, HEAD.replace("/", "%2F")):
        reply = ask(world.port, f"/v1/models/{name}")
        assert reply.status == 200
        check(document, "/v1/models/{name}", reply, "get")
    nothing = ask(world.port, "/v1/models/nothing")
    assert nothing.status == 404
    check(document, "/v1/models/{name}", nothing, "get")
    for path in ("/healthz", "/openapi.json"):
        check(document, path, ask(world.port, path), "get")


PATHS = ("chat/completions", "completions", "embeddings", "rewards", "messages")
REFUSED: list[tuple[int, Any, dict[str, str]]] = [
    (400, b"{", {}),
    (400, {"model": ""}, {}),
    (400, {}, {"x_karat_cache": "sometimes"}),
    (403, {}, {"origin": "http://elsewhere.example"}),
    (415, b"a=b", {"content_type": "application/x-www-form-urlencoded"}),
    (421, {}, {"host": "rebound.example"}),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("status", "body", "headers"), REFUSED, ids=range(len(REFUSED)))
def test_a_refusal_is_as_it_says(
    world: Wired, document: dict[str, Any], path: str, status: int, body: Any,
    headers: dict[str, str],
) -> None:  # fmt: skip
    reply = say(world.port, path, body, **headers)
    assert reply.status == status, reply.text
    check(document, f"/v1/{path}", reply)


@pytest.mark.parametrize("path", PATHS)
def test_without_a_key_and_with_too_much_it_refuses_as_it_says(
    closed: Serving, document: dict[str, Any], path: str
) -> None:
    for status, body in ((401, {}), (413, b"x" * 2000)):
        reply = say(closed.port, path, body)
        assert reply.status == status
        check(document, f"/v1/{path}", reply)
