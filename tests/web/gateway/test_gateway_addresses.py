"""Addresses that the gateway does not serve, and lists that it can only give in part."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from later import later
from raw import JSON, ask
from serving import Serving
from wired import Upstream, Wired

anthropic = later("anthropic")

SERVED = {
    "/v1/chat/completions": "POST", "/v1/completions": "POST", "/v1/embeddings": "POST",
    "/v1/rewards": "POST", "/v1/messages": "POST", "/v1/models": "GET, HEAD",
    "/v1/models/embedded/minilm-static": "GET, HEAD",
}  # fmt: skip


@pytest.mark.parametrize("path", SERVED)
def test_another_method_is_told_which_there_are(open_port: int, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PUT", "OPTIONS", "PROPFIND"):
        if method in SERVED[path]:
            continue
        reply = ask(open_port, path, method, **JSON)
        assert (reply.status, reply.headers["allow"]) == (405, SERVED[path])
        assert f"{method} {path} is not served here, but {SERVED[path]}" in reply.text


def test_what_is_not_there_has_no_methods(open_port: int) -> None:
    for path in ("/v1/", "/v1/files", "/v1/chat", "/v1/messages/batches", "/v1/chat/completions/"):
        reply = ask(open_port, path, "POST", **JSON)
        assert reply.status == 404
        assert "allow" not in reply.headers


def test_beside_the_messages_errors_are_anthropics_too(open_port: int) -> None:
    """Of the gateway and of the guard before it."""
    tries = {
        ("/v1/messages/count_tokens", 404, "not_found_error"): {},
        ("/v1/messages", 403, "permission_error"): {"origin": "http://elsewhere.example"},
        ("/v1/messages", 415, "invalid_request_error"): {"content_type": "text/plain"},
    }
    for (path, status, kind), headers in tries.items():
        reply = ask(open_port, path, "POST", b"{}", **{**JSON, **headers})
        tree = orjson.loads(reply.body)
        assert (reply.status, tree["type"], tree["error"]["type"]) == (status, "error", kind)
        assert set(tree) == {"type", "error", "request_id"}
    client = anthropic.Anthropic(
        api_key="any", base_url=f"http://127.0.0.1:{open_port}", max_retries=0
    )
    with client, pytest.raises(anthropic.NotFoundError, match="count_tokens is not served here"):
        client.messages.count_tokens(model="x", messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize("path", ["/v1/x%0Ay", "/v1/%0A", "/v1/models/x%0Ay", "/v1/models/%0A"])
def test_behind_a_line_break_there_is_a_door_too(
    open_port: int, closed: Serving, path: str
) -> None:
    """Starlette's own pattern of a path ends there."""
    for accept in ("text/html", "*/*"):
        reply = ask(open_port, path, accept=accept)
        assert reply.status == 404
        assert set(orjson.loads(reply.body)["error"]) == {"message", "type", "param", "code"}
        assert ask(closed.port, path, accept=accept).status == 401
    assert ask(closed.port, path.replace("models", "messages"), "POST", **JSON).status == 401


def test_a_config_that_cannot_be_read_is_nobodys_mistake_who_lists_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "karat").mkdir()
    with Upstream() as upstream, Wired(tmp_path / "runs", {"loop": upstream.model()}) as wired:
        (tmp_path / "karat" / "config.toml").write_text("[providers\n")  # it was well at the start
        reply = ask(wired.port, "/v1/models")
        assert reply.status == 200, reply.text
        assert orjson.loads(reply.body)["data"][0]["id"] == "loop"
        assert ask(wired.port, "/v1/models/nothing").status == 404
    assert str(tmp_path) not in reply.text
    assert "config.toml" in caplog.text
