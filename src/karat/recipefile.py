"""Recipe files: YAML as version 1.2 reads it, overrides from the command line, steps by name.

PyYAML follows YAML 1.1, where the key `on` is the boolean true, `1e-3` a word and `12:30` is 750;
all of them occur in recipes. A key written twice is an error: the second would silently win.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from karat import places
from karat.errors import RecipeError, did_you_mean
from karat.step import StepCall, find

KEYS = (
    "name", "seed", "exactly", "budget_usd", "rights", "folder", "providers", "models", "rewards",
    "steps", "export",
)  # fmt: skip
KINDS = {"providers": dict, "models": dict, "rewards": dict, "steps": list, "export": list}
LONGEST_NAME = 255  # bytes; of ext4, XFS, APFS and most others
SHIPPED = Path(__file__).with_name("recipes")
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


class _Loader(yaml.SafeLoader):
    """Safe YAML with the plain words of 1.2's core schema, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # PyYAML refuses it, in its own words
            key = key_node.value
            if key in seen:
                line = key_node.start_mark.line + 1
                raise RecipeError(f"line {line}: the key '{key}' is written twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """What `<<` brings in, each key once: mappings merged twice into mappings that are merged
        twice would be of as many keys as there are grains on a chessboard."""
        super().flatten_mapping(node)
        last: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        for pair in node.value:
            plain = isinstance(pair[0], yaml.ScalarNode)
            last[(pair[0].tag, pair[0].value) if plain else id(pair[0])] = pair
        node.value = list(last.values())

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)

    def construct_word(self, node: yaml.ScalarNode) -> Any:
        """A value whose kind was written as a tag: `!!bool maybe` is none."""
        kind = node.tag.rpartition(":")[2]
        if not re.match(_WORDS_OF_YAML[kind][0], self.construct_scalar(node)):
            where = node.start_mark
            raise yaml.constructor.ConstructorError(None, None, f"no {kind}: {node.value!r}", where)
        return yaml.SafeLoader.yaml_constructors[node.tag](self, node)


MOST_VALUES = 1_000_000  # of a file, its aliases spelled out
_BREAKS = re.compile(r"[\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """Puts into quotes what a reader of either version would not read as the same text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # Line breaks of 1.1 that single quotes would let be read as a space.
        return self.represent_scalar(
            "tag:yaml.org,2002:str", text, style='"' if _BREAKS.search(text) else None
        )


# Source: YAML 1.2.2, section 10.3.2, and `<<`, which 1.2 left out and files still use.
_WORDS_OF_YAML = {
    "null": (r"(?:~|null|Null|NULL|)$", ["", *"~nN"]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)$", [*"tTfF"]),
    "int": (r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", [*"-+0123456789"]),
    "float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        [*"-+.0123456789"],
    ),
    "merge": (r"<<$", ["<"]),
}
_Loader.yaml_implicit_resolvers = {}  # none of 1.1's
for _name, (_pattern, _first) in _WORDS_OF_YAML.items():
    for _reader in (_Loader, _Dumper):
        _reader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), _first)
_Dumper.add_representer(str, _Dumper.represent_text)
# The kinds of 1.2's core schema and no others: 1.1's sets, dates and pairs are no JSON.
_Loader.yaml_constructors = {
    tag: made for tag, made in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in ("null", "str", "seq", "map")
}  # fmt: skip
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
for _name in ("bool", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _Loader.construct_word)


def parse(path: Path) -> dict[str, Any]:
    """The file's top-level mapping. Raises: RecipeError."""
    try:
        with path.open(encoding="utf-8") as stream, at(str(path)):
            tree = yaml.load(stream, _Loader)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
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


def dump(tree: dict[str, Any]) -> str:
    """The text that `parse` reads as this tree."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def override(tree: dict[str, Any], text: str) -> None:
    """Applies one `key=value` to a checked tree: `seed=3`, `respond.n=2`.

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
    except (yaml.YAMLError, ValueError, RecursionError):
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
