"""Where the files of a recipe's embedded models lie, made absolute once the recipe is read.

A recipe names a student by a path, beside itself or in the working directory. What is written of it
later (recipe.yaml of a run, the recipe of a next round) is read from other folders.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from karat.models.gguf_files import ENDING
from karat.models.spec import EMBEDDED, ModelSpec


def placed(spec: ModelSpec, find: Callable[[str], Path]) -> ModelSpec:
    """The spec with its files, and its fallbacks', at absolute paths: `find` knows a recipe's."""
    if spec.fallbacks:
        others = tuple(placed(one, find) for one in spec.fallbacks)
        return replace(placed(replace(spec, fallbacks=()), find), fallbacks=others)
    if spec.provider != EMBEDDED:
        return spec
    named = spec.name.endswith(ENDING) or "/" in spec.name
    return replace(
        spec,
        model=f"{EMBEDDED}/{find(spec.name)}" if named else spec.model,
        adapter=None if spec.adapter is None else str(find(spec.adapter)),
    )
