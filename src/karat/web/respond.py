"""What a view answers with: a page, a table as a file, JSON, a stream of events.

Every value in a page is escaped by the template; what karat drew itself comes in through the filter
`chart`, which takes a drawing's own style sheet off: the pages' rules allow none but theirs.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from karat.errors import KaratError, RecipeError
from karat.report import grading_plots, survey_map, svg
from karat.web import figures

TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
# What Starlette says where no view has said it better.
_WORDS = {
    "Not Found": "There is no such page",
    "Method Not Allowed": "This address is not for that",
}
DOCUMENT_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
_DARK = "@media(prefers-color-scheme:dark)"
_OWN_STYLE = re.compile("<style>.*?</style>", re.DOTALL)
# What a spreadsheet takes for a formula. Source: OWASP, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


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


def table(name: str, rows: pa.Table | Sequence[Mapping[str, Any]], form: str) -> Response:
    """Rows as a file to keep: `form` is json, csv or parquet. Raises: HTTPException 404."""
    if form not in TYPES:
        raise HTTPException(404, f"There is no {form} of this; there is {', '.join(TYPES)}")
    headers = {"content-disposition": f'attachment; filename="{_plain(name)}.{form}"'}
    if form == "parquet":
        made = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))
        sink = pa.BufferOutputStream()
        pq.write_table(made, sink)
        return Response(sink.getvalue().to_pybytes(), 200, headers, TYPES[form])
    listed = rows.to_pylist() if isinstance(rows, pa.Table) else list(rows)
    if form == "json":
        return json(listed, headers=headers)
    return Response(as_csv(listed), 200, headers, TYPES[form])


def as_csv(rows: Sequence[Mapping[str, Any]], *, heading: bool = True) -> str:
    """Rows as CSV in which no cell is a formula; what is nested is JSON."""
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(out)
    if heading:
        writer.writerow([_cell(name) for name in names])
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list | tuple):
        value = orjson.dumps(value).decode()
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value


def events(stream: AsyncIterator[Any]) -> StreamingResponse:
    """Values as server-sent events, each one JSON."""

    async def lines() -> AsyncIterator[bytes]:
        async for value in stream:
            yield b"data: " + orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n\n"

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(lines(), 200, headers, "text/event-stream")


async def failure(request: Request, error: Exception) -> Response:
    """An error as a page for people and as JSON for programs; never a traceback."""
    status, said = 500, "Something broke in karat itself; its log says what"
    if isinstance(error, HTTPException):
        status, said = error.status_code, error.detail
    elif isinstance(error, KaratError):
        status, said = (400 if isinstance(error, RecipeError) else 500), str(error)
    said = _WORDS.get(said, said)
    headers = getattr(error, "headers", None)
    if "text/html" not in request.headers.get("accept", ""):
        return json({"error": {"message": said}}, status, headers)
    made = page(request, "error.html", status, code=status, said=said.rstrip("."))
    made.headers.update(headers or {})
    return made


async def charts_css(request: Request) -> Response:
    """The colours of all charts, in the theme that is chosen on the page."""
    return Response(_charts_css(), 200, {"cache-control": "max-age=3600"}, "text/css")


@cache
def _charts_css() -> str:
    """The drawings' own rules, where what was for dark screens is for the dark theme."""
    rules = []
    for style in (svg.STYLE, survey_map.STYLE, grading_plots.STYLE):
        light, _, dark = style.partition(_DARK)
        while light:
            rules.append(light)
            inner, dark = _block(dark)
            rules.append(f':root[data-theme="dark"]{{{inner}}}')
            rules.append(f'{_DARK}{{:root:not([data-theme="light"]){{{inner}}}}}')
            light, _, dark = dark.partition(_DARK)
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
    made.filters["chart"] = lambda drawn: Markup(_OWN_STYLE.sub("", drawn))
    for form in ("count", "share", "usd", "reward", "rate", "span", "ago", "day", "utc", "plain"):
        made.filters[form] = getattr(figures, form)
    return made


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name) or "karat"
