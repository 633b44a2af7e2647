"""Pages: templates beside this file, filled in with every value escaped.

A page is one file with no script and nothing to fetch: it can be mailed, and opened in ten years.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape


def render(template: str, values: Mapping[str, Any]) -> str:
    """The whole page. A template marks as safe only what karat drew itself."""
    return _pages().get_template(template).render(values)


def module_of(template: str) -> Any:
    """A template's macros, which give escaped HTML."""
    return _pages().get_template(template).module


_CODE = re.compile(r"`([^`\n]+)`")


@cache
def _pages() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    made.filters["coded"] = coded
    return made


def coded(text: str) -> Markup:
    """A text in which what stands in `…` is code; all of it is escaped first."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
