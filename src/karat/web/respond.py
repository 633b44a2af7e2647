"""What a view answers with: a page, JSON, a stream of events.

Every value in a page is escaped by the template; what karat drew itself comes in through the filter
`chart`, which takes a drawing's own style sheet off: the pages' rules allow none but theirs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import Send

from karat.errors import KaratError, RecipeError
from karat.report.run_charts import DARK, STYLES, bare
from karat.web import figures
from karat.web.shown import said, shown

# What Starlette says where no view has said it better.
_WORDS = {
    "Not Found": "There is no such page",
    "Method Not Allowed": "This address is not for that",
}
DOCUMENT_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from `templates/`; the menu and the path are there for every one."""
    state = request.app.state
    known = {
        "request": request, "menu": state.menu, "path": request.url.path,
        "guarded": state.desk.entry is not None,
    }  # fmt: skip
    text = templates().get_template(template).render({**known, **values})
    return HTMLResponse(text.encode("utf-8", "replace"), status)


def document(body: bytes) -> Response:
    """A page that karat wrote to a file, to be read alone: it may style itself, and nothing else.

    Its address is of no origin, so that what it holds reaches nothing of this server.
    """
    headers = {"content-security-policy": DOCUMENT_CSP}
    return HTMLResponse(body, 200, headers)


def json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value for programs; NaN and infinities become null."""
    body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, headers, "application/json")


class _Events(StreamingResponse):
    """Closes its stream when its client has gone, not when somebody collects what is left of it."""

    def __init__(self, stream: AsyncGenerator[Any, None]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_lines(stream), 200, headers, "text/event-stream")
        self._stream = stream

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._stream):
            await super().stream_response(send)


async def _lines(stream: AsyncGenerator[Any, None]) -> AsyncIterator[bytes]:
    async for value in stream:
        yield b"data: " + orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n\n"


def events(stream: AsyncGenerator[Any, None]) -> StreamingResponse:
    """Values as server-sent events, each one JSON."""
    return _Events(stream)


async def failure(request: Request, error: Exception) -> Response:
    """An error as a page for people and as JSON for programs; never a traceback."""
    status, words = 500, "Something broke in karat itself; its log says what"
    if isinstance(error, HTTPException):
        status, words = error.status_code, error.detail
    elif isinstance(error, KaratError):
        status, words = (400 if isinstance(error, RecipeError) else 500), str(error)
    words = _WORDS.get(words, words)
    headers = getattr(error, "headers", None)
    if "text/html" not in request.headers.get("accept", ""):
        return json({"error": {"message": words}}, status, headers)
    made = page(request, "error.html", status, code=status, said=words.rstrip("."))
    made.headers.update(headers or {})
    return made


async def charts_css(request: Request) -> Response:
    """The colours of all charts, in the theme that is chosen on the page."""
    return Response(_charts_css(), 200, {"cache-control": "max-age=3600"}, "text/css")


@cache
def _charts_css() -> str:
    """The drawings' own rules, where what was for dark screens is for the dark theme."""
    rules = []
    for style in STYLES:
        light, _, dark = style.partition(DARK)
        while light:
            rules.append(light)
            inner, dark = _block(dark)
            rules.append(f':root[data-theme="dark"]{{{inner}}}')
            rules.append(f'{DARK}{{:root:not([data-theme="light"]){{{inner}}}}}')
            light, _, dark = dark.partition(DARK)
    return "\n".join([*rules, ".k-paper{fill:var(--paper)}"])


def _block(text: str) -> tuple[str, str]:
    """What stands in the braces `text` begins with, and what follows them."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return text[1:place], text[place + 1 :]
    return "", ""


@cache
def templates() -> Environment:
    """The pages' templates; filters may be added by modules that views import."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    made.filters |= {"chart": lambda drawn: Markup(bare(drawn)), "shown": shown, "said": said}
    for form in ("count", "share", "usd", "reward", "rate", "span", "ago", "day", "utc"):
        made.filters[form] = getattr(figures, form)
    return made
