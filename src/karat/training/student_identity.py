"""Which base a student is of: where its files are, which weights exactly, under which licence."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from karat.models.bases import base_model
from karat.models.rights import rights_of
from karat.rewards._checkpoint import find, fingerprint


class Base(msgspec.Struct, frozen=True):
    """`name` as the user gave it, `source` for transformers, 16 hex digits of the weights."""

    name: str
    source: str
    identity: str
    licence: str


def base_of(model: str, say: Callable[[str], None]) -> Base:
    """Raises: RecipeError, RunError."""
    source = base_model(model, say)
    found = find(str(source), Path.cwd(), None)
    service, _, name = model.partition("/")
    licence = found.licence() if service != "embedded" else rights_of(service, name).licence
    if licence == "unknown":
        licence = rights_of("", Path(model).name).licence
    return Base(model, str(source), fingerprint(found, ()), licence)


def versions() -> dict[str, str]:
    """Of everything the weights of a student may hang on."""
    found = {}
    for name in ("karat", "torch", "transformers", "trl", "peft", "accelerate"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
