"""Answers that must follow a JSON schema, checked here whatever the service promises.

Services differ in how much of a schema they hold a model to, and a fallback may hold it to none.
So every answer is read and validated on this side; one that does not fit is asked for again with
its error in the conversation. That makes the retry another request, with a journal record of its
own: a run that is repeated replays both. Where an earlier run has used up all tries, the next one
goes on from there: what failed is tried again, and not found failed for ever.
Validator: `jsonschema-rs`, one wheel without dependencies and a hundred times as fast as
`jsonschema` (0.3 to 33 µs for a small answer).
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from karat.errors import RecipeError, RowError
from karat.models.chat import ChatRequest, Completion
from karat.models.loose_json import read_values
from karat.row import SEED_RANGE, Message
from karat.together import all_of

Ask = Callable[[ChatRequest], Awaitable[list[Completion]]]
SHOWN = 3  # errors of one answer that are told to the model
LONGEST = 400  # characters of an error that are told: it may quote the whole answer
_INTEGER = re.compile(r"-?(0|[1-9]\d*)")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
# Where a schema holds schemas: by name, in a list, or one.
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_ONES = (
    "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames",
    "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_OTHERS = (
    "type", "enum", "const", "required", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems",
    "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties",
    "dependentRequired", "format", "title", "description", "default", "example", "examples",
)  # fmt: skip
KEYWORDS = {*_MAPS, *_LISTS, *_ONES, *_OTHERS}


class Invalid(Exception):  # noqa: N818 - it is caught and told to the model, never shown as it is
    """An answer that does not fit; says why, in words a model can act on."""


class Parsed(msgspec.Struct):
    """A value that fits, and what had to be repaired to read it: nothing, as a rule."""

    value: Any
    repairs: tuple[str, ...] = ()


class Fitted(Completion):
    """An answer with its value. `repairs` says what of it was read otherwise than written."""

    repairs: tuple[str, ...] = ()


def check_schema(schema: Any) -> None:
    """Raises: RecipeError with what is wrong, before anything is spent."""
    if not isinstance(schema, dict):
        raise RecipeError(f"a schema is a mapping such as {{type: object}}, not {schema!r}")
    try:
        written = orjson.dumps(schema)
    except TypeError as error:
        raise RecipeError(f"schema: {error}") from None
    _check(written)


@lru_cache(maxsize=256)
def _check(written: bytes) -> None:
    """Once for each schema: a step asks with the same one for every row."""
    schema = orjson.loads(written)
    for part in _parts(schema):
        ref = part.get("$ref")
        if isinstance(ref, str) and not ref.startswith("#"):
            raise RecipeError(f"schema: '$ref: {ref}' leaves the schema; write it into $defs")
        for name in part:
            close = get_close_matches(str(name), KEYWORDS, n=1, cutoff=0.85)
            if close and name not in KEYWORDS:
                raise RecipeError(f"schema: no keyword '{name}'; did you mean '{close[0]}'?")
    try:
        _validator(written)
    except (TypeError, ValueError) as error:
        message = getattr(error, "message", str(error))
        where = _path(getattr(error, "instance_path", ()))
        raise RecipeError(f"schema, {where}: {_short(message)}") from None


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Every schema within a schema, itself among them."""
    if not isinstance(schema, dict):
        return
    yield schema
    inside = [schema.get(name) for name in _ONES]
    for name in _MAPS:
        found = schema.get(name)
        inside += found.values() if isinstance(found, dict) else ()
    for name in _LISTS:
        found = schema.get(name)
        inside += found if isinstance(found, list) else ()
    for part in inside:
        yield from _parts(part)


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    import jsonschema_rs  # 15 MB that most runs do without

    return jsonschema_rs.validator_for(orjson.loads(schema), offline=True)


def parse_answer(text: str, schema: Mapping[str, Any], finish_reason: str = "stop") -> Parsed:
    """The value an answer holds, strict JSON or what can only be meant by it.

    Where prose holds several values, the one that fits the schema is meant; two that fit are
    ambiguous. Raises: Invalid.
    """
    validator = _validator(orjson.dumps(schema))
    reason = ""
    cut = finish_reason == "length"
    for found in read_values(text, close=not cut):
        fitting: list[Parsed] = []
        for value, repairs in found:
            fitted, coerced, wrong = _fit(value, validator)
            if cut and type(fitted) in (int, float):
                wrong = "it was cut off, and the number may go on"
            if not wrong:
                fitting.append(Parsed(fitted, repairs + coerced))
            reason = reason or wrong
        if len({json.dumps(parsed.value, sort_keys=True) for parsed in fitting}) > 1:
            raise Invalid("it holds several JSON values that fit; write one")
        if fitting:
            return fitting[0]
    raise Invalid(reason or "it holds no JSON value")


