"""Answers and usage as OpenAI's format writes them, in every service's variety.

Reading never fails for a part it does not know: what was paid for is kept as far as it is text.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import orjson

from karat.models.chat import Choice, TokenLogprob, ToolCall, Usage
from karat.models.providers._http import MOST_COUNTED, count
from karat.models.providers._thinking import OPEN, apart
from karat.models.services import Service

UNREADABLE = "unreadable"  # finish_reason of a choice of unknown form
UNLIKELY = -9999.0  # what vLLM writes for a probability of 0
FINISH = {
    "eos": "stop",  # Together
    "eos_token": "stop",  # text-generation-inference
    "stop_sequence": "stop",
    "end_turn": "stop",  # gateways in front of Anthropic
    "COMPLETE": "stop",  # Cohere
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "model_length": "length",  # Mistral: the context is full
    "function_call": "tool_calls",  # OpenAI before tools
    "tool_use": "tool_calls",
    "TOOL_CALL": "tool_calls",
    "refusal": "content_filter",
    "safety": "content_filter",
    "SAFETY": "content_filter",
    "sensitive": "content_filter",  # GLM
}
TICKS_PER_NANO = 10  # xAI's tick is a ten-billionth of a dollar


def read_choice(choice: Any) -> Choice:
    """One answer; what cannot be read is an empty one: it was paid for with the others."""
    try:
        message = choice["message"]
        if choice.get("error"):  # OpenRouter: this answer broke off at its provider
            return Choice("", UNREADABLE)
        content, reasoning = texts(message.get("content"))
        reasoning = reasoning or thoughts(message)
        if not reasoning and content.lstrip().startswith(OPEN):
            content, reasoning = apart(content)
        calls = _tool_calls(message)
        refusal = message.get("refusal")
        found = finish_reason(choice.get("finish_reason"), bool(calls))
        if refusal and isinstance(refusal, str) and not content:
            content, found = refusal, "content_filter"
        return Choice(
            content, found, count(choice.get("tokens")), reasoning, calls,
            _logprobs(choice.get("logprobs")),
        )  # fmt: skip
    except (TypeError, KeyError, AttributeError, ValueError):
        return Choice("", UNREADABLE)


def read_continuation(choice: Any) -> Choice:
    """How a raw text goes on, to the letter: thoughts in it are the text's own."""
    try:
        if choice.get("error") or not isinstance(choice["text"], str):
            return Choice("", UNREADABLE)
        found = finish_reason(choice.get("finish_reason"))
        return Choice(choice["text"], found, count(choice.get("tokens")))
    except (TypeError, KeyError, AttributeError):
        return Choice("", UNREADABLE)


def finish_reason(said: Any, calls: bool = False) -> str:
    """In OpenAI's words. An answer with calls ends with them, though a forced one says `stop`."""
    found = str(said or "")
    found = FINISH.get(found, found)
    return "tool_calls" if calls and found == "stop" else found


def texts(content: Any) -> tuple[str, str]:
    """What a message says and what it thinks: a text, or parts of both, as Mistral answers.

    Raises: TypeError for what is neither.
    """
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        raise TypeError("content is not text")
    said, thought = [], []
    for part in content:
        if isinstance(part, str):
            said.append(part)
        elif part.get("type") in ("thinking", "reasoning"):
            thought.append(_plain(part.get("thinking") or part.get("text")))
        else:
            said.append(part.get("text") or part.get("refusal") or "")
    return "".join(said), "".join(thought)


def _plain(text: Any) -> str:
    """A text, or the text of parts."""
    if isinstance(text, list):
        return "".join(part.get("text") or "" for part in text)
    return text or ""


