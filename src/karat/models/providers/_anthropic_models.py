"""What each Claude takes, read off its name: how it thinks, how it samples.

The API has no field that every model takes: 4.7 and later refuse temperature, 4.5 and earlier know
no adaptive thinking, the strongest cannot be told not to think. A rule by version covers a model
that comes out tomorrow; a list of names would not.
Source: Anthropic's docs, "Thinking", "Effort", "Structured outputs", "Migration guide",
"API versioning"; the `anthropic` package 2.12, types/thinking_types.py; the flags of litellm
1.109, model_prices_and_context_window_backup.json.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from karat.models.chat import ChatRequest
from karat.models.providers._http import refused

# The answer's length where nobody said one: the format requires a number. Thoughts count into it.
MAX_TOKENS = 16_384
MAX_TOKENS_BEFORE_3_7 = 4_096
MIN_BUDGET = 1_024
# The share of max_tokens that each effort may think for, where the format wants a number of tokens.
# Source: OpenRouter's docs, "Reasoning tokens".
SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95}
_CLAUDE = re.compile(r"claude-(?:([a-z]+)-)?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_ALWAYS = ("fable", "mythos")
_NEWEST = (99, 0)


class Claude(NamedTuple):
    """One model. `thinking`: adaptive (it decides how much), budget (it is told how much), none."""

    name: str
    thinking: str
    always: bool = False  # refuses to be told not to think
    shown: bool = True  # shows its thoughts unasked
    sampling: bool = True  # takes temperature, top_p and top_k
    one_sampler: bool = False  # not temperature and top_p at once
    xhigh: bool = False
    structured: bool = False  # takes output_config.format
    max_tokens: int = MAX_TOKENS


def claude(name: str) -> Claude:
    """What the model of this name takes; another vendor's is taken for an early one."""
    low = name.lower()
    if "claude" not in low:
        return Claude(name, "budget")
    found = _CLAUDE.search(low)
    family = (found[1] or "") if found else ""
    version = (int(found[2]), int(found[3] or 0)) if found else _NEWEST
    newest = version >= (4, 7)
    return Claude(
        name,
        thinking=(
            "adaptive" if version >= (4, 6) else "budget" if version >= (3, 7) else "none"
        ),
        always=any(word in low for word in _ALWAYS)
        or (found is not None and version >= (5, 5) and family != "haiku"),
        shown=not newest,
        sampling=not newest,
        one_sampler=version >= (4, 1),
        xhigh=newest,
        structured=version >= (4, 5),
        max_tokens=MAX_TOKENS if version >= (3, 7) else MAX_TOKENS_BEFORE_3_7,
    )  # fmt: skip


def thinking(model: Claude, effort: str | None, max_tokens: int) -> dict[str, Any]:
    """The fields that ask for an effort; none for None, which leaves it to the model.

    4.6 and later: adaptive thinking and output_config.effort, `minimal` being their `low` and
    `xhigh` the `high` of 4.6, which has none. 3.7 to 4.5: a share of max_tokens as budget_tokens.
    Raises: ProviderError where the model cannot do it.
    """
    if effort is None:
        return {}
    if effort == "none":
        if model.always:
            raise refused(f"{model.name} always thinks; say reasoning: low, or leave it open")
        return {"thinking": {"type": "disabled"}} if model.thinking == "adaptive" else {}
    if model.thinking == "none":
        raise refused(f"{model.name} does not think; leave reasoning out")
    if model.thinking == "adaptive":
        level = {"minimal": "low", "xhigh": "xhigh" if model.xhigh else "high"}.get(effort, effort)
        asked = {"type": "adaptive"} | ({} if model.shown else {"display": "summarized"})
        return {"thinking": asked, "output_config": {"effort": level}}
    budget = max(MIN_BUDGET, int(max_tokens * SHARES[effort]))
    if budget >= max_tokens:
        raise refused(
            f"thinking takes at least {MIN_BUDGET} of max_tokens, which is {max_tokens}; raise it"
        )
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def sampling(model: Claude, request: ChatRequest) -> dict[str, Any]:
    """temperature, top_p and top_k, as far as they differ from what is there anyway, which is 1.

    Raises: ProviderError for what the model refuses. Source: the `anthropic` docs, "Migration
    guide" (4.7 and later), "Extended thinking", "Feature compatibility".
    """
    temperature = None if request.temperature == 1 else request.temperature
    top_p = None if request.top_p == 1 else request.top_p
    said = {"temperature": temperature, "top_p": top_p, "top_k": request.top_k}
    found: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if not found:
        return {}
    if not model.sampling:
        raise refused(f"{model.name} takes no {' and no '.join(found)}; leave it out, or at 1")
    if temperature is not None and temperature > 1:
        raise refused(f"Claude takes a temperature from 0 to 1, not {temperature:g}")
    thinks = request.reasoning not in (None, "none")
    if thinks and (temperature is not None or request.top_k is not None):
        raise refused("while it thinks, Claude takes no temperature but 1 and no top_k")
    if thinks and top_p is not None and top_p < 0.95:
        raise refused(f"while it thinks, Claude takes a top_p from 0.95, not {top_p:g}")
    if model.one_sampler and temperature is not None and top_p is not None:
        raise refused(f"{model.name} takes temperature or top_p, not both")
    return found
