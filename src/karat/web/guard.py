"""What stands before every page and every route: whose request it is, how large, how long.

Two doors, told apart by the first part of the path that is routed, and by nothing else: what begins
with `/v1/` authenticates each request itself (virtual keys, or the token), everything else is the
guard's. `app.build` refuses a view that would answer at the other door. All that is public where a
token is asked for is a short list of whole paths. Bare ASGI: one more coroutine a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from urllib.parse import quote

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from karat.web.desk import Desk
from karat.web.entry import Entry
from karat.web.faults import note
from karat.web.origins import SAFE, Origins, fault

access = logging.getLogger("karat.web.access")

GATEWAY = "/v1/"
MESSAGES = "/v1/messages"
# What a browser needs to show the page on which it shows the token, what a monitor asks, and what
# the gateway of any server takes and answers.
PUBLIC = frozenset(
    ("/login", "/healthz", "/openapi.json", "/static/app.css", "/static/app.js",
     "/static/charts.css", "/static/theme.js", "/static/karat.svg")
)  # fmt: skip
ANSWER_S = 60.0  # until a page begins to answer …
DOWNLOAD_S = 1800.0  # … and until it is all sent; streams of events last as long as they are read

CSP = (
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "object-src 'none'"
)
_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    # Not no-referrer: with that a browser says "null" for the origin of our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
_CSP = (b"content-security-policy", CSP.encode())
_NOT_KEPT = (b"cache-control", b"no-store")
_ASK_AGAIN = (b"cache-control", b"no-cache")  # kept, and used where it has not changed
_EVENTS = b"text/event-stream"

Headers = list[tuple[bytes, bytes]]


class Guard:
    """The ASGI application of one server, around its pages."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self.app, self.desk = app, desk
        self.origins = Origins(desk.settings)
        self.entry = desk.entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # there are none
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"].startswith(GATEWAY):
            await self._gateway(scope, receive, send)
        else:
            await _Visit(self, scope, receive, send).run()

    async def _gateway(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The gateway has limits, errors and a log of its own."""
        headers = scope["headers"]
        wrong = self.check_names(scope) or fault(
            scope["method"], headers, own=True, takes_any=False
        )
        length = _length(headers)
        if wrong is None and length is not None and length > self.desk.settings.most_body:
            wrong = _too_large(self.desk.settings.most_body)
        if wrong is not None:
            await refuse(scope, send, *wrong)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_ALWAYS, _CSP]
            await send(message)

        await self.app(scope, receive, with_headers)

    def check_names(self, scope: Scope) -> tuple[int, str] | None:
        """Why the Host header will not do, None where it will."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return 400, "a request needs one Host header"
        if not self.origins.is_ours(hosts[0], scope.get("server")):
            return 421, (
                "this server is not known by that name; start it with --host-name to add one"
            )
        return None


class _Visit:
    """One request of a page or of its data."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self.guard, self.scope, self.receive, self.send = guard, scope, receive, send
        self.settings = guard.desk.settings
        self.began = time.perf_counter()
        self.status = 0
        self.size = 0
        self.is_read = self.ended = self.is_stream = False
        self._limit = asyncio.timeout(ANSWER_S)

    async def run(self) -> None:
        try:
            async with self._limit:
                await self._answer()
        except TimeoutError:
            if not self.status:
                said = f"no answer within {ANSWER_S:g} s; ask for less, or look at the server's log"
                await self._refuse(504, said)
        except ClientDisconnect:
            self.status = self.status or 499
        except Exception as error:
            note(error, self._template())
        finally:
            if access.isEnabledFor(logging.INFO):
                spent_ms = (time.perf_counter() - self.began) * 1000
                told = (self.scope["method"], self._template(), self.status, spent_ms)
                access.info("%s %s %d %.0f ms", *told)

    async def _answer(self) -> None:
        scope, headers = self.scope, self.scope["headers"]
        path, method = scope["path"], scope["method"]
        wrong = self.guard.check_names(scope) or fault(method, headers, own=False, takes_any=True)
        if wrong is not None:
            await self._refuse(*wrong)
            return
        entry = self.guard.entry
        if entry is not None and path not in PUBLIC and not entry.admits(headers):
            await self._turn_away(entry)
            return
        length = _length(headers)
        if length is not None and length > self.settings.most_body:
            await self._refuse(*_too_large(self.settings.most_body))
            return
        await self.guard.app(scope, self._receive, self._send)
        if self.is_stream and not self.ended:  # the server is going; what is left of it is nothing
            await self._send({"type": "http.response.body", "body": b""})

    async def _turn_away(self, entry: Entry) -> None:
        """To the login where a person asks, with an error where a program does."""
        page = b"text/html" in dict(self.scope["headers"]).get(b"accept", b"")
        if page and self.scope["method"] in SAFE:
            asked = self.scope["path"].encode("utf-8", "replace")
            if query := self.scope["query_string"]:
                asked += b"?" + query
            where = quote(asked, safe="/")
            await self._start(303, [(b"location", f"/login?next={where}".encode())])
            await self._send({"type": "http.response.body", "body": b""})
            return
        said = "this server asks for its token: send it as `Authorization: Bearer …`"
        await self._refuse(401, said, [(b"www-authenticate", b"Bearer")])

    async def _receive(self) -> Message:
        """Counts what comes in; ends streams of events when the server ends."""
        if self.is_read and self.scope["method"] in SAFE:
            return await self._gone()
        message = await self.receive()
        self.size += len(message.get("body", b""))
        self.is_read = not message.get("more_body", False)
        if self.size > self.settings.most_body:
            raise HTTPException(*_too_large(self.settings.most_body), {"connection": "close"})
        return message

    async def _gone(self) -> Message:
        """What comes after a request: that its client has gone, or is to be taken for gone."""
        message = asyncio.ensure_future(self.receive())
        closing = asyncio.ensure_future(self.guard.desk.closing.wait())
        try:
            await asyncio.wait((message, closing), return_when=asyncio.FIRST_COMPLETED)
            if not message.done() and self.is_stream:
                return {"type": "http.disconnect"}
            return await message
        finally:
            message.cancel()
            closing.cancel()

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message["status"], list(message.get("headers", ())))
            return
        self.ended = not message.get("more_body", False)
        await self.send(message)

    async def _start(self, status: int, headers: Headers) -> None:
        self.status = status
        named = dict(headers)
        self.is_stream = named.get(b"content-type", b"").startswith(_EVENTS)
        if not self._limit.expired():
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(None if self.is_stream else now + DOWNLOAD_S)
        headers += _ALWAYS
        if _CSP[0] not in named:
            headers.append(_CSP)
        if _NOT_KEPT[0] not in named:
            static = self.scope["path"].startswith("/static/") and status < 400
            headers.append(_ASK_AGAIN if static else _NOT_KEPT)
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _refuse(self, status: int, said: str, headers: Headers | None = None) -> None:
        await refuse(self.scope, self._send, status, said, headers or [])

    def _template(self) -> str:
        """The route's path and not the request's, which may say anything."""
        route = self.scope.get("route")
        found: str | None = getattr(route, "path", None)
        return found or ("(no page)" if self.status == 404 else "(refused)")


async def refuse(
    scope: Scope, send: Send, status: int, said: str, headers: Headers | None = None
) -> None:
    """A short answer, and no more of this connection: its body may still be on the way."""
    body = orjson.dumps(_worded(scope["path"], status, said))
    if scope["path"].startswith(GATEWAY):
        headers = [*(headers or []), *_ALWAYS, _CSP, _NOT_KEPT]
    headers = [
        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"), *(headers or []),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _worded(path: str, status: int, said: str) -> dict[str, Any]:
    """An error in the words of the format that is spoken at this path."""
    if path == MESSAGES or path.startswith(f"{MESSAGES}/"):
        from karat.web.gateway.anthropic_replies import error_body

        return error_body(status, said, None)
    told: dict[str, Any] = {"message": said}
    if path.startswith(GATEWAY):
        told |= {"type": "invalid_request_error", "code": None, "param": None}
    return {"error": told}


def _too_large(most: int) -> tuple[int, str]:
    return 413, f"a request may have {most >> 20} MB; this one has more"


def _length(headers: Headers) -> int | None:
    """The length a request says it has; the parser has checked that it is a number."""
    return next((int(value) for name, value in headers if name == b"content-length"), None)
