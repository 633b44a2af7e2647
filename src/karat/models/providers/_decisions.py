"""Decisions as the two formats in use write and read them.

`openai`: questions and answers are lists, options have values, levels have labels; Fireworks takes
the same. `systemone`: questions and answers are maps by names of ours, options and levels are
`criteria`; TypeSafe began it, SGLang, llama.cpp, Ollama and OpenRouter (under ../alpha/decisions)
took it over. SGLang's own /v1/decisions is a third one, which its /v1/systemone makes unnecessary.
Source: the `openai` package 3.54, types/decision_create_params.py and decision.py; SGLang's
documentation, "Decision models"; the `any-llm-sdk` package 1.40, types/decide.py and
providers/openrouter/openrouter.py.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

from karat.models.asks import DecideRequest, Option, Question, Verdict
from karat.models.chat import Turn
from karat.row import Message

YES, NO = "yes", "no"  # a predicate's two options, in karat's words


class Format(NamedTuple):
    """How a request is written, and the verdicts read from a reply's `answers`."""

    write: Callable[[DecideRequest], dict[str, Any]]
    read: Callable[[DecideRequest, Any], list[Verdict]]


def verdict_of(question: Question, weights: list[float], score: float | None = None) -> Verdict:
    """The verdict behind one probability an option; a predicate's are those of yes and of no.

    `score`, where the service says one itself, goes before the mean of the levels.
    Raises: ValueError for what is no probability.
    """
    if not all(isfinite(weight) and 0 <= weight <= 1 for weight in weights):
        raise ValueError("not a probability")
    names = [YES, NO] if question.kind == "predicate" else [o.value for o in question.options]
    pairs = list(zip(names, weights, strict=True))
    value, best = max(pairs, key=lambda pair: pair[1])
    if question.kind == "predicate":
        best = weights[0]
    if question.kind == "score" and score is None:
        score = sum(i * weight for i, weight in enumerate(weights))
    return Verdict(question.name, value, best, score, pairs)


def _write_openai(request: DecideRequest) -> dict[str, Any]:
    questions = []
    for question in request.questions:
        said: dict[str, Any] = {"type": question.kind, "instructions": question.instructions}
        if question.name:
            said["name"] = question.name
        if question.kind == "choice":
            said["choices"] = [_described(option, "value") for option in question.options]
        elif question.kind == "score":
            said["levels"] = [_described(option, "label") for option in question.options]
        questions.append(said)
    return {"input": _openai_input(request.messages), "questions": questions}


def _openai_input(messages: tuple[Message, ...]) -> Any:
    """One user message is sent as text; calls and their results are items of their own."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    items: list[dict[str, Any]] = []
    for message in messages:
        calls = message.tool_calls if isinstance(message, Turn) else ()
        if isinstance(message, Turn) and message.tool_call_id:
            result = {"call_id": message.tool_call_id, "output": message.content}
            items.append({"type": "function_call_output", **result})
        elif message.content or not calls:
            items.append({"role": message.role, "content": message.content})
        for call in calls:
            made = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
            items.append({"type": "function_call", **made})
    return items


def _described(option: Option, name: str) -> dict[str, str]:
    described = {"description": option.description} if option.description else {}
    return {name: option.value, **described}


def _read_openai(request: DecideRequest, answers: Any) -> list[Verdict]:
    pairs = zip(request.questions, answers, strict=True)
    return [_openai_verdict(question, answer) for question, answer in pairs]


def _openai_verdict(question: Question, answer: Any) -> Verdict:
    kind = answer["type"]
    if kind == "refusal":
        return Verdict(question.name)
    if kind != question.kind:
        raise ValueError(f"a {kind} where a {question.kind} was asked")
    if kind == "predicate":
        yes = float(answer["probability"])
        return verdict_of(question, [yes, 1 - yes])
    found = {
        p["value"] if kind == "choice" else int(p["value"]): float(p["probability"])
        for p in answer["probabilities"]
    }
    if kind == "choice":
        return verdict_of(question, [found[option.value] for option in question.options])
    levels = [found[i] for i in range(len(question.options))]
    return verdict_of(question, levels, float(answer["score"]))


def _write_systemone(request: DecideRequest) -> dict[str, Any]:
    """Names of ours are the questions' places: the user's may be missing, or the same twice."""
    messages = request.messages
    state: Any = [{"role": m.role, "content": m.content} for m in messages]
    if len(messages) == 1 and messages[0].role == "user":
        state = messages[0].content
    return {
        "state": state,
        "questions": {str(i): _asked(q) for i, q in enumerate(request.questions)},
    }


def _asked(question: Question) -> dict[str, Any]:
    if question.kind == "predicate":
        return {"type": "noul", "instructions": question.instructions}
    criteria: Any = {option.value: option.description or None for option in question.options}
    if question.kind == "score":
        criteria = [
            f"{option.value}: {option.description}" if option.description else option.value
            for option in question.options
        ]
    return {"type": question.kind, "instructions": question.instructions, "criteria": criteria}


def _read_systemone(request: DecideRequest, answers: Any) -> list[Verdict]:
    return [_systemone_verdict(q, answers[str(i)]) for i, q in enumerate(request.questions)]


def _systemone_verdict(question: Question, answer: Any) -> Verdict:
    kind = answer["type"]
    if kind == "refusal":
        return Verdict(question.name)
    if kind != ("noul" if question.kind == "predicate" else question.kind):
        raise ValueError(f"a {kind} where a {question.kind} was asked")
    if kind == "noul":
        yes = float(answer["noul"])
        return verdict_of(question, [yes, 1 - yes])
    found = answer["probabilities"]
    if kind == "choice":
        return verdict_of(question, [float(found[option.value]) for option in question.options])
    levels = [float(found[str(i)]) for i in range(len(question.options))]
    return verdict_of(question, levels, float(answer["score"]))


FORMATS = {
    "openai": Format(_write_openai, _read_openai),
    "systemone": Format(_write_systemone, _read_systemone),
}
