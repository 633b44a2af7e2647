"""`nim/NAME`: reward models behind NVIDIA NIM, hosted or on a machine of one's own.

They look like chat and are none: the conversation ends with the response to be graded, and the
reply holds attribute and score pairs twice, as log-probabilities and as text. Nothing else of it is
to be relied on: `created`, `model` and `object` may be null, `message` may be a list, sampling
parameters are refused, and scores pass the ends of their scale. Which attributes there are depends
on the model: the five of HelpSteer2 on 0–4, or one `reward` without a scale, which its card says
not to compare between prompts.

Source: docs.nvidia.com/nim/large-language-models 1.13, reward-model; the cards of
nvidia/Nemotron-4-340B-Reward (five attributes, 4,096 tokens) and nvidia/Llama-3.1-Nemotron-70B-
Reward ("the same cannot be said when comparing the scores between responses to different
prompts"); NVIDIA/NeMo-Curator services/openai_client.py (logprobs.content); camel-ai/camel
examples/models/nemotron_model_example.py (a reply whose message is a list).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from karat.errors import RecipeError
from karat.models.spec import ModelSpec
from karat.models.transport import HttpReply
from karat.models.wire import Post
from karat.rewards.base import Scale, Scores
from karat.rewards.outputs import (
    Comparable,
    Named,
    Outputs,
    body,
    check_extra,
    licence_of,
    number,
    outputs,
    scale_text,
    tree_of,
)
from karat.row import Message

SERVICE = "nvidia"
HELPSTEER2: dict[str, Scale] = dict.fromkeys(
    ("helpfulness", "correctness", "coherence", "complexity", "verbosity"), (0.0, 4.0)
)
REFUSED = ("temperature", "top_p", "max_tokens", "n", "stop", "seed", "stream", "logprobs")
_FIVE = re.compile(r"nemotron-4-340b-reward", re.IGNORECASE)
_ONE = re.compile(r"nemotron-70b-reward", re.IGNORECASE)
# Nothing in it is tried twice: a reply of any length costs one look.
_PAIR = re.compile(
    r"\s*+([A-Za-z_][\w-]*+(?: ++[\w-]++)*+)\s*+:"
    r"\s*+([-+]?[0-9.]++(?:[eE][-+]?[0-9]++)?)\s*+(?:,|$)"
)


class NimReward:
    """Asks for one response a request: the reply of a longer conversation is its last turn's."""

    together = 1
    unserved = "no model of that name answers there: check base_url and the model's name"

    def __init__(self, spec: ModelSpec, found: Outputs, licence: str) -> None:
        self.spec, self.name = spec, f"nim/{spec.name}"
        self.attributes, self.within_prompt = found
        self.licence = licence
        self.models: tuple[str, ...] = ()  # none of the recipe's
        self.identity = f"nim {scale_text(found.attributes)} {spec.identity()}"

    def post(self, address: str, prompt: Sequence[Message], responses: Sequence[str]) -> Post:
        (response,) = responses
        turns = [*prompt, Message("assistant", response)]
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        return Post(f"{address}/chat/completions", body(self.spec, {"messages": messages}))

    def read(self, reply: HttpReply, count: int) -> list[Scores]:
        """Raises: ValueError."""
        choices = tree_of(reply)["choices"]
        if len(choices) != count:
            raise ValueError(f"{len(choices)} choices for {count} responses")
        pairs = _from_logprobs(choices[0]) or _from_text(choices[0])
        if not pairs:
            raise ValueError("it holds no pairs of attribute and score; is it a reward model?")
        missing = [name for name in self.attributes if name not in pairs]
        if missing:
            raise ValueError(
                f"it scores {', '.join(pairs)}, not {', '.join(missing)}: write attributes: "
                f"[{', '.join(pairs)}] for this model"
            )
        return [{name: pairs[name] for name in self.attributes}]


def _from_logprobs(choice: dict[str, Any]) -> dict[str, float]:
    """The pairs with all their digits. Raises: ValueError."""
    content = (choice.get("logprobs") or {}).get("content") or []
    return _once((str(one["token"]), number(one["logprob"], str(one["token"]))) for one in content)


def _once(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Raises: ValueError for an attribute with two scores: nobody knows which one is meant."""
    found: dict[str, float] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise ValueError(f"it scores {name} twice: {found[name]:g} and {value:g}")
        found[name] = value
    return found


def _from_text(choice: dict[str, Any]) -> dict[str, float]:
    """`helpfulness:4.09,correctness:4.03`, and nothing else. Raises: ValueError."""
    message = choice["message"]
    message = message[0] if isinstance(message, list) else message
    text, place, found = str(message["content"]), 0, list[tuple[str, float]]()
    while place < len(text):
        pair = _PAIR.match(text, place)
        if pair is None:
            return {}  # prose with a number in it is no score
        found.append((pair[1], float(pair[2])))
        place = pair.end()
    return _once(found)


def load(
    name: str, folder: Path, *, attributes: Named = None, comparable: Comparable = None,
    licence: str | None = None, spec: ModelSpec,
) -> NimReward:  # fmt: skip
    """`attributes` are those the model scores, where its name does not tell: the five of HelpSteer2
    by name, or [reward]; a mapping gives each a scale. `comparable` says whether they compare
    `anywhere` or `within_prompt`. Raises: RecipeError.
    """
    check_extra(spec, REFUSED)
    if attributes is None:
        if _FIVE.search(name):
            attributes = [*HELPSTEER2]
        elif _ONE.search(name):
            attributes = ["reward"]
        else:
            raise RecipeError(
                f"attributes: what nim/{name} scores is not known; write [reward], or "
                f"[{', '.join(HELPSTEER2)}]"
            )
    if isinstance(attributes, list) and set(attributes) <= set(HELPSTEER2) and attributes:
        attributes = {one: HELPSTEER2[one] for one in attributes}
    return NimReward(spec, outputs(attributes, comparable), licence_of(spec, licence))
