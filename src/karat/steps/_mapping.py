"""Which columns hold the prompt, the answers and the scores.

What the recipe names is taken as it is. Only what it leaves open is found, by column names that
published datasets share, and a finding beyond `prompt`, `messages`, `response` and `responses` is
said aloud: a wrong one costs money.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.steps._shapes import PAIR, Mapping, after, answers_in, before, look, quoted
from karat.steps._turns import UnusableError, is_dialogue
from karat.table import SCHEMA

Records = Sequence[dict[str, Any]]

NAME_ONE = "name one with `prompt: COLUMN`"
LIKE_ANSWERS = ("answer", "output", "reply", "target", "solution")  # and what people call them
SAID = {"prompt", "messages", "response", "responses", "system"}
HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
ANSWERS: tuple[tuple[str, ...], ...] = (
    PAIR, ("responses",), ("response",), ("completions",), ("completion",),
    ("response_1", "response_2"), ("response1", "response2"),
)  # fmt: skip


def resolve(given: Mapping, samples: Records, where: str) -> tuple[Mapping, str]:
    """The mapping with nothing left open, and what was guessed, in words (empty if obvious).

    Raises: RecipeError with the columns there are and the nearest spelling.
    """
    columns = list(dict.fromkeys(key for record in samples for key in record))
    named = [*(given.prompt or []), *(given.responses or []), *(given.keep or [])]
    for name in filter(None, (*named, given.messages, given.system, given.model)):
        if not any(name in record or look(record, name) is not None for record in samples):
            raise RecipeError(_missing(name, columns, where))
    found = msgspec.structs.replace(given)
    found.own = set(SCHEMA.names) <= set(columns)
    if given.prompt is None and given.messages is None:
        _find_prompt(found, columns, samples, where)
    if given.responses is None:
        found.responses = _find_answers(found, columns)
        found.listed = found.responses in (["responses"], ["completions"])
    found.last_turn = given.responses != []
    if given.scores is None:
        found.scores = list(HELPSTEER) if found.responses and set(HELPSTEER) <= set(columns) else []
    if given.model is None and "model" in columns and found.responses:
        found.model = "model"
    if given.system is None:
        found.system = next((c for c in ("system", "system_prompt") if c in columns), None)
    _check_scores(given.scores or [], found, columns, samples, where)
    found.used = _used(found, columns)
    return found, _said(given, found, columns)


def _missing(name: str, columns: list[str], where: str) -> str:
    hint = did_you_mean(name, columns)
    listed = "" if hint.startswith("there ") else f" (there is: {', '.join(sorted(columns))})"
    return f"no column '{name}' in {where}; {hint}{listed}"


def _find_prompt(found: Mapping, columns: list[str], samples: Records, where: str) -> None:
    found.messages = "messages" if "messages" in columns else None
    found.prompt = ["prompt"] if "prompt" in columns else None
    if found.messages or found.prompt:
        return
    for name in ("conversations", "conversation", "context"):
        if any(isinstance(record.get(name), list) for record in samples):
            found.messages = name
            return
    if "instruction" in columns:
        found.prompt = ["instruction", "input"] if "input" in columns else ["instruction"]
    elif "question" in columns:
        found.prompt = ["question"]
    elif any(all(is_dialogue(record.get(name)) for name in PAIR) for record in samples):
        found.prompt = []
    else:
        raise RecipeError(f"{_missing('prompt', columns, where)}; {NAME_ONE}")


def _find_answers(found: Mapping, columns: list[str]) -> list[str]:
    for names in ANSWERS:
        if set(names) <= set(columns):
            return list(names)
    alpaca = found.prompt is not None and "instruction" in found.prompt and "output" in columns
    return ["output"] if alpaca else []


def _check_scores(
    names: list[str], found: Mapping, columns: list[str], samples: Records, where: str
) -> None:
    inside: set[str] = set()
    for record in samples if names else []:
        for column in found.responses or []:
            with suppress(UnusableError):  # that record is told by its own row
                items = answers_in(look(record, column), found.listed)
                inside.update(key for item in items if isinstance(item, dict) for key in item)
    known = {*columns, *inside}
    for name in names:
        beside = {f(name, c) for c in found.responses or [] for f in (before, after)}
        if name not in known and not beside & known and not any(look(r, name) for r in samples):
            raise RecipeError(f"scores: {_missing(name, list(known), where)}")


def _used(found: Mapping, columns: list[str]) -> set[str]:
    answers = found.responses or []
    values = [*(found.scores or []), *([found.model] if found.model else [])]
    names = [*(found.prompt or []), *answers, *values, found.messages, found.system]
    used = {name if name in columns else name.partition(".")[0] for name in names if name}
    used |= {f(v, a) for v in (*values, "model") for a in answers for f in (before, after)}
    return used | (set(SCHEMA.names) | {"prompt", "response", "score"} if found.own else set())


def _said(given: Mapping, found: Mapping, columns: list[str]) -> str:
    parts = []
    prompt = [found.messages] if found.messages else found.prompt or list(PAIR)
    if given.prompt is None and given.messages is None and not set(prompt) <= SAID:
        parts.append(f"{quoted(prompt)} as the prompt")
    if given.responses is None and found.responses and not set(found.responses) <= SAID:
        parts.append(f"{quoted(found.responses)} as given answers")
    left = next((name for name in LIKE_ANSWERS if name in columns), None)
    if parts and given.responses is None and not found.responses and left:
        parts.append(f"no column as given answers (response: {left} would take '{left}')")
    if given.scores is None and found.scores:
        parts.append(f"{quoted(found.scores)} as human scores")
    if given.system is None and found.system and found.system not in SAID:
        parts.append(f"{quoted([found.system])} as the system message")
    return f"read {'; '.join(parts)}. Name the columns in the recipe to be sure" if parts else ""
