"""msgspec's words on a mistake, in ours: where it is, what belongs there, the nearest spelling."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from karat.errors import did_you_mean


def explain(message: str, given: Any, kind: Any, label: str = "parameter '{}'") -> str:
    """msgspec's words on `given` this for that, turned into ours: "Expected `int` - at `$.n`"."""
    text, _, where = message.partition(" - at ")
    where = where.strip("`").removeprefix("$").lstrip(".")
    if text.startswith("Object contains unknown field"):
        info, path = msgspec.inspect.type_info(kind), re.findall(r"\w+|\.\.\.", where)
        key, known = text.split("`")[1], _keys(info, path)
        return f"{where}: no key '{key}'" + (f"; {did_you_mean(key, known)}" if known else "")
    if text.startswith("Expected `array") and isinstance(given.get(where), str):
        text += f"; write a list: [{given[where]}]"
    text = text.replace("`", "").replace("Expected", "expected", 1)
    return f"{label.format(where)}: {text}" if where else text


def _keys(info: Any, path: list[str]) -> list[str]:
    """The keys that a mapping at this path of a type may have."""
    if isinstance(info, msgspec.inspect.Metadata):
        return _keys(info.type, path)
    if isinstance(info, msgspec.inspect.UnionType):
        return [key for option in info.types for key in _keys(option, path)]
    fields = {field.encode_name: field.type for field in getattr(info, "fields", ())}
    if not path:
        return list(fields)
    item = getattr(info, "item_type", None) or getattr(info, "value_type", None)
    return _keys(fields.get(path[0], item), path[1:])
