"""karat turns models' output into alignment data you can trust.

Names load on first use, so that `import karat` costs next to nothing. `step` alone is bound at once:
a submodule has the same name, and importing it later would otherwise put the module in its place.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from karat.step import step

if TYPE_CHECKING:
    from karat.api import plan, preview, run
    from karat.columns import Decision, Table
    from karat.context import Context
    from karat.errors import KaratError, ProviderError, RecipeError, RowError, RunError
    from karat.recipe import Recipe
    from karat.row import Message, Response, Row
    from karat.rundir import Run

_HOME = {
    "plan": "api", "preview": "api", "run": "api", "Context": "context", "Decision": "columns",
    "KaratError": "errors", "ProviderError": "errors", "RecipeError": "errors",
    "RowError": "errors", "RunError": "errors", "Message": "row", "Recipe": "recipe",
    "Response": "row", "Row": "row", "Run": "rundir", "Table": "columns",
}  # fmt: skip
__all__ = ["Context", "Decision", "KaratError", "Message", "ProviderError", "Recipe", "RecipeError",
           "Response", "Row", "RowError", "Run", "RunError", "Table", "plan", "preview", "run", "step"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'karat' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"karat.{_HOME[name]}"), name)
    globals()[name] = value
    return value
