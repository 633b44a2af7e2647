"""A step's signature: which shape it has, and its parameters as a checked type.

What a parameter names (a model, a reward, a score, a file) is part of its type, so that a recipe is
checked before anything runs, wherever in a list or a mapping the name stands.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from karat.errors import RecipeError

ModelName = Annotated[str, msgspec.Meta(extra={"names": "model"})]
RewardName = Annotated[str, msgspec.Meta(extra={"names": "reward"})]
GraderName = Annotated[str, msgspec.Meta(extra={"names": "grader"})]  # a verifier or a reward
ScoreKey = Annotated[str, msgspec.Meta(extra={"names": "score"})]
DatasetName = Annotated[str, msgspec.Meta(extra={"names": "dataset"})]
InputPath = Annotated[str, msgspec.Meta(extra={"names": "path"})]
# A user's own step names models by parameters of these names, without knowing our types.
_OWN: dict[str, Any] = {"model": (str, ModelName), "models": (list[str], list[ModelName])}

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]

Kind = Literal["row", "fan", "table", "source"]
Scale = tuple[float, float]  # lowest and highest score
_LEADING: dict[tuple[str, ...], str] = {
    ("row", "ctx"): "row",
    ("row", "ctx", "peers"): "row",
    ("table", "ctx"): "table",
    ("ctx",): "source",
}


def read_signature(function: Callable[..., Any]) -> tuple[Kind, type[msgspec.Struct]]:
    """(kind, parameters) of a step's function. Raises: RecipeError when it is none."""
    signature = inspect.signature(function)
    positional = tuple(
        p.name for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY
    )
    hints = get_type_hints(function, include_extras=True)
    own = not function.__module__.startswith("karat.")
    for name, (theirs, ours) in _OWN.items() if own else ():
        if hints.get(name) in (theirs, theirs | None):
            hints[name] = ours if hints[name] == theirs else ours | None
    kind = _LEADING.get(positional)
    is_async = inspect.iscoroutinefunction(function)
    if kind is None or is_async != (kind == "row"):
        raise RecipeError(
            f"step '{function.__name__}' must be `async def f(row, ctx, *, …)`, "
            "`async def f(row, ctx, peers, *, …)`, "
            "`def f(table, ctx, *, …)` or `def f(ctx, *, …)`, its parameters after the `*`"
        )
    if kind == "row" and getattr(hints.get("return"), "__origin__", None) is list:
        kind = "fan"
    fields = [
        (p.name, hints.get(p.name, Any))
        if p.default is p.empty
        else (p.name, hints.get(p.name, Any), _default(p.default))
        for p in signature.parameters.values()
        if p.kind is p.KEYWORD_ONLY
    ]
    params = msgspec.defstruct(function.__name__, fields, kw_only=True, forbid_unknown_fields=True)
    return kind, params  # type: ignore[return-value]


def _default(value: Any) -> Any:
    """msgspec wants mutable defaults made anew for each use."""
    if isinstance(value, list | dict):
        return msgspec.field(default_factory=lambda: deepcopy(value))
    return value


def renamed(info: Any, value: Any, changes: Mapping[str, Callable[[str], Any]]) -> Any:
    """`value` with the strings changed whose type is marked as naming one of these kinds."""
    if isinstance(info, msgspec.inspect.Metadata):
        kind = (info.extra or {}).get("names", "")
        if kind == "grader":  # a reward, where it is not a verifier
            kind = "" if value in verifier_names() else "reward"
        change = changes.get(kind)
        if change is not None and isinstance(value, str):
            return change(value)
        return renamed(info.type, value, changes)
    if isinstance(info, msgspec.inspect.UnionType):
        for option in info.types:  # at most one of them fits: msgspec sees to that
            value = renamed(option, value, changes)
    elif isinstance(info, msgspec.inspect.CollectionType) and isinstance(value, list | tuple):
        return [renamed(info.item_type, item, changes) for item in value]
    elif isinstance(info, msgspec.inspect.DictType) and isinstance(value, dict):
        return {
            renamed(info.key_type, key, changes): renamed(info.value_type, item, changes)
            for key, item in value.items()
        }
    return value


@cache
def verifier_names() -> tuple[str, ...]:
    """Names of the verifiers karat ships; what a list of graders does not take for a reward."""
    folder = Path(__file__).with_name("verifiers")
    return tuple(sorted(p.stem for p in folder.glob("[!_]*.py") if p.stem != "base"))
