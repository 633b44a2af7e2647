"""A gateway against those who may ask it and mean it ill."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import mostly_slow, wait_for
from gated import gated, made
from raw import JSON, Reply, ask
from serving import TOKEN, Serving
from wired import Upstream, Wired

from karat.models.services import parse_service
from karat.web.gateway import door, unnamed
from karat.web.gateway.engine import Gateway
from karat.web.gateway.purse import Purse

TURNS = [{"role": "user", "content": "Why tides?"}]
QUESTION = {"models": ["loop"], "prompt": "Why tides?"}


def say(
    port: int, body: Any, path: str = "chat/completions", key: str = "any", **more: str
) -> Reply:
    """A request to the gateway, whose body is JSON or anything."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    bearer = {"authorization": f"Bearer {key}"}
    return ask(port, f"/v1/{path}", "POST", data, **JSON, **bearer, **more)


def asked(model: str = "loop", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": TURNS, **more}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    """A gateway over one service, without keys and without a budget."""
    with Upstream() as upstream:
        models = {"loop": upstream.model(price={"input": 1, "output": 10})}
        with Wired(tmp_path_factory.mktemp("gate"), models) as wired:
            yield wired


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A service that a config.toml of its user's names `mine`."""
    with Upstream() as upstream:
        service = parse_service("mine", {"base_url": upstream.url})
        monkeypatch.setattr("karat.models.spec.own_services", lambda: {"mine": service})
        yield upstream


# --- who may ask ---------------------------------------------------------------------------------


def test_a_page_asks_nothing_for_nobody_where_keys_are_asked_for(tmp_path: Path) -> None:
    with gated(tmp_path) as (_, wired, upstream):
        port = wired.port
        assert 'id="playground"' in ask(port, "/playground").text
        assert ask(port, "/playground/ask", "POST", orjson.dumps(QUESTION), **JSON).status == 200
        made(wired)  # while it is open: the first key shuts it
        for path in ("ask", "estimate"):
            reply = ask(port, f"/playground/{path}", "POST", orjson.dumps(QUESTION), **JSON)
            assert reply.status == 403
            assert "with a token" in reply.text
        page = ask(port, "/playground", accept="text/html")
        assert page.status == 200
        assert "with a token" in page.text
        assert 'id="playground"' not in page.text
        assert len(upstream.requests) == 1
        wait_for(lambda: wired.ledger("step") == [("key:playground",)])


def test_with_a_token_the_playground_is_its_owners(tmp_path: Path) -> None:
    with Serving(tmp_path, Gateway(tmp_path, token=TOKEN), token=TOKEN) as server:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert 'id="playground"' in ask(server.port, "/playground", **bearer).text
        assert ask(server.port, "/playground/choices.json", **bearer).status == 200


def test_what_one_key_was_told_is_no_other_keys_to_find(tmp_path: Path) -> None:
    with gated(tmp_path) as (_, wired, upstream):
        use = {"x_karat_cache": "use"}
        ours, theirs = made(wired, "ours"), made(wired, "theirs")
        hits = [say(wired.port, asked(), key=key, **use).headers["x-karat-cache"]
                for key in (ours, ours, theirs, theirs, ours)]  # fmt: skip
        assert hits == ["miss", "hit", "miss", "hit", "hit"]
        again = {"x_karat_cache": "refresh"}
        fresh = orjson.loads(say(wired.port, asked(), key=theirs, **again).body)
        assert (
            fresh["choices"]
            == orjson.loads(say(wired.port, asked(), key=theirs, **use).body)["choices"]
        )
        assert len(upstream.requests) == 3


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["mine/../x", "mine/a/../../x", "mine/./x", "mine/..", "mine/a?b", "mine/a#b", "mine/a\\b",
     "mine/a b", "mine/a\tb", "mine/a\nb", "mine/a\x00b", "mine/a\x7fb", "mine/a%2e%2e", "mine//x",
     "mine/a\u202eb", "mine/a\u2028b", "mine/" + "x" * 300],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_no_models(world: Wired, mine: Upstream, name: str) -> None:
    for path, more in (("chat/completions", {}), ("messages", {"max_tokens": 5})):
        assert say(world.port, asked(name, **more), path).status == 404
    assert mine.requests == []


def test_names_as_services_give_them_are_models(world: Wired, mine: Upstream) -> None:
    for name in ("llama3:8b", "org/model-1.5@latest", "a..b", "~x+y,z=(1)", "モデル"):
        assert say(world.port, asked(f"mine/{name}")).status == 200, name
        assert mine.requests[-1]["body"]["model"] == name


def test_who_asks_for_many_names_takes_them_from_nobody(
    tmp_path: Path, mine: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unnamed, "MOST_MODELS", 3)
    with gated(tmp_path) as (_, wired, _):
        for name in "abca":
            assert say(wired.port, asked(f"mine/{name}")).status == 200
        first = wired.gateway.client.endpoint("mine/b")
        assert say(wired.port, asked("mine/d")).status == 200
        assert list(wired.gateway.client.models) == ["loop", "mine/a", "mine/c", "mine/d"]
        wait_for(lambda: first.limiter._closed)  # and its connections with it
        assert say(wired.port, asked("mine/b")).status == 200  # as if nothing had been


def test_a_model_that_is_being_asked_is_not_forgotten(
    tmp_path: Path, mine: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unnamed, "MOST_MODELS", 1)
    mine.latency_s = 0.4
    with gated(tmp_path) as (_, wired, _):

        async def both() -> list[Reply]:
            first = asyncio.create_task(asyncio.to_thread(say, wired.port, asked("mine/a")))
            await asyncio.sleep(0.15)
            return [await asyncio.to_thread(say, wired.port, asked("mine/b")), await first]

        second, first = asyncio.run(both())
        assert (first.status, second.status) == (200, 503)
        assert "try again later" in second.text
        assert say(wired.port, asked("mine/b")).status == 200


# --- bodies --------------------------------------------------------------------------------------

DEEP = b"[" * 300 + b"]" * 300
BIG = b"9" * 40


def _with(field: bytes, path: str = "chat/completions") -> tuple[str, bytes]:
    start = b'{"model": "loop", "messages": [{"role": "user", "content": "x"}], '
    return path, start + field + b"}"


TOOL = b'"tools": [{"type": "function", "function": {"name": "a", "parameters": {"x": %b}}}]'
SCHEMA_OF = b'"response_format": {"type": "json_schema", "json_schema": {"schema": {"x": %b}}}'
THEIRS = b'"max_tokens": 9, "tools": [{"name": "a", "input_schema": {"x": %b}}]'
MADE = b'"max_tokens": 9, "output_config": {"format": {"type": "json_schema", "schema": {"x": %b}}}'
WRONG = [
    *(_with(b'"%b": %b' % (name, BIG)) for name in
      (b"max_tokens", b"max_completion_tokens", b"seed", b"n", b"top_k", b"temperature")),
    *(_with(b'"seed": %b' % value) for value in (b"9223372036854775808", b"-9223372036854775809")),
    *(_with(form % value) for form in (TOOL, SCHEMA_OF) for value in (DEEP, BIG)),
    *(_with(form % DEEP, "messages") for form in (THEIRS, MADE)),
    *(_with(b'"max_tokens": %b' % value, "messages") for value in (BIG, b"9223372036854775807")),
    ("messages", b'{"model": "loop", "max_tokens": 9, "messages": [{"role": "assistant", '
     b'"content": [{"type": "tool_use", "id": "a", "name": "b", "input": {"x": %b}}]}, '
     b'{"role": "user", '
     b'"content": "x"}]}' % DEEP),
    ("embeddings", b'{"model": "loop", "input": "x", "dimensions": %b}' % BIG),
    ("completions", b'{"model": "loop", "prompt": "x", "seed": %b}' % BIG),
    ("rewards", b'{"model": "embedded/helpsteer2", "prompt": "x", "responses": ["a", "b"], '
     b'"meta": {"x": %b}}' % DEEP),
    *(("chat/completions", b'{"model": "embedded/helpsteer2", "messages": [{"role": "user", '
       b'"content": "x"}, {"role": "assistant", "content": "y"}], "x": %b}' % value)
      for value in (b"[" * 5000 + b"]" * 5000, BIG)),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), WRONG, ids=range(len(WRONG)))
