"""msgspec's words on a mistake, in ours: where it is, what belongs there, the nearest spelling.

What a type takes is said in one way, in a message and on a step's page. A value that is plainly of
another type than one word names keeps msgspec's short words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

from karat.errors import did_you_mean

MOST_DIGITS = 6
SHOWN = 40  # characters of a wrong value
# What a marked string names (karat.step), as one and as many.
_NAMED = {
    "model": ("a model", "models"),
    "reward": ("a reward", "rewards"),
    "grader": ("a verifier or a reward", "verifiers or rewards"),
    "score": ("a score", "scores"),
    "dataset": ("a data set", "data sets"),
    "path": ("a file or folder", "files or folders"),
}
_PLAIN: tuple[tuple[type, str, str], ...] = (
    (inspect.StrType, "text", "texts"),
    (inspect.BoolType, "true or false", "true or false"),
    (inspect.NoneType, "null", "null"),
    (inspect.StructType, "a mapping", "mappings"),
    (inspect.AnyType, "anything", "anything"),
)
_LISTS = (inspect.ListType, inspect.VarTupleType, inspect.SetType)
_NUMBERS = (inspect.IntType, inspect.FloatType)


# --- what a type takes ---------------------------------------------------------------------------


def described(info: Any, *, many: bool = False) -> str:
    """What a type of msgspec.inspect takes: "a whole number from 1", "a list of models or null".

    With `many` of them: "whole numbers from 1", "lists of models or null".
    """
    if isinstance(info, inspect.Metadata):
        named = _NAMED.get((info.extra or {}).get("names", ""))
        return named[many] if named else described(info.type, many=many)
    if isinstance(info, inspect.UnionType):
        # As a sentence reads best, whatever their order: words last, then null.
        last = (inspect.LiteralType, inspect.NoneType)
        ordered = sorted(info.types, key=lambda o: last.index(type(o)) if type(o) in last else -1)
        return _or([described(option, many=many) for option in ordered])
    if isinstance(info, inspect.LiteralType):
        values = [str(value) or "''" for value in info.values]
        among = ", ".join(values)
        return among if len(values) == 1 else f"{'any' if many else 'one'} of {among}"
    if isinstance(info, inspect.IntType | inspect.FloatType):
        noun = "whole number" if isinstance(info, inspect.IntType) else "number"
        return f"{noun}s{_range(info)}" if many else f"a {noun}{_range(info)}"
    if isinstance(info, _LISTS):
        return f"{'lists' if many else 'a list'} of {described(info.item_type, many=True)}"
    if isinstance(info, inspect.DictType):
        keys, values_ = (described(one, many=True) for one in (info.key_type, info.value_type))
        return f"{'mappings' if many else 'a mapping'} of {keys} to {values_}"
    for kind, one, several in _PLAIN:
        if isinstance(info, kind):
            return several if many else one
    return "values" if many else "a value"


def _or(parts: Sequence[str]) -> str:
    """The alternatives; a comma before the last of three, or where one has parts of its own."""
    *others, last = parts
    if not others:
        return last
    comma = "," if len(others) > 1 or re.search(r",| or |mapping", "\n".join(parts)) else ""
    return f"{', '.join(others)}{comma} or {last}"


def _range(info: Any) -> str:
    """Where a number may lie: " from 0.3 to 1", " above 0 and up to 1", or nothing."""
    low = "" if info.ge is None else f" from {info.ge:,.12g}"
    low = low if info.gt is None else f" above {info.gt:,.12g}"
    high = "" if info.le is None else f" up to {info.le:,.12g}"
    high = high if info.lt is None else f" below {info.lt:,.12g}"
    if info.ge is not None and high:
        return f"{low} to{high.removeprefix(' up to')}"
    return f"{low} and{high}" if low and high else low + high


# --- what is wrong -------------------------------------------------------------------------------


def below(value: float, limit: float) -> str:
    """A score with two decimals, or as many more as show that it is below `limit`."""
    digits = next((d for d in range(2, MOST_DIGITS) if round(value, d) < limit), MOST_DIGITS)
    return f"{value:.{digits}f}"


def explain(message: str, given: Any, kind: Any, label: str = "parameter '{}'") -> str:
    """msgspec's words on `given` this for that, turned into ours: "Expected `int` - at `$.n`".

    A place inside a user's own mapping comes after the label, by its key: "parameter 'novelty':
    words: expected a number from 0.3 to 1, got 3".
    """
    text, _, where = message.partition(" - at ")
    in_key, path = where.startswith("`key`"), re.findall(r"\w+|\.\.\.", where.partition("$")[2])
    info = inspect.type_info(kind)
    options = [option for one in _at(info, path) for option in _options(one)]
    place = _located(message, given, kind, path)
    inner = path.index("...") if "..." in path else len(path)
    head = f"{label.format(_spelt(place[:inner]))}: " if inner else ""
    head += f"{_spelt(place[inner:])}: " if path[inner:] else ""
    if text.startswith("Object contains unknown field"):
        key = text.split("`")[1]
        known = [f.encode_name for option in options for f in getattr(option, "fields", ())]
        outer = f"{_spelt(place)}: " if place else ""
        return f"{outer}no key '{key}'" + (f"; {did_you_mean(key, known)}" if known else "")
    value = _look(given, place)
    if in_key:
        keys = [o.key_type for o in options if isinstance(o, inspect.DictType)]
        return head + _wrong_key(_culprit(message, given, kind, place), keys)
    mapped = (inspect.LiteralType, inspect.DictType, inspect.StructType)
    text = text.replace("`", "").replace("Expected", "expected", 1).replace(" | null", "")
    plain = "|" not in text and inner == len(path)
    if plain and not any(isinstance(option, mapped) for option in options):
        return head + text + (_nearest(value, options) if "array" in text else "")
    if not text.startswith(("expected", "Invalid enum")):
        return head + text
    wanted = _or([described(one) for one in _at(info, path)] or ["another value"])
    return f"{head}expected {wanted}, got {_got(value)}{_nearest(value, options)}"


def _wrong_key(key: Any, types: Sequence[Any]) -> str:
    known = [value for one in types for value in getattr(one, "values", ())]
    if not known or not isinstance(key, str):
        wanted = _or([described(one) for one in types] or ["text"])
        return f"expected {wanted} as a key, got {_got(key)}"
    near = get_close_matches(key, known, 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"no key '{key}' among {', '.join(known)}{hint}"


def _nearest(value: Any, options: Sequence[Any]) -> str:
    """The end of a message: what somebody who wrote this may have meant, or nothing."""
    if not isinstance(value, str):
        lists = [o for o in options if isinstance(o, _LISTS)]
        numbers = [isinstance(i, _NUMBERS) for o in lists for i in _options(o.item_type)]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return f"; write a list: [{value}]" if number and any(numbers) else ""
    words = [v for o in options if isinstance(o, inspect.LiteralType) for v in o.values]
    if near := get_close_matches(value, map(str, words), 1):
        return f"; did you mean '{near[0]}'?"
    items = [i for o in options if isinstance(o, _LISTS) for i in _options(o.item_type)]
    words = [v for i in items if isinstance(i, inspect.LiteralType) for v in i.values]
    if value in words or any(isinstance(item, inspect.StrType) for item in items):
        return f"; write a list: [{value}]"
    near = get_close_matches(value, map(str, words), 1)
    return f"; did you mean [{near[0]}]?" if near else ""


def _got(value: Any) -> str:
    """A wrong value, short."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    shown = repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]} …"


