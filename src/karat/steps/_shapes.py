"""One record as what a row is made of: turns, answers, scores, meta.

Published datasets write the same thing in a dozen shapes. All of them end here as messages and
responses, or as an UnusableError with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec

from karat.row import Message, Response
from karat.steps._turns import UnusableError, conversation, from_json_text, is_dialogue, text

TEXT_KEYS = ("content", "response", "text", "completion", "value", "output")
PAIR = ("chosen", "rejected")


class Mapping(msgspec.Struct):
    """Which column is what. None: to be found; an empty list: none wanted."""

    prompt: list[str] | None = None
    messages: str | None = None
    system: str | None = None
    responses: list[str] | None = None
    scores: list[str] | None = None
    model: str | None = None
    keep: list[str] | None = None
    last_turn: bool = True  # an assistant's last turn is an answer
    listed: bool = False  # a text in the answers' column may be a JSON list
    own: bool = False  # the file is one of karat's
    used: set[str] = set()


class Parts(msgspec.Struct):
    """What one record holds of a row."""

    messages: list[Message]
    responses: list[Response]
    meta: dict[str, Any]
    source: str | None = None


def look(record: dict[str, Any], name: str) -> Any:
    """The value of a column, or of a place inside one: `instances.0.input`. None where absent."""
    if name in record or "." not in name:
        return record.get(name)
    value: Any = record
    for part in name.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def before(name: str, column: str) -> str:
    return f"{column}_{name}"


def after(name: str, column: str) -> str:
    return f"{name}_{column}"


def quoted(names: Iterable[str]) -> str:
    return " + ".join(f"'{name}'" for name in names)


# --- one record ----------------------------------------------------------------------------------


def parse(record: dict[str, Any], found: Mapping) -> Parts:
    """One record's messages, answers and meta. Raises: UnusableError."""
    answers = [
        (column, item)
        for column in found.responses or []
        for item in answers_in(look(record, column), found.listed)
    ]
    turns = _turns(record, found)
    if turns and turns[-1].role == "assistant":
        last = turns.pop().content
        # "\n\nAssistant:" and nothing after it asks for the answer.
        if last and found.last_turn and all(_content(item) != last for _, item in answers):
            answers.append(("", last))
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise UnusableError("empty prompt", "no user turn to answer")
    responses = [_response(record, found, answers, i) for i in range(len(answers))]
    if not found.own:
        keep = record if found.keep is None else {name: look(record, name) for name in found.keep}
        used = found.used if found.keep is None else ()
        meta = {k: v for k, v in keep.items() if v is not None and k not in used}
        return Parts(turns, responses, meta)
    meta, source = from_json_text(record.get("meta")), record.get("source")
    meta = meta if isinstance(meta, dict) else {}
    return Parts(turns, responses, meta, source if isinstance(source, str) else None)


def _turns(record: dict[str, Any], found: Mapping) -> list[Message]:
    value = look(record, found.messages) if found.messages else None
    if value is not None:
        turns = conversation(value, found.messages or "")
    elif found.prompt == []:
        turns = _shared(*(conversation(record.get(name), name) for name in PAIR))
    else:
        parts = [look(record, name) for name in found.prompt or []]
        given = [part for part in parts if part not in (None, "")]
        if not given:
            names = quoted([*([found.messages] if found.messages else []), *(found.prompt or [])])
            if parts and any(part == "" for part in parts):
                raise UnusableError("empty prompt", f"{names} is empty")
            raise UnusableError("missing field", f"no {names}")
        if len(given) == 1:
            turns = conversation(given[0], found.prompt[0] if found.prompt else "")
        else:
            turns = conversation("\n\n".join(text(part, "prompt") for part in given), "prompt")
    system = look(record, found.system) if found.system else None
    if system and turns and turns[0].role != "system":
        turns.insert(0, Message("system", text(system, found.system or "")))
    return turns


def _shared(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The turns before the last of both. Some HH pairs part earlier: they answer two questions."""
    if chosen[:-1] != rejected[:-1]:
        raise UnusableError("chosen and rejected answer different prompts", "they part earlier")
    return chosen[:-1]


# --- answers -------------------------------------------------------------------------------------


def answers_in(value: Any, listed: bool) -> list[Any]:
    """The texts or objects of one column: one answer, a list of them, or a dialogue's last turn.

    A text stays a text even where it is JSON, as an answer may be, unless the column is `listed`.
    """
    loaded = from_json_text(value)
    if is_dialogue(loaded):
        last = conversation(loaded, "response")[-1]
        if last.role != "assistant":
            raise UnusableError("wrong type", "a dialogue as an answer ends with its question")
        return [last.content]
    if listed or not isinstance(value, str):
        value = loaded
    if isinstance(value, list):
        return [item for item in value if item is not None]
    return [] if value is None else [value]


def _content(item: Any) -> Any:
    if isinstance(item, dict):
        return next((item[key] for key in TEXT_KEYS if item.get(key) is not None), None)
    return item


def _response(
    record: dict[str, Any], found: Mapping, answers: list[tuple[str, Any]], index: int
) -> Response:
    column, item = answers[index]
    body = text(_content(item), column or "response")
    fields = item if isinstance(item, dict) else {}
    model = _value(record, found, answers, index, found.model or "model")
    scores = _recorded(fields.get("scores"))
    if column in PAIR and found.responses == list(PAIR):
        scores["human.preferred"] = float(column == "chosen")
    for name in found.scores or []:
        value = _value(record, found, answers, index, name)
        if value is not None:
            scores[f"human.{name}"] = _number(value, name)
    return Response(
        body, model if isinstance(model, str) else "", index,
        str(fields.get("finish_reason") or ""), str(fields.get("call") or ""), scores,
    )  # fmt: skip


def _value(
    record: dict[str, Any], found: Mapping, answers: list[tuple[str, Any]], index: int, name: str
) -> Any:
    """What `name` says about one answer: in the answer itself, in `chosen_name` or `name_chosen`,
    in a column with one value per answer, or in a plain column where there is one answer."""
    column, item = answers[index]
    if isinstance(item, dict) and name in item:
        return item[name]
    for beside in (before(name, column), after(name, column)):
        if column and beside in record:
            return record[beside]
    value = from_json_text(look(record, name))
    if isinstance(value, list):
        if len(value) != len(answers):
            counts = f"{len(value)} values for {len(answers)} answers"
            raise UnusableError("wrong type", f"'{name}' has {counts}")
        return value[index]
    if value is not None and len(answers) > 1 and name in (found.scores or []):
        raise UnusableError("wrong type", f"'{name}' is one value for {len(answers)} answers")
    return value


def _recorded(scores: Any) -> dict[str, float]:
    """Scores that an answer of one of karat's own files carries: (key, value) pairs."""
    if isinstance(scores, list):
        pairs = ((s.get("key"), s.get("value")) for s in scores if isinstance(s, dict))
        scores = {key: value for key, value in pairs if isinstance(key, str)}
    if not isinstance(scores, dict):
        return {}
    numbers = {k: v for k, v in scores.items() if isinstance(v, int | float) and isfinite(v)}
    return {key: float(value) for key, value in numbers.items() if "." in str(key)}


def _number(value: Any, name: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else float("nan")
    except (ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number):
        raise UnusableError(
            "wrong type", f"score '{name}' is {str(value)[:40]!r}, not a finite number"
        )
    return number