def _fit(value: Any, validator: Any) -> tuple[Any, tuple[str, ...], str]:
    """(value, repairs, what is wrong with it): a word that can only be a number is made one."""
    try:
        errors = list(validator.iter_errors(value))
        coerced = False
        for error in errors:
            value, done = _coerce(value, error)
            coerced |= done
        if coerced:
            errors = list(validator.iter_errors(value))
        # Half a character and 1e999, which is read as infinity, fit a schema and no file.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (RecursionError, ValueError):
        return value, (), "it holds half a character, or a number or a depth that no JSON has"
    said = [f"{_path(error.instance_path)}: {_short(error.message)}" for error in errors[:SHOWN]]
    return value, ("type",) if coerced else (), "; ".join(said)


def _coerce(value: Any, error: Any) -> tuple[Any, bool]:
    """The value with the place of one error set right, and whether it was."""
    types = set(getattr(error.kind, "types", ())) - {"null"}
    text = error.instance
    if len(types) != 1 or not isinstance(text, str):
        return value, False
    (kind,) = types
    meant: Any = None
    if kind == "integer" and _INTEGER.fullmatch(text):
        meant = int(text)
    elif kind == "number" and _NUMBER.fullmatch(text):
        meant = int(text) if _INTEGER.fullmatch(text) else float(text)
    elif kind == "boolean" and text.lower() in ("true", "false"):
        meant = text.lower() == "true"
    if meant is None:
        return value, False
    *path, last = error.instance_path or [None]
    if last is None:
        return meant, True
    place = value
    for step in path:
        place = place[step]
    place[last] = meant
    return value, True


def _path(steps: Any) -> str:
    """Where in a value, as JSONPath writes it."""
    return "$" + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


async def chat_structured(
    ask: Ask, request: ChatRequest, attempts: int,
    earlier: Callable[[Completion], bool] = lambda answer: False,
) -> list[Completion]:  # fmt: skip
    """request.n answers that fit request.schema, in order, each a Fitted with its value.

    `ask` is the client's chat. One that calls a tool it was offered is given back as it is. Raises:
    RecipeError for a schema that is wrong, before anything is sent; RowError for an answer that is
    refused, or does not fit however often (`attempts` times, not counting those that an `earlier`
    run has used up) it is asked for; what `ask` raises.
    """
    check_schema(request.schema)
    answers = await ask(request)
    return await all_of(settle(ask, request, answer, attempts, earlier) for answer in answers)


async def settle(
    ask: Ask, request: ChatRequest, answer: Completion, attempts: int,
    earlier: Callable[[Completion], bool] = lambda answer: False,
) -> Completion:  # fmt: skip
    """One answer to the request, or what it is after it was asked for again; see chat_structured.

    Raises: RowError; what `ask` raises.
    """
    schema, index, tries = request.schema or {}, answer.index, 1
    seed = None if request.seed is None else (request.seed + index) % SEED_RANGE
    messages, most = request.messages, attempts
    while True:
        if answer.finish_reason == "content_filter":
            raise RowError(f"{answer.model} declined to answer: {_short(answer.content)!r}")
        if answer.tool_calls and request.tools:
            return answer
        try:
            parsed = parse_answer(answer.content, schema, answer.finish_reason)
        except Invalid as error:
            reason = _reason(answer, request, str(error))
        else:
            facts = msgspec.structs.asdict(answer)
            return Fitted(
                **{**facts, "value": parsed.value, "index": index}, repairs=parsed.repairs
            )
        if tries >= most and earlier(answer):
            most += attempts
        if tries >= most:
            raise RowError(
                f"the answer of {answer.model} does not fit the schema after {tries} "
                f"{'try' if tries == 1 else 'tries'}: {reason}"
            )
        messages, tries = _corrected(messages, answer.content, reason), tries + 1
        again = msgspec.structs.replace(request, messages=messages, n=1, seed=seed)
        (answer,) = await ask(again)


def _reason(answer: Completion, request: ChatRequest, reason: str) -> str:
    limit = f" of {request.max_tokens}" if request.max_tokens else ""
    if not answer.content.strip():
        spent = " but its thoughts; raise max_tokens or lower reasoning" if answer.reasoning else ""
        return f"it holds nothing{spent}"
    if answer.finish_reason == "length":
        return f"it was cut off at max_tokens{limit}; raise that, or ask for less"
    return reason


def _corrected(messages: tuple[Message, ...], content: str, reason: str) -> tuple[Message, ...]:
    """The conversation with the bad answer and what is wrong with it.

    An empty answer leaves no turn behind, which many services would refuse.
    """
    words = (
        f"That answer does not fit the JSON schema: {reason}. Answer again with one JSON value "
        "that fits it, and nothing else."
    )
    if content.strip():
        return (*messages, Message("assistant", content), Message("user", words))
    if messages and messages[-1].role == "user":
        return (*messages[:-1], Message("user", f"{messages[-1].content}\n\n{words}"))
    return (*messages, Message("user", words))