# --- where it is ---------------------------------------------------------------------------------


def _options(info: Any) -> Iterator[Any]:
    """The types that a union is of, without their marks; of another type, that type."""
    if isinstance(info, inspect.Metadata):
        yield from _options(info.type)
    elif isinstance(info, inspect.UnionType):
        for option in info.types:
            yield from _options(option)
    else:
        yield info


def _at(info: Any, path: Sequence[str]) -> list[Any]:
    """The types that may stand at msgspec's path: a field's name, a number in a list, or "..."."""
    if not path:
        return [info]
    found: list[Any] = []
    for option in _options(info):
        if path[0] == "...":
            item = getattr(option, "value_type", None)
        elif path[0].isdecimal():
            item = getattr(option, "item_type", None)
        else:
            fields = getattr(option, "fields", ())
            item = next((f.type for f in fields if f.encode_name == path[0]), None)
        found += _at(item, path[1:]) if item is not None else []
    return found


def _located(message: str, given: Any, kind: Any, path: Sequence[str]) -> list[Any]:
    """msgspec's path with the keys that it leaves out."""
    place: list[Any] = []
    for part in path:
        if part == "...":
            place.append(_culprit(message, given, kind, place))
        else:
            place.append(int(part) if part.isdecimal() else part)
    return place


def _culprit(message: str, given: Any, kind: Any, place: list[Any]) -> Any:
    """The key of the mapping at this place that alone brings the same message about."""
    mapping = _look(given, place)
    for key, value in mapping.items() if isinstance(mapping, dict) else ():
        try:
            msgspec.convert(_replaced(given, place, {key: value}), kind)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return key
    return "..."


def _replaced(value: Any, place: Sequence[Any], new: Any) -> Any:
    """A copy of the value with something else at this place."""
    if not place:
        return new
    first, *rest = place
    if isinstance(value, dict):
        return {**value, first: _replaced(value[first], rest, new)}
    return [_replaced(v, rest, new) if n == first else v for n, v in enumerate(value)]


def _look(value: Any, place: Sequence[Any]) -> Any:
    """What stands at a place; None where it cannot be reached."""
    for part in place:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _spelt(place: Sequence[Any]) -> str:
    """A place as a user writes it: price.input, models[1]."""
    said = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return said.removeprefix(".")
