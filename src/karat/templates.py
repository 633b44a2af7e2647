"""Prompt templates: Jinja files, filled in without letting a dataset run code."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from karat.errors import RecipeError


@lru_cache(maxsize=64)
def _compiled(path: Path) -> Any:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    return environment.from_string(path.read_text(encoding="utf-8").strip())


def render(path: Path, **values: Any) -> str:
    """Fills in one Jinja template. Raises: RecipeError with the file's name."""
    try:
        text: str = _compiled(path).render(**values)
    except OSError as error:
        raise RecipeError(f"no prompt template {path.name}: {error.strerror}") from None
    except TemplateError as error:
        raise RecipeError(f"prompt template {path}: {error}") from error
    return text.strip()