def test_what_no_service_could_read_is_the_callers_mistake(
    world: Wired, path: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reply = say(world.port, body, path)
    assert reply.status == 400, reply.text
    assert "budget" not in reply.text
    assert not caplog.records


def test_a_purse_without_a_limit_is_never_empty() -> None:
    async def main() -> None:
        purse = Purse(None, 2**61, "the server")
        await purse.reserve(2**62)
        purse.settle(2**62, 5)
        assert purse.spent_nano == 2**61 + 5
        assert purse._reserved == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("piece", "path"),
    mostly_slow([(b'{"role":"user","content":""}', "chat/completions"),
     (b'{"role":"user"}', "messages"),
     (b"{}", "rewards"), (b"[]", "chat/completions"), (b'""', "chat/completions")], 3),
)  # fmt: skip
def test_a_body_of_a_million_parts_holds_nobody_up(world: Wired, piece: bytes, path: str) -> None:
    most = b",".join([piece] * (30_000_000 // (len(piece) + 1)))
    body = b'{"model":"loop","max_tokens":5,"messages":[' + most + b"]}"
    began = time.process_time()
    with pytest.raises(door.Refused, match="more than 1,000,000 parts"):
        door._check_parts(body)
    assert time.process_time() - began < 0.3
    assert say(world.port, body[: 2**21], path).status == 400


def test_a_long_text_is_one_part(world: Wired) -> None:
    text = 'for (int i = 0; i < n; i++) { a[i] = "x"; }\n' * 60_000
    body = asked(messages=[{"role": "user", "content": text}])
    assert say(world.port, body).status == 200


def test_more_turns_than_anybody_takes_are_refused(world: Wired) -> None:
    turns = TURNS * 100_001
    for path in ("chat/completions", "messages", "rewards"):
        model = "embedded/helpsteer2" if path == "rewards" else "loop"
        more = {} if path == "rewards" else {"max_tokens": 5}
        reply = say(world.port, {"model": model, "messages": turns, **more}, path)
        assert reply.status == 400
        assert "100000" in reply.text


# --- files ---------------------------------------------------------------------------------------


def test_what_the_gateway_writes_is_its_operators(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir(mode=0o755)
    (folder / "journal.sqlite").touch(mode=0o644)  # as an earlier karat left it
    with gated(tmp_path) as (_, wired, _):
        made(wired)
        found = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
        assert found.pop(folder) == 0o700
        held = {path.name for path in found if path.name.startswith("journal")}
        assert held == {"journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"}
        assert {mode for path, mode in found.items() if path.name != ".lock"} == {0o600}
