"""Prompt templates: Jinja files, filled in without letting a dataset run code."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from karat.errors import RecipeError
from karat.row import Message

_TURN = re.compile(r"^--- (user|assistant)[ \t]*$", re.MULTILINE)


@lru_cache(maxsize=64)
def _compiled(path: Path, changed: int) -> Any:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    return environment.from_string(path.read_text(encoding="utf-8").strip())


def render(path: Path, **values: Any) -> str:
    """Fills in one Jinja template. Raises: RecipeError with the file's name."""
    try:
        text: str = _compiled(path, path.stat().st_mtime_ns).render(**values)
    except OSError as error:
        raise RecipeError(f"no prompt template {path.name}: {error.strerror}") from None
    except TemplateError as error:
        raise RecipeError(f"prompt template {path}: {error}") from error
    return text.strip()


def turns(text: str) -> list[Message]:
    """A rendered template as messages: lines `--- assistant` and `--- user` part an example off.

    An example in a turn of its own is followed by models of any size; the same lines inside the
    request are copied by small ones.
    """
    first, *rest = _TURN.split(text)
    parts = [("user", first), *zip(rest[::2], rest[1::2], strict=True)]
    return [Message(role, content.strip()) for role, content in parts if content.strip()]
