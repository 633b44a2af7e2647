"""What leaves the gateway: to the addresses of its config alone, with its own headers and key."""

from __future__ import annotations

import logging

import orjson
import pytest
import requests
from aiohttp import web
from conftest import wait_for
from gated import made
from server import Server
from wired import Upstream, Wired

KEY = "sk-upstream-0123456789-very-secret"
TURNS = [{"role": "user", "content": "Why tides?"}]
ROUTES = {
    "chat/completions": {"messages": TURNS},
    "completions": {"prompt": "Tides are"},
    "embeddings": {"input": "Tides"},
    "messages": {"messages": TURNS, "max_tokens": 9},
    "rewards": {"model": "judge", "prompt": "Why?", "responses": ["a"]},
}
STREAMS = ("chat/completions", "completions", "messages")
GIVEN = {"cookie": "a=b", "x-secret": "kept", "openai-organization": "org", "x-forwarded-for": "a"}
OURS = {"host", "user-agent", "accept", "accept-encoding", "content-type", "content-length",
        "authorization"}  # fmt: skip
PAGES = ("/runs", "/models", "/models.json?by=key", "/models/calls", "/models/calls.csv")


class Service(Upstream):
    """Says at every address what `behaviour["says"]` holds: status, body, headers."""

    paths = ("/v1/chat/completions", "/v1/embeddings", "/v1/completions")

    async def _chat(self, request):
        self.requests.append({"headers": dict(request.headers)})
        status, body, headers = self.behaviour["says"]
        return web.Response(status=status, body=body, headers=headers)


@pytest.fixture(scope="module")
def elsewhere():
    """Where nothing may ever arrive."""
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def world(tmp_path_factory, elsewhere):
    """A service with a key of its own, and a gateway that asks for a virtual one."""
    with pytest.MonkeyPatch.context() as patch, Service() as upstream:
        patch.setenv("UPSTREAM_KEY", KEY)
        models = {"loop": upstream.model(key_env="UPSTREAM_KEY", attempts=1)}
        rewards = {"judge": {"reward": "judge/loop"}}
        with Wired(tmp_path_factory.mktemp("out"), models, rewards) as wired:
            yield upstream, wired, made(wired)


def ask(wired, key, route, **more):
    body = {"model": "loop", **ROUTES[route], **more}
    heads = {**GIVEN, "authorization": f"Bearer {key}"}
    return requests.post(f"{wired.url}/v1/{route}", json=body, headers=heads, timeout=20)


@pytest.mark.parametrize("route", ROUTES)
def test_no_request_names_an_address(world, elsewhere, route):
    upstream, wired, key = world
    before = len(upstream.requests)
    for field in ("base_url", "api_base", "key_env", "headers", "extra_headers", "proxy"):
        said = ask(wired, key, route, **{field: elsewhere.url})
        assert said.status_code == 400
        assert field in said.json()["error"]["message"]
    for name in (elsewhere.url, f"openai/{elsewhere.url}", f"{elsewhere.url}/loop", "loop@evil"):
        said = ask(wired, key, route, model=name)
        assert said.status_code in (400, 404, 502), said.text
    assert (len(upstream.requests), elsewhere.requests) == (before, [])


@pytest.mark.parametrize("route", ROUTES)
def test_no_redirect_is_followed_and_no_header_or_key_is_passed_on(world, elsewhere, route, caplog):
    upstream, wired, key = world
    caplog.set_level(logging.DEBUG)
    away = {"location": f"{elsewhere.url}/chat/completions"}
    quoted = orjson.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
    before, told = len(upstream.requests), []
    for says in ((307, b"{}", away), (308, b"{}", away), (401, quoted, {}), (400, quoted, {})):
        upstream.behaviour["says"] = says
        told.append(ask(wired, key, route))
        if route in STREAMS:
            told.append(ask(wired, key, route, stream=True))
    assert {reply.status_code for reply in told} <= {400, 502}
    assert elsewhere.requests == []
    assert len(upstream.requests) == before + len(told)  # the service was asked each time
    for asked in upstream.requests[before:]:
        heads = {name.lower(): value for name, value in asked["headers"].items()}
        assert set(heads) == OURS
        assert heads["authorization"] == f"Bearer {KEY}"
    wait_for(lambda: told[-1].headers["x-request-id"].encode() in wired.written())
    pages = [requests.get(wired.url + path, timeout=20) for path in PAGES]
    assert {page.status_code for page in pages} == {200}
    shown = b"".join([*(reply.content for reply in (*told, *pages)), wired.written()])
    for secret in (KEY, KEY[:20], key, key[:20]):
        assert secret.encode() not in shown
        assert secret not in caplog.text
