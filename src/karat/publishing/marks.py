"""Others' words made safe for Markdown and YAML: they stay words, whatever is in them.

A name, a drop reason or a licence can hold HTML, links, table bars, control codes or a line of
three dashes. A template writes nothing of it raw: what it puts out is escaped unless it was marked.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from karat.report.cells import CONTROL

LONGEST = 600  # characters of one text
_SPECIAL = re.compile(r"([\\`*_\[\]|~#$!])")
_START = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[-+=]))")  # of a list, a line, a heading


class Marked(str):
    """Markdown as it is meant."""

    __slots__ = ()


def plain(text: object, length: int = LONGEST) -> str:
    """One line without control codes, at most `length` characters."""
    line = " ".join(CONTROL.sub("�", str(text)[: 4 * length].replace("\n", " ")).split())
    return line if len(line) <= length else f"{line[:length]} …"


def md(text: object) -> Marked:
    """A text as Markdown shows it: no markup, no HTML, no link, no table cell of its own."""
    line = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _START.sub(r"\1\\", _SPECIAL.sub(r"\\\1", line))
    line = line.replace("@", "&#64;").replace("://", "&#58;//")
    return Marked(re.sub(r"\bwww\.", "www&#46;", line, flags=re.IGNORECASE))


def code(text: object) -> Marked:
    """A name in a code span, in a table as well."""
    name = plain(text, 200).replace("`", "'").replace("|", "¦")
    return Marked(f"`{name}`") if name else Marked("–")


def link(address: str) -> Marked:
    """An address of karat's own table as a link; whatever else it is stays a text."""
    fine = re.fullmatch(r"https://[\w./%()+~#?=&-]+", address)
    return Marked(f"<{address}>") if fine else md(address)


def _final(value: Any) -> str:
    return value if isinstance(value, Marked) else md(value)


@cache
def template(name: str) -> jinja2.Template:
    """A Markdown template of this folder; it escapes whatever it puts out."""
    text = resources.files("karat.publishing").joinpath(name).read_text("utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True,
        lstrip_blocks=True, autoescape=False, finalize=_final,
    )  # fmt: skip
    environment.filters |= {
        "code": code, "link": link, "raw": Marked, "count": lambda n: Marked(f"{n:,}"),
        "share": lambda x: Marked(f"{x:.0%}"), "figure": lambda x: Marked(f"{x:.3g}"),
    }  # fmt: skip
    return environment.from_string(text)
