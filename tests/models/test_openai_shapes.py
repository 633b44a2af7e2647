"""No JSON breaks the reading of an answer: what comes is an answer or a ProviderError."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import ProviderError
from karat.models.providers import openai
from karat.models.spec import parse_model
from karat.models.transport import HttpReply

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NAMES = st.sampled_from(
    ["choices", "message", "content", "tool_calls", "function", "name", "arguments", "usage",
     "logprobs", "top_logprobs", "token", "tokens", "token_logprobs", "logprob", "error", "code",
     "finish_reason", "refusal", "reasoning", "reasoning_details", "thinking", "type", "text",
     "prompt_tokens", "completion_tokens_details", "reasoning_tokens", "delta", "index", "object",
     "x_groq", "cost"]
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner),
    max_leaves=25,
)
CHOICES = st.fixed_dictionaries(
    {}, optional={"message": TREES | st.dictionaries(NAMES, TREES), "finish_reason": TREES,
                  "logprobs": TREES, "error": TREES, "tokens": TREES},
)  # fmt: skip
BODIES = TREES | st.fixed_dictionaries(
    {"choices": st.lists(CHOICES | TREES, max_size=3)}, optional={"usage": TREES, "error": TREES}
)


@given(body=BODIES)
def test_no_json_breaks_the_reading(body):
    data = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS) if fits(body) else b"{}"
    for model in ("openai/x", "xai/x", "openrouter/x"):
        found = openai.connect(parse_model({"model": model, "base_url": "http://h/v1"}))
        try:
            answers = found.read_chat(HttpReply(200, {}, data))
        except ProviderError:
            continue
        assert all(isinstance(c.content, str) for c in answers.choices)
        assert all(isinstance(c.reasoning, str) for c in answers.choices)
        assert (answers.usage.cost_nano or 0) >= 0


def fits(tree):
    """Whether JSON of 64-bit numbers can say it."""
    try:
        orjson.dumps(tree, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return False
    return True
