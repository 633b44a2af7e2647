"""json: whether a response is JSON, and of the form that its row asks for.

As RFC 8259 has it, and no more: no comments, no trailing commas, no NaN, no text after the value.
Where readers do not agree a text is refused as well: two members of one name, a number beyond a
double's range, over 1,000 levels. What a lenient reader could still make of a text is no question
here: a program will read the answer.

Source: RFC 8259 §4; the schema language is JSON Schema, by jsonschema-rs.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import orjson

from karat.verifiers._fences import given
from karat.verifiers.base import Item, Verdict

NEEDS: tuple[str, ...] = ()  # `schema` where there is one
EXTRA = ""

SHOWN = 200  # characters of an error that are told


class _DuplicateError(ValueError):
    """One name, two members."""


def verify(item: Item, *, fenced: bool = True) -> Verdict:
    """True for JSON that fits `meta["schema"]`, if the row brings a schema.

    The value is the whole response or, unless `fenced` is false, its last block of JSON. No verdict
    where the schema is none or refers to documents elsewhere: nothing is fetched.
    """
    text = item.response.strip()
    if fenced and not text.startswith(("{", "[", '"')):
        text = given(text, ("json", "jsonc", "json5"))
    if not text:
        return Verdict(False, "no JSON in the response")
    try:
        value = orjson.loads(text)
        json.loads(text, object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except _DuplicateError as error:
        return Verdict(False, str(error))
    except (ValueError, UnicodeEncodeError) as error:
        return Verdict(False, f"not JSON: {error}"[:SHOWN])
    except RecursionError:
        return Verdict(None, "nested too deep to be checked")
    schema = item.meta.get("schema")
    if schema is None:
        return Verdict(True)
    try:
        validator = _validator(schema if isinstance(schema, str) else orjson.dumps(schema).decode())
    except (ValueError, TypeError) as error:
        return Verdict(None, f"the row's schema cannot be used: {error}"[:SHOWN])
    misfit = next(validator.iter_errors(value), None)
    if misfit is None:
        return Verdict(True)
    where = "".join(f"[{part!r}]" for part in misfit.instance_path)
    return Verdict(False, f"{where}: {misfit.message}"[:SHOWN].removeprefix(": "))


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise _DuplicateError(f"two members are named {name!r}"[:SHOWN])
        names.add(name)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """Built once per schema. Raises: ValueError."""
    import jsonschema_rs  # 15 MB that most runs do without

    return jsonschema_rs.validator_for(orjson.loads(schema), offline=True)