def thoughts(message: Any) -> str:
    """The thoughts a service writes beside the content, under whichever name it has for them."""
    for name in ("reasoning_content", "reasoning"):
        if message.get(name) and isinstance(message[name], str):
            return str(message[name])
    details = message.get("reasoning_details")  # OpenRouter: text, summary, or encrypted
    parts = [p for p in details if isinstance(p, dict)] if isinstance(details, list) else []
    found = (part.get("text") or part.get("summary") for part in parts)
    return "".join(text for text in found if isinstance(text, str))


def _tool_calls(message: Any) -> tuple[ToolCall, ...]:
    calls = message.get("tool_calls")
    if not calls and isinstance(message.get("function_call"), dict):
        calls = [{"function": message["function_call"]}]
    found = []
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            continue
        arguments = function.get("arguments")
        if not isinstance(arguments, str):  # an object, as some servers write it
            arguments = orjson.dumps(arguments or {}).decode()
        name = str(call.get("id") or f"call_{place}")
        found.append(ToolCall(name, str(function["name"]), arguments))
    return tuple(found)


def _logprobs(found: Any) -> list[TokenLogprob] | None:
    """Of OpenAI's form, or of Together's lists; None for any other."""
    try:
        if isinstance(found.get("content"), list):
            return [_token(item) for item in found["content"]]
        tokens, values = found["tokens"], found["token_logprobs"]
        tops = found.get("top_logprobs")  # Together: a mapping a token, or none
        tops = tops if isinstance(tops, list) and len(tops) == len(tokens) else [None] * len(tokens)
        return [
            TokenLogprob(str(token), log_probability(value), _top(top))
            for token, value, top in zip(tokens, values, tops, strict=True)
        ]
    except (TypeError, KeyError, AttributeError, ValueError):
        return None


def _token(item: Any) -> TokenLogprob:
    others = item.get("top_logprobs") or ()
    top = [(str(other["token"]), log_probability(other["logprob"])) for other in others]
    return TokenLogprob(str(item["token"]), log_probability(item["logprob"]), top)


def _top(top: Any) -> list[tuple[str, float]]:
    return [(str(token), log_probability(value)) for token, value in top.items()] if top else []


def log_probability(value: Any) -> float:
    """As a journal can hold it: null, NaN and what no float holds are that of no chance.

    Raises: TypeError, ValueError for what is no number.
    """
    try:
        found = float(UNLIKELY if value is None else value)
    except OverflowError:  # a whole number of hundreds of digits
        return UNLIKELY
    return found if isfinite(found) else UNLIKELY


def read_usage(usage: Any, service: Service) -> Usage:
    """The tokens of a request in karat's sense, whatever a service counts where."""
    if not isinstance(usage, dict):
        return Usage()
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    completion = completion if isinstance(completion, dict) else {}
    read, wrote = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    cached = (
        count(prompt.get("cached_tokens"))
        or count(usage.get("prompt_cache_hit_tokens"))  # DeepSeek
        or count(usage.get("cached_tokens"))  # Moonshot
        or 0
    )
    reasoning = (
        count(completion.get("reasoning_tokens"))
        or count(usage.get("reasoning_tokens"))  # SGLang
        or 0
    )
    if reasoning and usage.get("total_tokens") == (read or 0) + (wrote or 0) + reasoning:
        wrote = (wrote or 0) + reasoning  # xAI counts thoughts beside the answer; OpenAI within it
    return Usage(
        read, min(cached, read or 0), count(prompt.get("cache_write_tokens")) or 0, wrote,
        reasoning, cost_nano(usage, service),
    )  # fmt: skip


def cost_nano(usage: dict[str, Any], service: Service) -> int | None:
    """What the service says the request cost, in billionths of a dollar."""
    if service.cost_ticks:
        ticks = count(usage.get(service.cost_ticks))
        return None if ticks is None else round(ticks / TICKS_PER_NANO)
    dollars = usage.get(service.cost) if service.cost else None
    if isinstance(dollars, bool) or not isinstance(dollars, int | float):
        return None
    return round(dollars * 1e9) if 0 <= dollars <= MOST_COUNTED else None
