"""How large a request may be and how long it may take, over raw sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from raw import JSON, ask, read, rest, send
from serving import TOKEN, Serving
from starlette.requests import Request
from starlette.responses import Response


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


@contextmanager
def ending(root: Path) -> Iterator[Serving]:
    """A server that must end in a moment when the block does."""
    with Serving(root, token=TOKEN) as server:
        yield server
        began = time.monotonic()
    assert time.monotonic() - began < 3


HALF = [
    b"",
    b"GET /healthz HT",
    b"POST /logout HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n",
    b"POST /login HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\n"
    b"Content-Length: 9\r\n\r\ntoken",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",  # answered, and kept open
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\nGET /healthz HTTP/1.1\r\nHo",
]


def test_a_server_that_ends_waits_for_no_request_that_has_not_come(tmp_path: Path) -> None:
    with ending(tmp_path) as server:
        held = []
        for data in HALF:
            made = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            made.sendall(data.replace(b"%d", b"%d" % server.port))
            held.append(made)
        time.sleep(0.2)
    for made in held:
        rest(made)
        made.close()


def test_a_server_that_ends_waits_for_nobody_who_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def large(_: Request) -> Response:
        return Response(b"x" * 20_000_000)

    monkeypatch.setattr("karat.web.app._health", large)
    monkeypatch.setattr("karat.web.wire.Protocol.flush_s", 0.2)
    asked = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with ending(tmp_path) as server:
            made.connect(("127.0.0.1", server.port))
            made.sendall(asked.replace(b"%d", b"%d" % server.port))
            time.sleep(0.2)


def test_what_has_come_is_answered_by_a_server_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karat.web.pages.login.SLOW_S", 0.6)
    with Serving(tmp_path, token=TOKEN) as server:
        door = server.desk.entry
        assert door is not None
        for number in range(60):
            door.session("wrong", f"sender {number}")
        body = f"token={TOKEN}"
        head = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        head += f"Origin: {server.url}\r\nContent-Length: {len(body)}\r\n\r\n"
        made = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        made.sendall(f"{head}{body}".encode())
        time.sleep(0.1)
    with made:
        assert read(rest(made)).status == 303
