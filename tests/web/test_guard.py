"""Who may ask what, how much and for how long: over raw sockets, against the server that serves."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from raw import Reply, ask, read, rest, send
from serving import Serving
from starlette.routing import Route

from karat.errors import RunError
from karat.web import app, entry, guard, respond
from karat.web.desk import Desk, Settings
from karat.web.entry import Entry
from karat.web.gateway.engine import Gateway
from karat.web.guard import CSP, PUBLIC, Guard

TOKEN = "t0ken-" + "x" * 40
JSON = {"content_type": "application/json"}
FORM = {"content_type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def open_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that asks for no token, and its gateway."""
    root = tmp_path_factory.mktemp("runs")
    with Serving(root, Gateway(root), hosts=("karat.lan", "proxy.lan:9000")) as server:
        yield server.port


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with a token, and its gateway with the same."""
    root = tmp_path_factory.mktemp("closed")
    with Serving(root, Gateway(root, token=TOKEN), token=TOKEN, most_body=1000) as server:
        yield server


# --- whose name: DNS rebinding -------------------------------------------------------------------


def test_known_names_are_answered(open_port: int) -> None:
    names = [f"127.0.0.1:{open_port}", f"LocalHost:{open_port}", f"[::1]:{open_port}"]
    for name in [*names, f"karat.lan:{open_port}", "karat.lan", "proxy.lan:9000"]:
        assert ask(open_port, "/healthz", host=name).status == 200, name


@pytest.mark.parametrize(
    "name",
    ["evil.example", "evil.example:{}", "localhost", "localhost:1", "127.0.0.1.evil.example:{}",
     "localhost:{}@evil.example", "localhost.:{}", "localhost:{}.evil.example", "0.0.0.0:{}", "",
     "127.0.0.1:{} evil"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/healthz", "/runs", "/v1/models", "/static/app.css"])
def test_other_names_are_not(open_port: int, name: str, path: str) -> None:
    reply = ask(open_port, path, host=name.format(open_port) or " ")
    assert reply.status == 421
    assert "--host-name" in reply.text


def test_one_name_and_no_other(open_port: int) -> None:
    assert ask(open_port, "/healthz", host=None).status == 400
    twice = f"127.0.0.1:{open_port}\r\nHost: evil.example"
    assert ask(open_port, "/healthz", host=twice).status == 400


# --- whose page: CSRF ----------------------------------------------------------------------------


def test_another_sites_page_changes_nothing(open_port: int) -> None:
    ours = f"http://127.0.0.1:{open_port}"
    for foreign in (
        {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": f"{ours}.evil.example"},
        {"origin": "http://127.0.0.1:1"}, {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"}, {"origin": ours, "sec_fetch_site": "cross-site"},
    ):  # fmt: skip
        for path in ("/logout", "/v1/chat/completions", "/no/page"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
                assert ask(open_port, path, method, b"{}", **foreign, **JSON).status == 403, foreign
        assert ask(open_port, "/v1/models", **foreign).status == 403, foreign
    assert ask(open_port, "/logout", "POST", b"", origin=ours).status == 303
    assert ask(open_port, "/v1/models", origin=ours).status == 200
    assert ask(open_port, "/v1/models").status == 200


def test_what_a_form_of_any_site_can_send_is_not_taken(open_port: int) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        more = {"content_type": kind} if kind else {}
        assert ask(open_port, "/logout", "POST", b"{}", **more).status == 415
        assert ask(open_port, "/v1/chat/completions", "POST", b"{}", **more).status == 415
    said = ask(open_port, "/logout", "POST", b"{}", content_type="Application/JSON; charset=utf-8")
    assert said.status == 303


def test_other_sites_may_link_here_and_nothing_else(open_port: int) -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert ask(open_port, "/runs", **link, sec_fetch_dest="document").status == 200
    for how in (
        {**link, "sec_fetch_dest": "iframe"}, {**link, "sec_fetch_dest": "object"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "script"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"},
    ):  # fmt: skip
        assert ask(open_port, "/runs", **how).status == 403
        assert ask(open_port, "/runs.json", **how).status == 403


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


# --- who: a person's session ---------------------------------------------------------------------


def _login(server: Serving, token: str, where: str = "/runs") -> Reply:
    body = f"token={quote(token)}&next={quote(where)}".encode()
    return ask(server.port, "/login", "POST", body, origin=server.url, **FORM)


def test_a_person_logs_in_and_out(closed: Serving) -> None:
    turned = ask(closed.port, "/runs?q=a%26b", accept="text/html")
    assert (turned.status, turned.headers["location"]) == (303, "/login?next=/runs%3Fq%3Da%2526b")
    page = ask(closed.port, turned.headers["location"], accept="text/html")
    assert 'value="/runs?q=a%26b"' in page.text
    reply = _login(closed, TOKEN, "/runs?q=a%26b")
    assert (reply.status, reply.headers["location"]) == (303, "/runs?q=a%26b")
    cookie, *flags = reply.headers["set-cookie"].split("; ")
    assert cookie.startswith(f"karat-{closed.port}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(flags)
    assert TOKEN not in reply.headers["set-cookie"]
    assert ask(closed.port, "/runs", cookie=f"other=1; {cookie}").status == 200
    assert ask(closed.port, "/v1/models", cookie=cookie).status == 401
    out = ask(closed.port, "/logout", "POST", origin=closed.url, cookie=cookie)
    assert "Max-Age=0" in out.headers["set-cookie"]


def test_a_session_can_be_neither_made_nor_kept_for_ever(
    closed: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = _login(closed, TOKEN).headers["set-cookie"].split(";")[0].partition("=")
    end, _, signed = value.partition(".")
    forged = [
        f"{int(end) + 9}.{signed}",
        f"{end}.",
        f"nan.{signed}",
        signed,
        "",
        f"{end}.{'0' * 64}",
    ]
    for made in [*forged, "\xff.\xff", TOKEN]:
        assert ask(closed.port, "/runs", cookie=f"{name}={made}").status == 401, made
    assert Entry(TOKEN, closed.port).admits([(b"cookie", f"{name}={value}".encode())]) is False
    later = time.monotonic() + entry.SESSION_S + 5
    assert ask(closed.port, "/runs", cookie=f"{name}={value}").status == 200
    monkeypatch.setattr(entry.time, "monotonic", lambda: later)
    assert closed.desk.entry is not None
    assert not closed.desk.entry.admits([(b"cookie", f"{name}={value}".encode())])


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "runs", "/\nx", ""]
)
def test_a_login_leads_nowhere_else(closed: Serving, where: str) -> None:
    assert _login(closed, TOKEN, where).headers["location"] == "/runs"


def test_guesses_are_slowed_down(tmp_path: Path) -> None:
    with Serving(tmp_path, token=TOKEN) as server:
        said = [_login(server, f"guess {n}").status for n in range(entry.GUESSES + 1)]
        assert said == [401] * entry.GUESSES + [429]
        waiting = _login(server, TOKEN)
        assert waiting.status == 429
        assert 0 < int(waiting.headers["retry-after"]) <= entry.WINDOW_S
        door = server.desk.entry
        assert door is not None
        assert door.wait_s("192.0.2.1") == 0  # another sender
        for number in range(entry.MOST_SENDERS + 50):
            door.session("wrong", f"sender {number}")
        assert len(door._guesses) == entry.MOST_SENDERS


def test_a_login_reads_no_more_than_a_form(tmp_path: Path) -> None:
    with Serving(tmp_path, token=TOKEN) as server:
        assert _login(server, "x" * 9000).status == 413


# --- how much, how long --------------------------------------------------------------------------


def test_a_body_has_a_limit(closed: Serving, open_port: int) -> None:
    for path in ("/login", "/v1/chat/completions"):
        more = {"origin": closed.url, **JSON, "authorization": f"Bearer {TOKEN}"}
        assert ask(closed.port, path, "POST", b"x" * 1001, **more).status == 413
        # Refused before it is sent.
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{open_port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {2**40}\r\n\r\n"
        assert read(send(open_port, head.encode())).status == 413
    chunked = "x" * 600
    body = f"258\r\n{chunked}\r\n258\r\n{chunked}\r\n0\r\n\r\n"
    head = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{closed.port}\r\nOrigin: {closed.url}\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    assert read(send(closed.port, (head + body).encode())).status == 413


def test_a_head_has_a_limit(open_port: int) -> None:
    begun = f"GET /runs HTTP/1.1\r\nHost: 127.0.0.1:{open_port}\r\n".encode()
    with socket.create_connection(("127.0.0.1", open_port), timeout=10) as made:
        made.sendall(begun + b"x-long: " + b"y" * 30_000)
        made.sendall(b"y" * 50_000)
        assert read(rest(made)).status == 431


def test_a_slow_request_is_not_waited_for(open_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karat.web.wire.Protocol.head_s", 0.2)
    monkeypatch.setattr("karat.web.wire.Protocol.body_s", 0.4)
    begun = f"POST /logout HTTP/1.1\r\nHost: 127.0.0.1:{open_port}\r\n".encode()
    whole = begun + b"content-type: application/json\r\ncontent-length: 9\r\n\r\n{"
    for data, least in ((b"", 0.2), (begun, 0.2), (whole, 0.4)):
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", open_port), timeout=10) as made:
            made.sendall(data)
            time.sleep(0.1)
            made.sendall(data[:1] and b"x")  # a byte now and then does not help
            said = rest(made)
        assert least <= time.monotonic() - started < 3
        assert data == whole or read(said).status == 408


def test_a_request_that_was_slow_but_came_is_answered(open_port: int) -> None:
    with socket.create_connection(("127.0.0.1", open_port), timeout=10) as made:
        for piece in (b"GET /healthz HT", b"TP/1.1\r\nHost: ", f"127.0.0.1:{open_port}".encode()):
            made.sendall(piece)
            time.sleep(0.02)
        made.sendall(b"\r\n\r\n")
        assert made.recv(100).startswith(b"HTTP/1.1 200")
        made.sendall(f"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1:{open_port}\r\n\r\n".encode())
        assert b"200 OK" in rest(made)


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
    _login(closed, "secret-token")
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
