"""`/v1/completions`: how a text goes on, no chat template in between."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from starlette.types import Scope

from karat.models.asks import CompleteRequest
from karat.models.chat import Completion
from karat.together import all_of
from karat.web.gateway.door import Headers, Reply, Streamed, dumps, event, told
from karat.web.gateway.engine import Asked
from karat.web.gateway.fields import Sampled, only, texts
from karat.web.gateway.openai_words import DONE, ended, reader, usage_of
from karat.web.gateway.refusals import bad_request

MOST_PROMPTS = 64


class Body(Sampled, kw_only=True, forbid_unknown_fields=True):
    prompt: Annotated[str | list[Any], texts(MOST_PROMPTS)]
    # Read only to be refused in words where they ask for anything.
    echo: Annotated[bool | None, only(False, None)] = None
    best_of: int | None = None
    logprobs: Annotated[int | None, only(0, None)] = None
    suffix: Annotated[str | None, only("", None)] = None


_read = reader(Body)


async def serve(asked: Asked, body: bytes, scope: Scope) -> Reply | Streamed:
    """Raises: Refused, RecipeError, ProviderError, RunError."""
    said = _read(body)
    requests = _requests(said)
    model = await asked.gateway.model(said.model, asked.caller)
    made = _Made(asked, model, said, requests)
    if said.stream:
        return Streamed(made.pieces(), made.headers)
    await made.buy()
    figures = asked.figures(made.calls)
    reply = {**made.head, "model": made.who, "choices": made.choices, "usage": usage_of(figures)}
    return Reply(dumps(reply), made.headers())


def _requests(said: Body) -> list[CompleteRequest]:
    """One a prompt. Raises: Refused."""
    for field in ("echo", "logprobs", "suffix", "logit_bias"):
        if getattr(said, field):
            raise bad_request(f"'{field}' is not supported; leave it out", field)
    if said.best_of not in (None, said.n or 1):
        raise bad_request("'best_of' is not supported; ask for n and choose", "best_of")
    prompts = [said.prompt] if isinstance(said.prompt, str) else said.prompt
    if not prompts or not all(isinstance(one, str) and one for one in prompts):
        raise bad_request(
            "'prompt' is a text, or a list of texts; no tokens, and not empty", "prompt"
        )
    if len(prompts) > MOST_PROMPTS:
        raise bad_request(f"'prompt' holds {MOST_PROMPTS} texts at most", "prompt")
    return [
        CompleteRequest(
            prompt, said.n or 1, said.temperature, said.top_p, said.max_tokens, said.stops,
            said.seed, said.top_k, said.min_p, said.presence_penalty, said.frequency_penalty,
        )
        for prompt in prompts
    ]  # fmt: skip


class _Made:
    """The answers of one request, numbered over all of its prompts."""

    def __init__(
        self, asked: Asked, model: str, said: Body, requests: list[CompleteRequest]
    ) -> None:
        self.asked, self.model, self.requests = asked, model, requests
        self.counts = said.counts
        self.who = model
        self.head = {
            "id": f"cmpl-{asked.id[4:]}",
            "object": "text_completion",
            "created": int(time.time()),
        }
        self.choices: list[dict[str, Any]] = []
        self.calls: list[str] = []

    async def buy(self) -> None:
        """Raises: RecipeError, ProviderError, RunError."""
        asked = self.asked
        client = asked.gateway.client
        found = await all_of(client.complete(self.model, one, asked.asker) for one in self.requests)
        answers: list[Completion] = [answer for answers in found for answer in answers]
        self.who = answers[0].model
        self.calls = [answer.call for answer in answers]
        self.choices = [
            {
                "index": place,
                "text": answer.content,
                "logprobs": None,
                "finish_reason": ended(answer.finish_reason),
            }
            for place, answer in enumerate(answers)
        ]

    def headers(self) -> Headers:
        """Once all is bought."""
        return told(self.asked.figures(self.calls), self.who)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Each answer in one piece, once all are there: continuations are not bought in streams."""
        await self.buy()
        for choice in self.choices:
            yield event({**self.head, "model": self.who, "choices": [choice]})
        if self.counts:
            usage = usage_of(self.asked.figures(self.calls))
            yield event({**self.head, "model": self.who, "choices": [], "usage": usage})
        yield DONE
