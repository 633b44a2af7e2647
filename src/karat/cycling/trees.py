"""A recipe's tree as a cycle needs it: whose place students take, what is left out of rounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karat.errors import RecipeError, did_you_mean
from karat.models.spec import parse_model
from karat.recipe import Recipe
from karat.rundir import write_atomic
from karat.yaml12 import dump


def slot_of(recipe: Recipe, asked: str | None) -> str:
    """The model that every round sets anew. Raises: RecipeError."""
    named = list(dict.fromkeys(name for call in recipe.steps for _, name in call.named("model")))
    if asked is not None and asked not in named:
        raise RecipeError(f"no step asks a model '{asked}'; {did_you_mean(asked, named)}")
    if asked is None and "teacher" not in named and len(named) != 1:
        raise RecipeError(
            f"which model do students replace? --teacher NAME; the steps ask {', '.join(named)}"
            if named else "no step asks a model, so no student could take its place"
        )  # fmt: skip
    slot = asked or ("teacher" if "teacher" in named else named[0])
    if recipe.models[slot].fallbacks:
        raise RecipeError(f"'{slot}' has fallbacks, which would answer in a student's place")
    return slot


def without_mix(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(the recipe as a tree, less its step that mixes human rows in; that step's parameters).

    Human rows are mixed in once, over all rounds: mixed into each, the same ones would be
    duplicates of each other, and their share would fall as rounds add up.
    """
    tree = recipe.resolved()
    mixes = [item for item in tree["steps"] if (item.get("mix") or {}).get("human")]
    if len(mixes) > 1:
        raise RecipeError("two steps mix human rows in; keep one of them")
    if not mixes:
        return tree, None
    params = dict(mixes[0]["mix"])
    if params["previous"]:
        raise RecipeError("mix: leave previous out: a cycle adds its rounds up by itself")
    tree["steps"].remove(mixes[0])
    return tree, params


def written(tree: dict[str, Any], file: Path) -> Recipe:
    """The recipe, by way of the file that shows it. Raises: RecipeError."""
    write_atomic(file, dump(tree).encode())
    return Recipe.load(file)


def identity_of(tree: Mapping[str, Any] | str) -> str:
    """What tells a model of a resolved recipe from others."""
    return parse_model(tree).identity()
