"""A real server of pages on loopback, for tests: what `karat serve` runs, in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from raw import FORM, Reply, ask

from karat.web.desk import Desk, Settings
from karat.web.serve import bind, server, until_stopped

TOKEN = "t0ken-" + "x" * 40


class Serving:
    """`with Serving(root, gateway=None, **settings) as server: server.url`, on a free port.

    The gateway is closed with it.
    """

    def __init__(self, root: Path, gateway: Any = None, **settings: Any) -> None:
        self.gateway = gateway
        self._socket = bind(Settings(root=root, port=0, **settings))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.desk = Desk(Settings(root=root, port=self.port, **settings), gateway)
        self.server = server(self.desk)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(until_stopped(self.server, self._socket, self.gateway))

    def __enter__(self) -> Self:
        self._thread.start()
        end = time.monotonic() + 20
        while not self.server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < end, "the server never started"
            time.sleep(0.005)
        return self

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not end"


def log_in(server: Serving, token: str, where: str = "/runs") -> Reply:
    """What the form of the login says to a token."""
    body = f"token={quote(token)}&next={quote(where)}".encode()
    return ask(server.port, "/login", "POST", body, origin=server.url, **FORM)
