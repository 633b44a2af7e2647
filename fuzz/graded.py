"""What servers of scores answer: NIM, vLLM in its three shapes, SGLang, and their tokenizers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson

from fuzz.files import folder
from fuzz.promises import finite, named, promise, typed
from fuzz.wires import provider
from karat.errors import ProviderError
from karat.models.spec import parse_model
from karat.models.transport import HttpReply
from karat.rewards import nim, sglang, vllm
from karat.rewards.order import ScoreOrder
from karat.rewards.tokens import Seen
from karat.row import Message

PROMPT = [Message("user", "Why are there tides?")]
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
AT = {"base_url": "http://h/v1"}


@cache
def rewards() -> tuple[Any, ...]:
    path: Path = folder() / "graded.jinja"
    path.write_text(TEMPLATE, encoding="utf-8")
    here, own = path.parent, parse_model({"model": "vllm/rm", **AT})
    hosted = parse_model({"model": "nvidia/nemotron-4-340b-reward", **AT})
    served = parse_model({"model": "sglang/rm", **AT})
    return (
        nim.load("nemotron-4-340b-reward", here, spec=hosted),
        nim.load("rm", here, attributes=["reward"], spec=hosted),
        vllm.load("rm", here, spec=own),
        vllm.load("rm", here, shape="pooling", template=path.name, attributes=["a", "b"], spec=own),
        vllm.load("rm", here, shape="score", spec=own),
        sglang.load("rm", here, template=path.name, spec=served),
    )


def scored(data: bytes) -> None:
    """Scores on their scale, or a ProviderError; tokens, or a ValueError."""
    one, reply = provider("openai/x"), HttpReply(200, {}, data)
    for reward in rewards():
        for count in {1, min(2, reward.together)}:
            order = ScoreOrder(reward, PROMPT, ["yes", "no"][:count])
            bought = named(
                lambda order=order, count=count: order.read(one, range(count), reply), ProviderError
            )
            if bought is None:
                continue
            promise(len(bought.answers) == count, "not one answer a response")
            for answer in bought.answers:
                scores = orjson.loads(answer.content)
                promise(set(scores) == set(reward.attributes), "other attributes")
                promise(all(isinstance(v, float) for v in scores.values()), f"{scores}")
                finite(scores)
        if hasattr(reward, "seen"):
            seen = named(lambda reward=reward: reward.seen(reply), ValueError)
            if seen is not None:
                typed(seen, Seen)
