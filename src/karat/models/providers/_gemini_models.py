"""What each Gemini takes, read off its name: how it thinks, how it samples, how many answers.

Source: Google's docs, "Gemini thinking", "OpenAI compatibility" (efforts as levels and budgets),
"What's new in Gemini 3.6" (temperature, topP and topK deprecated and ignored), "What's new in
Gemini 3.7" (no minimal level); github.com/googleapis/js-genai/issues/1609 (candidateCount on 3.x).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from karat.models.chat import ChatRequest
from karat.models.providers._http import refused

# thinkingBudget of 2.5, in tokens; the highest is the most that every 2.5 takes.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
MAX_CANDIDATES = 8
_GEMINI = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_NEWEST = (99, 0)


class Takes(NamedTuple):
    """One model. `thinking`: level, budget or none. `signed`: wants its calls' signatures back."""

    name: str
    thinking: str = "level"
    off: bool = False  # can be told not to think
    minimal: bool = False
    xhigh: bool = False
    sampling: bool = True  # heeds temperature, topP and topK
    signed: bool = False
    max_n: int = 1
    tasks: bool = True  # takes the purpose of an embedding as taskType


def gemini(name: str) -> Takes:
    """What the model of this name takes; one without a version is taken for the newest."""
    low = name.lower().rpartition("/")[2]
    if not low.startswith("gemini"):
        return Takes(name, off=True)  # Gemma and others: what they refuse, the service says
    found = _GEMINI.match(low)
    version = (int(found[1]), int(found[2] or 0)) if found else _NEWEST
    if "embedding" in low:
        return Takes(name, tasks="embedding-2" not in low)
    if version < (3, 0):
        return Takes(
            name,
            thinking="budget" if version >= (2, 5) else "none",
            off="pro" not in low,
            max_n=MAX_CANDIDATES if version >= (2, 0) and "image" not in low else 1,
        )
    return Takes(
        name,
        minimal="flash" in low and version < (3, 7),
        xhigh=version >= (4, 0),
        sampling=version < (3, 6) and not low.startswith("gemini-3.5-flash-lite"),
        signed=True,
    )


def thinking(model: Takes, effort: str | None) -> dict[str, Any]:
    """The thinkingConfig for an effort; none for None, which leaves it to the model.

    An effort the model has no level for is the nearest it has: `minimal` is low from 3.7 on and
    for Pro, `xhigh` is high before 4. Raises: ProviderError where it cannot be had.
    """
    if effort is None:
        return {}
    if effort == "none":
        if not model.off:
            raise refused(f"{model.name} always thinks; say reasoning: minimal, or leave it open")
        return {"thinkingConfig": {"thinkingBudget": 0}} if model.thinking == "budget" else {}
    if model.thinking == "none":
        raise refused(f"{model.name} does not think; leave reasoning out")
    if model.thinking == "budget":
        return {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": BUDGETS[effort]}}
    nearest = {
        "minimal": "minimal" if model.minimal else "low",
        "xhigh": "xhigh" if model.xhigh else "high",
    }
    level = nearest.get(effort, effort).upper()
    return {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": level}}


def sampling(model: Takes, request: ChatRequest) -> dict[str, Any]:
    """temperature, topP and topK. Raises: ProviderError where the model ignores them."""
    said = {"temperature": request.temperature, "topP": request.top_p, "topK": request.top_k}
    found: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if model.sampling:
        return found
    if found.get("temperature") == 1:
        del found["temperature"]  # what it is there anyway
    if found:
        raise refused(f"{model.name} ignores {' and '.join(found)}; leave it out")
    return {}
