"""What the command line changes in a recipe: `--set seed=3`, `--set respond.n=2`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from karat import yaml12
from karat.errors import RecipeError, did_you_mean
from karat.recipefile import at, called, checked, find_recipe, parse, typed


def overridden(source: str | Path, overrides: Sequence[str] = ()) -> tuple[Path, dict[str, Any]]:
    """The file of a recipe, or of one that ships, and what it holds with these values changed.

    Raises: RecipeError.
    """
    path = find_recipe(source)
    tree = checked(parse(path), called(path))
    for text in overrides:
        override(tree, text)
    return path, checked(tree, called(path))  # an override can put anything anywhere


def override(tree: dict[str, Any], text: str) -> None:
    """Applies one `key=value` to a checked tree: `seed=3`, `respond.n=2`.

    A step's name stands for the parameters of the first step of that name. Raises: RecipeError.
    """
    key, equals, raw = text.partition("=")
    if not equals:
        raise RecipeError(f"--set {text}: write key=value, for example --set respond.n=2")
    with at(f"--set {text}"):
        names = key.strip().split(".")
        if len(names) > 1 and names[0] in ("models", "rewards"):
            _check_named(tree, *names[:2])
        _place(tree, names[:-1])[names[-1]] = _value(raw)


def _check_named(tree: dict[str, Any], kind: str, name: str) -> None:
    """Raises: RecipeError for a model or a reward that the recipe names nowhere: a run would go on
    with the ones it has."""
    held = tree.get(kind) or {}
    if name not in held and name not in set(_texts([tree["steps"], tree.get("rewards") or {}])):
        raise RecipeError(f"nothing here is called '{name}'; {did_you_mean(name, held)}")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a tree, wherever it stands."""
    if isinstance(value, str):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _texts(one)


def _value(raw: str) -> Any:
    try:
        return yaml12.load(raw)
    except yaml12.NotYaml:
        return raw  # a word with YAML's own signs in it, such as a URL or a template


def _place(tree: dict[str, Any], parents: list[str]) -> dict[str, Any]:
    """The mapping an override writes into."""
    if not parents:
        return tree
    first, *rest = parents
    names = [next(iter(item)) for item in tree["steps"]]
    if first in names:
        place: dict[str, Any] = tree["steps"][names.index(first)][first]
    elif first in ("models", "rewards"):
        place = tree.setdefault(first, {})
    else:
        raise RecipeError(f"no '{first}'; {did_you_mean(first, ['models', 'rewards', *names])}")
    for depth, name in enumerate(rest):
        inner = place.get(name) or {}
        if first == "models" and depth == 0:
            if isinstance(inner, list):  # a model and those that stand in for it
                return _listed(place, name, inner, rest[1:], ".".join(parents))
            inner = {"model": inner} if isinstance(inner, str) else inner
        elif first == "rewards" and depth == 0 and isinstance(inner, str):
            inner = {"reward": inner}
        # A copy: by an anchor, another place of the file may hold the same mapping.
        place[name] = dict(typed(inner, dict, name, ".".join(parents)))
        place = place[name]
    return place


def _listed(
    models: dict[str, Any], name: str, route: list[Any], rest: list[str], where: str
) -> dict[str, Any]:
    """The place in one model of a list, which its number names, from 0."""
    if not rest or not rest[0].isdecimal() or int(rest[0]) >= len(route):
        raise RecipeError(
            f"{where}: '{name}' is a list of {len(route)} models; name one by its number, such as "
            f"models.{name}.0.concurrency=8"
        )
    number = int(rest[0])
    held = route[number]
    held = {"model": held} if isinstance(held, str) else typed(held, dict, rest[0], where)
    models[name] = [*route[:number], place := dict(held), *route[number + 1 :]]
    for key in rest[1:]:
        place[key] = dict(typed(place.get(key) or {}, dict, key, where))
        place = place[key]
    return place
