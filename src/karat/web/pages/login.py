"""The page on which a person shows the token once; the session is a cookie from then on.

The form is read by hand: two fields need no parser of files. Where no token is asked for, there is
no page.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from karat.web.desk import desk
from karat.web.entry import SESSION_S, WINDOW_S, Entry
from karat.web.respond import page

MOST_FORM = 8192  # bytes
HOME = "/runs"
SLOW_S = 1.0  # before an answer where too many were wrong


async def login(request: Request) -> Response:
    entry = _entry(request)
    if entry is None:
        return RedirectResponse(HOME, 303)
    if request.method != "POST":
        return _form(request, _local(request.query_params.get("next")))
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_FORM:
            raise HTTPException(413, "This form is too long")
    fields = parse_qs(body.decode("utf-8", "replace"))
    where = _local(fields.get("next", [""])[0])
    sender = request.client.host if request.client else ""
    slow = entry.slow(sender)
    if slow:
        await asyncio.sleep(SLOW_S)
    value = entry.session(fields.get("token", [""])[0].strip(), sender)
    if value is None and slow:
        made = _form(request, where, 429, "This is not the token either; too many were wrong.")
        made.headers["retry-after"] = f"{WINDOW_S:.0f}"
        return made
    if value is None:
        return _form(request, where, 401, "This is not the token of this server.")
    reply = RedirectResponse(where, 303)
    secure = request.headers.get("origin", "").startswith("https:")
    reply.set_cookie(
        entry.cookie, value, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=secure
    )
    return reply


async def logout(request: Request) -> Response:
    reply = RedirectResponse("/login", 303)
    entry = _entry(request)
    if entry is not None:
        entry.end(request.headers.raw)
        reply.delete_cookie(entry.cookie, httponly=True, samesite="strict")
    return reply


def _entry(request: Request) -> Entry | None:
    return desk(request).entry


def _form(request: Request, where: str, status: int = 200, wrong: str = "") -> Response:
    return page(request, "login.html", status, where=where, wrong=wrong, menu=[])


def _local(where: str | None) -> str:
    """A path of this server, whatever was asked for."""
    found = where or HOME
    is_local = found.startswith("/") and not found.startswith("//")
    return found if is_local and found.isprintable() and "\\" not in found else HOME


ROUTES = [
    Route("/login", login, methods=["GET", "POST"]),
    Route("/logout", logout, methods=["POST"]),
]
