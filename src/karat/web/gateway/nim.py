"""NVIDIA's shape of a reward model: `/v1/chat/completions` under a reward's name.

The conversation ends with the response to be graded; the reply holds the pairs of attribute and
score twice, as log-probabilities with all their digits and as text. Whatever reads a NIM reads a
reward of karat's so, karat's own `nim/NAME` among them.
Source: those named in karat/rewards/nim.py.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec

from karat.rewards.base import Candidates, Scores
from karat.web.gateway.door import Reply, dumps
from karat.web.gateway.engine import Asked
from karat.web.gateway.fields import MOST_TURNS
from karat.web.gateway.grading import find, headers, read_turns
from karat.web.gateway.openai_words import reader, usage_of
from karat.web.gateway.refusals import bad_request


class _Body(msgspec.Struct):
    model: str
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MOST_TURNS)]


_read = reader(_Body)
_read_all = reader(dict[str, Any])
# What official clients send unasked, or what changes nothing; anything else would be passed over
# without a word, and a NIM refuses it too.
_IDLE = {"model": None, "messages": None, "stream": False, "n": 1, "user": None, "logprobs": True}


async def graded(asked: Asked, data: bytes) -> Reply:
    """The scores of the last turn. Raises: Refused; RowError, ProviderError, RunError."""
    body = _read(data)
    _check_fields(_read_all(data))
    turns = read_turns(body.messages)
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise bad_request(
            f"'{body.model}' is a reward model: send a conversation that ends with the assistant's "
            "turn to be graded",
            "messages",
        )
    *prompt, response = turns
    grader = find(asked.gateway, body.model, asked.caller)
    (scores,) = await grader.grade(asked, Candidates(tuple(prompt), (response.content,)))
    if scores is None:
        raise bad_request(f"'{body.model}' has no score for this response", "messages")
    figures = asked.figures()
    answer = {
        "id": f"chatcmpl-{asked.id[4:]}", "object": "chat.completion", "created": int(time.time()),
        "model": body.model, "choices": [_choice(scores)],
        "usage": usage_of(figures),
    }  # fmt: skip
    return Reply(dumps(answer), headers(asked, figures, body.model))


def _check_fields(tree: dict[str, Any]) -> None:
    """Raises: Refused for what a reward model cannot heed."""
    idle = ("user", "model", "messages")
    wrong = [
        key for key, value in tree.items()
        if key not in _IDLE or (key not in idle and value is not None and value != _IDLE[key])
    ]  # fmt: skip
    if wrong:
        raise bad_request(f"a reward model takes no {', '.join(sorted(wrong))}", wrong[0])


def _choice(scores: Scores) -> dict[str, Any]:
    pairs: list[dict[str, Any]] = [
        {"token": name, "logprob": value, "bytes": None, "top_logprobs": []}
        for name, value in scores.items()
    ]
    text = ",".join(f"{name}:{value!r}" for name, value in scores.items())
    return {
        "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text},
        "logprobs": {"content": pairs},
    }  # fmt: skip
