"""karat turns models' output into alignment data you can trust.

Names load on first use, so that `import karat` costs next to nothing. `step` alone is bound at
once: a submodule has the same name, and importing it later would put the module in its place.
Of errors the two a person raises or reads most are here; `karat.errors` has the whole tree, and its
KaratError and RunError are found under `karat` as well.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from karat.step import step

if TYPE_CHECKING:
    from karat.api import plan, preview, run
    from karat.columns import Decision, Table
    from karat.context import Context
    from karat.errors import KaratError as KaratError
    from karat.errors import RecipeError, RowError
    from karat.errors import RunError as RunError
    from karat.oneline import grade
    from karat.recipe import Recipe
    from karat.row import Message, Response, Row
    from karat.rundir import Run

__all__ = [
    "Context",
    "Decision",
    "Message",
    "Recipe",
    "RecipeError",
    "Response",
    "Row",
    "RowError",
    "Run",
    "Table",
    "grade",
    "plan",
    "preview",
    "run",
    "step",
]
_HOME = {
    "api": ("plan", "preview", "run"),
    "columns": ("Decision", "Table"),
    "context": ("Context",),
    "oneline": ("grade",),
    "errors": ("KaratError", "RecipeError", "RowError", "RunError"),
    "recipe": ("Recipe",),
    "row": ("Message", "Response", "Row"),
    "rundir": ("Run",),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # half of what `import karat` would take

        return version("karat")
    home = next((module for module, names in _HOME.items() if name in names), None)
    if home is None:
        from karat.errors import did_you_mean

        words = did_you_mean(name, __all__)
        raise AttributeError(f"module 'karat' has no attribute '{name}'; {words}")
    value = getattr(importlib.import_module(f"karat.{home}"), name)
    globals()[name] = value
    return value
