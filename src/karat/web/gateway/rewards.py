"""`/v1/rewards`: a reward's scores of responses to a prompt, with their scales.

No service has a format for it that more than one vendor speaks (NVIDIA's is in nim.py), so this one
says what a caller must know to use a score: its scale, and whether it compares across prompts.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.types import Scope

from karat.rewards.base import Candidates
from karat.row import Message
from karat.web.gateway.door import Reply, dumps
from karat.web.gateway.engine import Asked
from karat.web.gateway.fields import MOST_TURNS
from karat.web.gateway.grading import attributes, find, headers, read_turns
from karat.web.gateway.openai_words import reader, usage_of
from karat.web.gateway.refusals import bad_request, check_tree

MOST_RESPONSES = 1000


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """`messages` end with the prompt, or with the one response to be graded. `meta` are the fields
    of a row that a reward may look at, such as a reference answer."""

    model: str
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MOST_TURNS)] = []
    prompt: str = ""
    responses: list[str] | None = None
    principle: str = ""
    meta: dict[str, Any] = {}


_read = reader(Body)


async def serve(asked: Asked, data: bytes, scope: Scope) -> Reply:
    """Raises: Refused; RowError, ProviderError, RunError."""
    body = _read(data)
    job = _job(body)
    grader = find(asked.gateway, body.model, asked.caller, body.principle)
    scores = await grader.grade(asked, job)
    figures = asked.figures()
    answer = {
        "object": "list",
        "model": body.model,
        "attributes": attributes(grader.reward),
        "data": [
            {"object": "reward", "index": place, "scores": found}
            for place, found in enumerate(scores)
        ],
        "usage": usage_of(figures),
    }  # fmt: skip
    return Reply(dumps(answer), headers(asked, figures, body.model))


def _job(body: Body) -> Candidates:
    """What is to be graded. Raises: Refused."""
    if bool(body.messages) == bool(body.prompt):
        raise bad_request("send messages or prompt, one of the two", "messages")
    turns = read_turns(body.messages) if body.messages else [Message("user", body.prompt)]
    ends = turns[-1].role == "assistant"
    if body.responses is None:
        if not ends:
            raise bad_request(
                "send responses, or messages that end with the assistant's turn to be graded",
                "responses",
            )
        *turns, last = turns
        responses = [last.content]
    else:
        if ends:
            raise bad_request(
                "messages end with the assistant's turn, and there are responses too: which are to "
                "be graded? Leave one of them out",
                "responses",
            )
        responses = body.responses
    if not 1 <= len(responses) <= MOST_RESPONSES:
        raise bad_request(f"send 1 to {MOST_RESPONSES} responses", "responses")
    check_tree(body.meta, "meta", "meta")
    if not turns:
        raise bad_request("messages hold no prompt before the response", "messages")
    return Candidates(tuple(turns), tuple(responses), body.meta)
