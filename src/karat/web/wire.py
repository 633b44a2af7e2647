"""uvicorn's HTTP protocol with what it lacks: limits on how long and how large a request's head may
be, and on how long its body may take.

Without them a client that sends a byte a minute holds a connection for ever, and one that never
ends its headers, or what comes after its body, fills the memory. Headers after a body are dropped:
none of them may pass for one that came before it. Timers of the connection, so that an answer costs
nothing more.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 20.0  # for a request's first line and headers, from the connection or the first byte on
BODY_S = 300.0  # for a request with its body
FLUSH_S = 5.0  # for the rest of an answer, when the server ends
MOST_HEAD = 64 * 2**10  # bytes
IDLE, HEAD, BODY = range(3)
_TOLD = {
    408: b"HTTP/1.1 408 Request Timeout",
    431: b"HTTP/1.1 431 Request Header Fields Too Large",
}


class Protocol(HttpToolsProtocol):
    """One connection."""

    head_s = HEAD_S
    body_s = BODY_S
    flush_s = FLUSH_S

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._phase = self._timed = IDLE
        self._head = 0  # bytes of a head that has begun, or of what frames a body
        self._carried = False  # whether the last bytes held some of a body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._carried = False
        super().data_received(data)
        if self._phase != IDLE and not self._carried:
            self._head += len(data)
            if self._head > MOST_HEAD:
                self._refuse(431)
                return
        if self._phase == IDLE:  # the usual case: a request in one piece
            self._stop_waiting()
        elif self._phase != self._timed:
            self._wait(self.head_s if self._phase == HEAD else self.body_s)
        self._timed = self._phase

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase, self._head = HEAD, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._phase, self._head = BODY, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._carried, self._head = True, 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._phase = IDLE

    def shutdown(self) -> None:
        """The server ends: only a request that has arrived is still answered. Called again and
        again, since a connection becomes idle or begins another request at any time."""
        if self.transport.is_closing():
            return
        waiting = bool(self.pipeline)  # behind the one that is being answered; nothing is paid yet
        self.pipeline.clear()
        under_way = self.cycle is not None and not self.cycle.response_complete
        if waiting or (under_way and self._phase != BODY):
            self.cycle.keep_alive = False
            return
        self._stop_waiting()
        self.transport.close()
        # Who reads nothing of what was written to it is not waited for.
        self.loop.call_later(self.flush_s, self.transport.abort)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._refuse, 408)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        """Closes; with a word where no answer has begun."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(
                _TOLD[status] + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        self.transport.close()
