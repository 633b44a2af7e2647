"""Finds the reward behind a recipe's entry: `embedded/helpsteer2`, or `{reward: judge/teacher, …}`.

A kind of reward is one module with `load(name, folder, *, …)`; a new file adds a new kind. Its
keyword-only parameters are the keys of the mapping, as a step's are, so that the two cannot drift.
A kind that asks a server takes a `spec`: the keys of a model (base_url, key_env, price, …) are its.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.models.services import Service
from karat.models.spec import ModelSpec, parse_model
from karat.rewards.base import Reward
from karat.row import canonical, is_finite
from karat.wording import explain

ALIASES = {"embedded": "head"}  # the heads karat ships are heads like any other
SPEC = "spec"
# What a model has and a server of scores has not.
NOT_OF_REWARDS = (
    "model", "wire", "role", "stream", "batch", "temperature", "top_p", "top_k", "min_p",
    "max_tokens", "presence_penalty", "frequency_penalty", "reasoning", "fallbacks",
)  # fmt: skip


@cache
def kinds() -> tuple[str, ...]:
    """What a reward's name may begin with: every module of this folder that defines `load`.

    They are read, not imported: one may need a package that only its own users install.
    """
    files = Path(__file__).parent.glob("*.py")
    found = {file.stem for file in files if file.stem != "load" and _defines_load(file)}
    return tuple(sorted({*found, *ALIASES}))


def _defines_load(file: Path) -> bool:
    body = ast.parse(file.read_bytes()).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "load" for node in body)


def load_reward(
    value: str | Mapping[str, Any], folder: Path, services: Mapping[str, Service] | None = None
) -> Reward:
    """The reward `kind/name`, or a mapping with `reward:` in it and its options.

    Relative paths are looked for in `folder`; `services` are a recipe's own. Raises: RecipeError.
    """
    tree = {"reward": value} if isinstance(value, str) else value
    options = {str(k): item for k, item in tree.items()} if isinstance(tree, Mapping) else {}
    written = options.pop("reward", None)
    if not isinstance(written, str):
        raise RecipeError(
            "write kind/name, such as embedded/helpsteer2, or a mapping with reward: in it, not "
            f"{value!r}"
        )
    kind, _, name = written.partition("/")
    if kind not in kinds() or not name:
        known = [f"{kind}/…" for kind in kinds()]
        near = did_you_mean(written, [*known, "embedded/helpsteer2"])
        raise RecipeError(f"no reward '{written}'; {near}")
    module = importlib.import_module(f"karat.rewards.{ALIASES.get(kind, kind)}")
    reward: Reward = module.load(name, folder, **_options(module, name, options, services))
    return reward


def _options(
    module: ModuleType, name: str, given: dict[str, Any], services: Mapping[str, Service] | None
) -> dict[str, Any]:
    """`given`, checked against the parameters of the module's `load`. Raises: RecipeError."""
    params = _params(module)
    own = [field.name for field in msgspec.structs.fields(params)]
    asks = SPEC in inspect.signature(module.load).parameters
    takes = ModelSpec.__struct_fields__ if asks else ()
    of_spec = [field for field in takes if field not in (*NOT_OF_REWARDS, *own)]
    for key in given:
        if key not in (*own, *of_spec):
            known = sorted((*own, *of_spec))
            near = did_you_mean(key, known) if known else "this kind of reward has no options"
            raise RecipeError(f"no key '{key}'; {near}")
    mine = {key: item for key, item in given.items() if key in own}
    try:
        found = msgspec.structs.asdict(msgspec.convert(mine, params))
        for key, item in found.items():
            if not is_finite(item):
                raise RecipeError(f"'{key}': must be a finite number")
        canonical(found)  # part of an identity, and of recipe.yaml
    except (msgspec.ValidationError, TypeError) as error:
        raise RecipeError(explain(str(error), mine, params)) from None
    if asks:
        tree = {key: item for key, item in given.items() if key not in own}
        found[SPEC] = parse_model(
            {"model": f"{module.SERVICE}/{name}", "role": "reward", **tree}, services
        )
    return found


@cache
def _params(module: ModuleType) -> type[msgspec.Struct]:
    """The options of a kind, as msgspec checks them."""
    hints = get_type_hints(module.load, include_extras=True)
    fields = [
        (p.name, hints[p.name]) if p.default is p.empty else (p.name, hints[p.name], p.default)
        for p in inspect.signature(module.load).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name != SPEC
    ]
    return msgspec.defstruct("options", fields, kw_only=True, forbid_unknown_fields=True)
