"""A service's own list of its models: what a key can use, and at what price.

Every service has one at /models and all of them are written alike, not the same: here they are read
into one form, and what a list does not say is None.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import orjson

from karat.errors import ProviderError
from karat.models.prices import MEGA, Price
from karat.models.rights import Rights, from_openrouter
from karat.models.transport import HttpReply

# What lists call a model's context window: OpenRouter and Together, vLLM, Groq, Mistral, Google,
# Anthropic.
WINDOWS = (
    "context_length", "max_model_len", "context_window", "max_context_length", "inputTokenLimit",
    "max_input_tokens",
)  # fmt: skip
MOST = 10_000  # models of one list


class Offer(msgspec.Struct, frozen=True):
    """A model as a service's own list has it. None: the list does not say."""

    name: str
    context: int | None = None
    price: Price | None = None
    flagged: Rights | None = None


def read_list(reply: HttpReply) -> list[Offer]:
    """The models of a list: OpenAI's `data`, Google's `models`, or Together's bare array.

    Raises: ProviderError for anything else.
    """
    try:
        tree = orjson.loads(reply.body)
        items = tree if isinstance(tree, list) else tree.get("data", tree.get("models"))
        found = [_offer(item) for item in items[:MOST] if isinstance(item, dict)]
    except (ValueError, TypeError, AttributeError, KeyError):
        raise ProviderError("something answers there, but with no list of models") from None
    return [offer for offer in found if offer.name]


def _offer(item: dict[str, Any]) -> Offer:
    name = item.get("id") or item.get("name")
    windows = (item.get(field) for field in WINDOWS)
    context = next((w for w in windows if type(w) is int and w > 0), None)
    plain = name.removeprefix("models/") if isinstance(name, str) else ""
    return Offer(plain, context, _price(item.get("pricing")), from_openrouter(item))


def _price(pricing: Any) -> Price | None:
    """Dollars a token, as texts. Source: OpenRouter's docs, "Models", Pricing Object."""
    if not isinstance(pricing, dict) or not isinstance(pricing.get("prompt"), str):
        return None
    try:
        prompt, answer, cached = (
            round(float(pricing[field]) * MEGA, 6) if pricing.get(field) is not None else None
            for field in ("prompt", "completion", "input_cache_read")
        )
    except (ValueError, TypeError):
        return None
    if prompt is None or answer is None:
        return None
    if not all(0 <= usd < math.inf for usd in (prompt, answer, cached or 0)):
        return None  # a router's price is that of whoever answers: -1
    return Price(input=prompt, output=answer, cached=cached)
