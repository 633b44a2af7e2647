"""YAML as version 1.2 reads it, into what JSON can hold, and text that reads as the same.

PyYAML follows YAML 1.1, where the key `on` is the boolean true, `1e-3` a word and `12:30` is 750;
all of them occur in recipes. A key written twice is an error: the second would silently win.
"""

from __future__ import annotations

import re
from typing import IO, Any

import yaml

from karat.errors import RecipeError

# What `load` raises for a text that is no YAML; also RecipeError, for a key written twice.
NotYaml = (yaml.YAMLError, ValueError, RecursionError)


def load(text: str | IO[str]) -> Any:
    """The value that a text or a file holds. Raises: one of NotYaml; RecipeError."""
    return yaml.load(text, _Loader)


def dump(tree: dict[str, Any]) -> str:
    """The text that `load` reads as this tree."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


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
