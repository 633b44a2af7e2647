"""What a server is told to serve: models, rewards and keys by name, as a recipe writes them.

A recipe file will do as it is: its models and rewards are served, its steps are nobody's business
here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.models.placing import placed
from karat.models.services import Service, parse_service
from karat.models.spec import ModelSpec, parse_model
from karat.recipefile import KEYS, at, find_recipe, parse, typed
from karat.wording import explain

SERVED = ("folder", "providers", "models", "rewards", "keys", "budget_usd")
LEAST_SECRET = 32  # characters of a key that a config names


class KeyTerms(msgspec.Struct, forbid_unknown_fields=True):
    """A virtual key of a config. `key_env` is the variable that holds it, `models` are patterns of
    what it may use (all where it says none)."""

    key_env: str
    budget_usd: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    models: tuple[str, ...] | None = None

    def secret(self) -> str:
        """Raises: RecipeError for a variable that is not set, or holds too little."""
        found = os.environ.get(self.key_env, "").strip()
        if not found:
            raise RecipeError(f"the variable {self.key_env} is not set; export the key in it")
        if len(found) < LEAST_SECRET or not (found.isascii() and found.isprintable()):
            raise RecipeError(
                f"the key in {self.key_env} must have {LEAST_SECRET} characters or more, all ASCII"
            )
        return found


class Config(msgspec.Struct):
    """Models and rewards by the names they are asked for."""

    models: dict[str, ModelSpec] = {}
    rewards: dict[str, Any] = {}
    providers: dict[str, Service] = {}
    keys: dict[str, KeyTerms] = {}
    folder: Path = Path()
    budget_usd: float | None = None


def load(source: str | Path) -> Config:
    """A config file, a recipe file, or a recipe that karat ships. Raises: RecipeError."""
    path = find_recipe(source)
    where = str(path)
    tree = parse(path)
    known = sorted({*SERVED, *KEYS})
    for key in tree:
        if key not in known:
            raise RecipeError(f"{where}: no key '{key}'; {did_you_mean(str(key), SERVED)}")
    for key in ("providers", "models", "rewards", "keys"):
        if tree.get(key) is not None:
            typed(tree[key], dict, key, where)
    made = Config(
        folder=path.absolute().parent / typed(tree.get("folder", "."), str, "folder", where)
    )
    with at(where):
        made.providers = {k: parse_service(k, v) for k, v in (tree.get("providers") or {}).items()}
    for name, value in (tree.get("models") or {}).items():
        with at(f"{where}, model '{name}'"):
            spec = placed(parse_model(value, made.providers), lambda p: made.folder / p)
            spec.check_written()
            made.models[str(name)] = spec
    made.rewards = {str(k): v for k, v in (tree.get("rewards") or {}).items()}
    for name in made.rewards:
        if name in made.models:
            raise RecipeError(f"{where}: '{name}' is a model and a reward; rename one")
    for name, value in (tree.get("keys") or {}).items():
        with at(f"{where}, key '{name}'"):
            made.keys[str(name)] = _terms(value)
    if "steps" not in tree:  # a recipe's budget is that of a run
        made.budget_usd = _budget(tree.get("budget_usd"), where)
    return made


def _terms(value: Any) -> KeyTerms:
    if not isinstance(value, dict):
        raise RecipeError("write key_env and, if wanted, budget_usd and models as a mapping")
    for key in value:
        if key not in KeyTerms.__struct_fields__:
            near = did_you_mean(str(key), KeyTerms.__struct_fields__)
            raise RecipeError(f"no key '{key}'; {near}")
    try:
        return msgspec.convert(value, KeyTerms)
    except msgspec.ValidationError as error:
        raise RecipeError(explain(str(error), value, KeyTerms, "{}")) from None


def _budget(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
        raise RecipeError(f"{where}: budget_usd must be a number above 0, got {value!r}")
    return float(value)
