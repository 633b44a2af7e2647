"""HTTP written by hand, for tests: a client library would put a strange request right."""

from __future__ import annotations

import socket
from typing import NamedTuple

JSON = {"content_type": "application/json"}
FORM = {"content_type": "application/x-www-form-urlencoded"}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def send(port: int, data: bytes, timeout: float = 10) -> bytes:
    """Everything a server says to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as made:
        made.sendall(data)
        return rest(made)


def rest(made: socket.socket) -> bytes:
    found = b""
    while piece := _received(made):
        found += piece
    return found


def _received(made: socket.socket) -> bytes:
    try:
        return made.recv(65536)
    except ConnectionResetError:
        return b""


def read(said: bytes) -> Reply:
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in lines]
    headers = {name.lower(): value for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    return Reply(int(first.split()[1]) if first else 0, headers, body)


def _joined(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        if not size or not int(size, 16):
            break
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole


def ask(
    port: int, path: str, method: str = "GET", body: bytes = b"", host: str | None = "", **more: str
) -> Reply:
    """One request, its path as it is; `more` are headers, `_` for `-`."""
    lines = [f"{method} {path} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {host or f'127.0.0.1:{port}'}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    if body:
        lines.append(f"content-length: {len(body)}")
    lines += ["connection: close", "", ""]
    return read(send(port, "\r\n".join(lines).encode("latin-1") + body))
