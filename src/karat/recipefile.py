"""Recipe files: where they are, what they hold as plain values, and steps by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karat import places, yaml12
from karat.errors import RecipeError, did_you_mean
from karat.step import StepCall, find

KEYS = (
    "name", "seed", "exactly", "budget_usd", "rights", "folder", "providers", "models", "rewards",
    "steps", "export",
)  # fmt: skip
KINDS = {"providers": dict, "models": dict, "rewards": dict, "steps": list, "export": list}
LONGEST_NAME = 255  # bytes; of ext4, XFS, APFS and most others
SHIPPED = Path(__file__).with_name("recipes")
MOST_VALUES = 1_000_000  # of a file, its aliases spelled out
WORDS = {dict: "a mapping", list: "a list", int: "a whole number", str: "text"}


# The parameter that a list in place of a step's mapping stands for: grade: [math, helpsteer2].
LISTED = {"grade": "route", "verify": "checks"}


@contextmanager
def at(where: str) -> Iterator[None]:
    """Puts a place in front of the message of a RecipeError raised inside."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None


def typed(value: Any, kind: type, key: str, where: str) -> Any:
    """The value, when it is of this kind. Raises: RecipeError."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RecipeError(f"{where}: {key} must be {WORDS[kind]}, got {value!r}")
    return value


def name_of(value: Any, where: str) -> str:
    """A recipe's name, which names a folder as well. Raises: RecipeError."""
    name: str = typed(value, str, "name", where)
    if not re.fullmatch(r"[\w.=-]+", name) or ".." in name or name == ".":
        raise RecipeError(
            f"{where}: name must be of letters, digits, '.', '_' and '-', with no '..', "
            f"got {name!r}: the run's folder is called so"
        )
    if len(name.encode()) > LONGEST_NAME:
        raise RecipeError(f"{where}: name is longer than the name of a folder may be")
    return name


def labelled(names: Iterable[str]) -> list[str]:
    """Step names, a repeated one numbered: respond, respond_2."""
    seen: dict[str, int] = {}
    labels = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        labels.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return labels


def written_steps(tree: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(name, parameters) of each step of a recipe as `parse` reads it; what is no step there, in a
    file that anybody may have written, has no parameters."""
    listed = tree.get("steps")
    found: list[tuple[str, dict[str, Any]]] = []
    for item in listed if isinstance(listed, list) else ():
        name, params = item, None
        if isinstance(item, dict) and len(item) == 1:
            ((name, params),) = item.items()
        found.append((str(name), params if isinstance(params, dict) else {}))
    return found


def check_readable(parameter: str, path: Path, key: str = "", *, urls: bool = True) -> None:
    """Raises: RecipeError for a file or folder that a step cannot read. `key` is what --set calls
    the parameter, where it can; with `urls` it may be at a URL."""
    if places.is_remote(path) and not urls:
        raise RecipeError(f"{parameter} must be on this machine, got {path}; copy it here")
    try:
        there = places.exists(path)
    except OSError as error:
        raise RecipeError(f"{parameter}: cannot read {path}: {places.shown(error)}") from None
    if not there:
        another = f"--set {key}=…" if key else "name another"
        raise RecipeError(f"{parameter}: no file or folder {path}; make it, or {another}")
    if not places.is_remote(path) and not os.access(path, os.R_OK):
        raise RecipeError(f"{parameter}: cannot read {path}; check its permissions")


def name_of_file(path: Path) -> str:
    """What a recipe that says no name is called."""
    name = re.sub(r"\.\.+|[^\w.=-]+", "-", path.stem)
    return "-" if name == "." else name


def find_recipe(source: str | Path) -> Path:
    """The file of a recipe given by path, or by the name of one karat ships."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    shipped = SHIPPED / f"{source}.yaml"
    if shipped.is_file():
        return shipped
    names = [p.stem for p in SHIPPED.glob("*.yaml")]
    near = did_you_mean(str(source), names)
    raise RecipeError(f"no recipe file {path}, and karat ships none of that name; {near}")


def called(path: Path) -> str:
    """What messages call a recipe's file: one that ships by its name."""
    return f"recipe '{path.stem}'" if path.parent == SHIPPED else str(path)


def checked(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """The tree with every key of a known name and kind, every step as `{name: {…}}`.

    What it holds may be changed without changing `tree`. Raises: RecipeError.
    """
    for key in tree:
        if key not in KEYS:
            raise RecipeError(f"{where}: no key '{key}'; {did_you_mean(str(key), KEYS)}")
    found = dict(tree)
    for key, kind in KINDS.items():
        value = tree.get(key)
        if value is not None:
            found[key] = kind(typed(value, kind, key, where))
        elif key in tree or key == "steps":
            found[key] = kind()
    if "folder" in tree:
        typed(tree["folder"], str, "folder", where)
    found["steps"] = [
        dict([_named_params(item, f"{where}, step {number}")])
        for number, item in enumerate(found["steps"], 1)
    ]
    return found


def _named_params(item: Any, where: str) -> tuple[str, dict[str, Any]]:
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, dict) or len(item) != 1:
        raise RecipeError(f"{where}: write a step as `name: {{parameter: value}}`, got {item!r}")
    ((name, params),) = item.items()
    params = {} if params is None else params
    if isinstance(params, list) and name in LISTED:
        params = {LISTED[name]: params}
    if not isinstance(params, dict):
        raise RecipeError(
            f"{where} '{name}': parameters are a mapping, got {params!r}; "
            f"write {name}: {{parameter: value}}, and `karat steps {name}` lists what it takes"
        )
    return str(name), {str(key): value for key, value in params.items()}


def parse_step(item: dict[str, Any], where: str, folder: Path) -> StepCall:
    """One item of a checked tree's `steps`, bound. `where` names it in errors.

    Raises: RecipeError.
    """
    ((name, params),) = item.items()
    with at(where):
        found = find(name, folder)
    with at(f"{where} '{name}'"):
        return found(**params)


def parse(path: Path) -> dict[str, Any]:
    """The file's top-level mapping. Raises: RecipeError."""
    try:
        with path.open(encoding="utf-8") as stream, at(str(path)):
            tree = yaml12.load(stream)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from None
    except yaml12.NotYaml as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if _grows(tree):
        raise RecipeError(
            f"{path}: its aliases (&name, *name) spell out more than {MOST_VALUES:,} values; write "
            "them where they are used"
        )
    return dict(typed(tree, dict, "the file", str(path)))


def _grows(tree: Any) -> bool:
    """Whether aliases of aliases make a few lines more values than any recipe has, or no end."""
    waiting, seen = [tree], 0
    while waiting:
        one = waiting.pop()
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        seen += len(inner)
        if seen > MOST_VALUES:
            return True
        waiting.extend(inner)
    return False
