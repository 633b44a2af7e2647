"""Who may ask what, and what is said of it: over raw sockets, against the server that serves."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from raw import JSON, ask, read, send
from serving import TOKEN, Serving, log_in
from starlette.routing import Route

from karat.errors import RunError
from karat.web import app, entry, guard, respond
from karat.web.desk import Desk, Settings
from karat.web.gateway.engine import Gateway
from karat.web.guard import CSP, PUBLIC, Guard

# --- who: the token ------------------------------------------------------------------------------

STRANGE = [
    "/runs", "//runs", "/runs/", "/./runs", "/runs/.", "/%72uns", "/runs?x=/login", "/runs;/login",
    "/static/../runs", "/static/%2e%2e/runs", "/login/../runs", "/login/", "//login", "/LOGIN",
    "/login%2f..%2fruns", "/login%00", "/healthz/", "/healthz/../runs", "/static/vendor/preact.js",
    "/static//app.css", "/static/app.css/", "/static/./app.css", "/v1", "/v1/", "/v1/../runs",
    "/V1/models", "//v1/models", "/v1/models", "/v1/%2e%2e/runs", "/runs.json", "/runs/events", "/",
    "http://127.0.0.1/runs", "/run/x/../../static/app.css", "/nothing",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "PROPFIND"])
def test_without_the_token_nothing_is_answered(closed: Serving, method: str) -> None:
    for path in STRANGE:
        reply = ask(closed.port, path, method, **JSON)
        assert reply.status in (401, 404, 405), f"{method} {path}: {reply.status}"
        assert reply.status == 401 or path.lower().startswith("/v1/"), f"{method} {path}"
        assert b"<html" not in reply.body


def test_every_route_there_is_asks_for_it(closed: Serving) -> None:
    """Of views and gateway alike; but for the list of whole paths that is public."""
    tried = 0
    for route in closed.server.config.app.routes:  # type: ignore[union-attr]
        path = getattr(route, "path_format", "").replace("{path}", "runs.css")
        for name in getattr(route, "param_convertors", {}):
            path = path.replace(f"{{{name}}}", "x")
        for method in (getattr(route, "methods", None) or {"GET", "POST"}) - {"HEAD"}:
            if path in PUBLIC:
                continue
            tried += 1
            assert ask(closed.port, path, method, **JSON).status == 401, f"{method} {path}"
    assert tried > 10


def test_what_is_public_is_no_more_than_a_login_needs(closed: Serving) -> None:
    for path in PUBLIC:
        assert ask(closed.port, path).status == 200
    assert not any("vendor" in path or "run" in path for path in PUBLIC)


def test_programs_bring_the_token(closed: Serving) -> None:
    for header in ({"authorization": f"Bearer {TOKEN}"}, {"x_api_key": TOKEN}):
        assert ask(closed.port, "/runs", **header).status == 200
        assert ask(closed.port, "/v1/models", **header).status == 200
    for wrong in (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "", "\xff" * 46, TOKEN[:-1] + "y"):
        for header in ({"authorization": f"Bearer {wrong}"}, {"x_api_key": wrong}):
            assert ask(closed.port, "/runs", **header).status == 401
    assert ask(closed.port, "/runs", authorization=f"Basic {TOKEN}").status == 401
    assert ask(closed.port, f"/runs?token={TOKEN}").status == 401


def test_the_token_is_compared_by_digest_in_constant_time(
    closed: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bytes, bytes]] = []
    compare = entry.hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(entry.hmac, "compare_digest", watched)
    for given in (TOKEN[:3], TOKEN):
        seen.clear()
        ask(closed.port, "/runs", x_api_key=given)
        assert [(len(one), len(other)) for one, other in seen] == [(32, 32)]


def test_a_gateway_without_the_token_is_not_served(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    with pytest.raises(RunError, match="gateway does not"):
        app.build(Desk(Settings(root=tmp_path, token=TOKEN), gateway))
    asyncio.run(gateway.close())


@pytest.mark.parametrize("path", ["/v1/mine", "/v{n}/x", "/{any}", "/v1/{rest:path}"])
def test_no_view_answers_at_the_gateways_door(path: str) -> None:
    with pytest.raises(RunError, match="begin with"):
        app._check_doors([Route(path, lambda _: None)])


def test_web_sockets_are_refused(closed: Serving, tmp_path: Path) -> None:
    more = {"upgrade": "websocket", "sec_websocket_key": "x" * 24, "sec_websocket_version": "13"}
    lines = [f"GET /runs HTTP/1.1\r\nHost: 127.0.0.1:{closed.port}\r\nConnection: Upgrade"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    assert read(send(closed.port, ("\r\n".join(lines) + "\r\n\r\n").encode())).status == 401
    sent = asyncio.run(
        _through(Guard(_never, Desk(Settings(root=tmp_path))), {"type": "websocket"})
    )
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def _never(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(60)


async def _through(guarded: Guard, scope: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    await guarded(scope, receive, send)
    return sent


def test_a_page_has_a_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "ANSWER_S", 0.05)
    scope = {
        "type": "http", "method": "GET", "path": "/runs", "query_string": b"",
        "headers": [(b"host", b"localhost:8321")],
    }  # fmt: skip
    first, last = asyncio.run(_through(Guard(_never, Desk(Settings(root=tmp_path))), scope))
    assert first["status"] == 504
    assert b"no answer within" in last["body"]


# --- what is said --------------------------------------------------------------------------------


def test_every_answer_carries_the_headers(
    open_port: int, closed: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = {path: ask(open_port, path, accept="text/html") for path in (
        "/runs", "/runs.csv", "/nothing", "/v1/models", "/v1/nothing", "/static/app.css", "/",
        "/static/nothing", "/static/charts.css", "/healthz")}  # fmt: skip
    replies["421"] = ask(open_port, "/runs", host="evil.example")
    replies["403"] = ask(open_port, "/v1/models", origin="null")
    replies["405"] = ask(open_port, "/runs", "DELETE")
    replies["401"] = ask(closed.port, "/runs")
    monkeypatch.setattr("karat.web.pages.runs._pulse", lambda _: 1 / 0)
    replies["500"] = ask(open_port, "/runs")
    assert replies["500"].status == 500
    for name, reply in replies.items():
        found = reply.headers
        assert found["content-security-policy"] == CSP, name
        assert found["x-content-type-options"] == "nosniff", name
        assert found["referrer-policy"] == "same-origin", name
        assert found["cross-origin-opener-policy"] == "same-origin", name
        assert found["cross-origin-resource-policy"] == "same-origin", name
        assert "camera=()" in found["permissions-policy"], name
        kept = name in ("/static/app.css", "/static/charts.css", "/v1/nothing")
        assert kept or found["cache-control"] == "no-store", name
        assert "server" not in found, name
        assert "access-control-allow-origin" not in found, name
    assert CSP == (
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
        "object-src 'none'"
    )


def test_a_document_may_style_itself_and_nothing_else() -> None:
    made = respond.document(b"<p>")
    assert made.headers["content-security-policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
    )


def test_a_failure_tells_and_logs_no_content(
    open_port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> Any:
        raise ValueError(" ".join(("a prompt", "that nobody", "else may read")))

    monkeypatch.setattr("karat.web.pages.runs._pulse", fail)
    for accept in ("text/html", "application/json"):
        reply = ask(open_port, "/runs", accept=accept)
        assert reply.status == 500
        assert "its log says what" in reply.text
        assert "Traceback" not in reply.text
    assert "nobody else may read" not in caplog.text + reply.text
    assert "ValueError /runs" in caplog.text
    assert "in fail" in caplog.text


def test_the_access_log_says_the_route_and_nothing_of_the_request(
    closed: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "karat.web.access")
    ask(
        closed.port, "/run/secret-run?q=secret-query", authorization=f"Bearer {TOKEN}", cookie="s=1"
    )
    ask(closed.port, "/secret-page", authorization=f"Bearer {TOKEN}")
    log_in(closed, "secret-token")
    time.sleep(0.05)
    lines = [r.getMessage().rsplit(" ", 2)[0] for r in caplog.records if "access" in r.name]
    assert lines[1:] == ["GET (no page) 404", "POST /login 401"]
    assert lines[0] in ("GET /run/{slug} 404", "GET (no page) 404")  # where there is such a view
    assert "secret" not in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd",
     "/static/%2fetc%2fpasswd", "/static/..\\app.py", "/static/app.css%00.py", "/static/vendor",
     "/static/vendor/", "/static/", "/run/..%2f..%2fetc%2fpasswd", "/run/../../etc/passwd",
     "/static/" + "x" * 5000, "/static/\x7f", "/static/%ff%fe"],
)  # fmt: skip
def test_no_path_leads_out(open_port: int, path: str) -> None:
    reply = ask(open_port, path)
    assert reply.status in (400, 404)
    assert b"import" not in reply.body
    assert b"root:" not in reply.body
