"""What the views of one server share: its settings, the runs it shows, the gateway behind it.

Held by the application, not by modules, so that a test can have two of them side by side.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.requests import HTTPConnection

from karat.web.entry import Entry
from karat.web.shelf import Shelf

if TYPE_CHECKING:
    from karat.web.gateway.engine import Gateway

T = TypeVar("T")
MOST_BODY = 32 * 2**20  # bytes of a request


class Settings(msgspec.Struct, kw_only=True):
    """How a server was started. `root` is the folder of runs.

    `token` is asked of everybody, where there is one. `hosts` are further names by which people
    reach this server, beside the address it listens on.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 8321
    token: str | None = None
    hosts: tuple[str, ...] = ()
    most_body: int = MOST_BODY


class Desk:
    """One server's runs, settings and gateway; the gateway is None where only pages are shown.

    `entry` is the door where a token is asked for, else None. `closing` is set when the server
    ends: streams of events end with it.
    """

    def __init__(self, settings: Settings, gateway: Gateway | None = None) -> None:
        self.settings = settings
        self.shelf = Shelf(settings.root)
        self.gateway = gateway
        self.entry = None if settings.token is None else Entry(settings.token, settings.port)
        self.closing = asyncio.Event()
        self._own: dict[type, Any] = {}
        self._one = threading.Lock()  # pages ask on threads of their own

    def own(self, kind: type[T], make: Callable[[], T]) -> T:
        """The one thing of a `kind` that this server has, made when it is first asked for."""
        with self._one:
            if kind not in self._own:
                self._own[kind] = make()
            found: T = self._own[kind]
            return found


def desk(request: HTTPConnection) -> Desk:
    """The desk of the server that got this request."""
    found: Desk = request.app.state.desk
    return found
