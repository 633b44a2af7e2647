"""Recipe files: YAML as version 1.2 reads it, overrides from the command line, steps by name.

PyYAML follows YAML 1.1, where the key `on` is the boolean true and `1e-3` is a word; both occur in
recipes. A key written twice is an error here: the second one would silently win.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from karat.errors import RecipeError, did_you_mean
from karat.step import StepCall, find

KEYS = ("name", "seed", "budget_usd", "models", "rewards", "steps", "export")
SHIPPED = Path(__file__).with_name("recipes")
WORDS = {dict: "a mapping", list: "a list", int: "a whole number"}


class at:  # noqa: N801  reads as a word in `with at("step 3"):`
    """Puts a place in front of the message of a RecipeError raised inside."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RecipeError):
            raise RecipeError(f"{self._where}: {error}") from None


def typed(value: Any, kind: type, key: str, where: str) -> Any:
    """The value, when it is of this kind. Raises: RecipeError."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RecipeError(f"{where}: {key} must be {WORDS[kind]}, got {value!r}")
    return value


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


def parse_step(item: Any, where: str, folder: Path) -> StepCall:
    """One item of `steps`, bound and checked. `where` names it in errors. Raises: RecipeError."""
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, dict) or len(item) != 1:
        raise RecipeError(f"{where}: write a step as `name: {{parameter: value}}`, got {item!r}")
    ((name, params),) = item.items()
    params = {} if params is None else params
    if not isinstance(params, dict):
        raise RecipeError(f"{where} '{name}': parameters are a mapping, got {params!r}")
    with at(where):
        found = find(str(name), folder)
    with at(f"{where} '{name}'"):
        return found(**{str(key): value for key, value in params.items()})


class _Loader(yaml.SafeLoader):
    """Safe YAML with 1.2's booleans and floats, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen:
                line = key_node.start_mark.line + 1
                raise RecipeError(f"line {line}: the key '{key}' is written twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


_BOOL, _TIME = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"


def _yaml_1_2() -> dict[str, list[tuple[str, Any]]]:
    """PyYAML's table of what a plain word may be, by its first character, mended."""
    table = {
        first: [rule for rule in rules if rule[0] not in (_BOOL, _TIME)]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "tTfF":
        table.setdefault(first, []).append((_BOOL, re.compile(r"(true|false)$", re.I)))
    exponent = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    for first in "-+.0123456789":
        table.setdefault(first, []).insert(0, ("tag:yaml.org,2002:float", exponent))
    return table


_Loader.yaml_implicit_resolvers = _yaml_1_2()


def parse(path: Path) -> dict[str, Any]:
    """The file's top-level mapping. Raises: RecipeError."""
    try:
        with path.open(encoding="utf-8") as stream, at(str(path)):
            tree = yaml.load(stream, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return dict(typed(tree, dict, "the file", str(path)))


def override(tree: dict[str, Any], text: str) -> None:
    """Applies one `key=value`: `seed=3`, `models.teacher.concurrency=8`, `respond.n=2`.

    A step's name stands for the parameters of the first step of that name. Raises: RecipeError.
    """
    key, equals, raw = text.partition("=")
    if not equals:
        raise RecipeError(f"--set {text}: write key=value, for example --set respond.n=2")
    with at(f"--set {text}"):
        *parents, last = key.strip().split(".")
        _place(tree, parents)[last] = _value(raw)


def _value(raw: str) -> Any:
    try:
        return yaml.load(raw, _Loader)
    except yaml.YAMLError:
        return raw  # a word with YAML's own signs in it, such as a URL or a template


def _place(tree: dict[str, Any], parents: list[str]) -> dict[str, Any]:
    """The mapping an override writes into."""
    if not parents:
        return tree
    first, *rest = parents
    steps = tree.get("steps") or []
    names = [next(iter(item)) if isinstance(item, dict) else item for item in steps]
    if first in names:
        position = names.index(first)
        item = steps[position]
        place = (item[first] if isinstance(item, dict) else None) or {}
        steps[position] = {first: place}
    elif first in ("models", "rewards"):
        place = tree.setdefault(first, {})
    else:
        raise RecipeError(f"no '{first}'; {did_you_mean(first, ['models', 'rewards', *names])}")
    for name in rest:
        inner = place.get(name, {})
        place[name] = inner if isinstance(inner, dict) else {"model": inner}
        place = place[name]
    return place
