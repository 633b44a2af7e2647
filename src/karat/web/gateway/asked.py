"""One request of the gateway: who asks, on what terms, and what it has used.

What a request cost is taken from the attempts that its own calls hand back, so that no answer waits
for a query of the ledger.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from karat.ledger import NANO
from karat.models.chat import ChatRequest, Completion, Delta
from karat.models.endpoint import Asker, ModelDownError
from karat.models.terms import Terms
from karat.web.gateway.purse import Purse

if TYPE_CHECKING:
    from karat.web.gateway.engine import Gateway


class Caller(NamedTuple):
    """Who asks: a virtual key, the server's token, or anybody where nothing is asked for.

    `models` are patterns of the names it may use, None for all. `scope` goes into the keys of its
    cached answers: what one virtual key has asked, and been told, is no other's to find.
    """

    name: str
    purse: Purse | None = None
    models: tuple[str, ...] | None = None
    scope: str = ""

    def may_use(self, model: str) -> bool:
        """Whether a model's name, as it is asked for, is one of this caller's."""
        return self.models is None or any(fnmatchcase(model, one) for one in self.models)


class Figures(msgspec.Struct):
    """What a request has used. `cost_nano` is None where no price is known, 0 of what the journal
    held; tokens are counted over all answers. `hit`: nobody had to be asked for this request."""

    cost_nano: int | None = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    queue_ms: float = 0.0
    hit: bool = True

    @property
    def cost_usd(self) -> float | None:
        return None if self.cost_nano is None else self.cost_nano / NANO


class Asked:
    """One request on its way. Give `asker` to the client's methods; then ask `figures`."""

    __slots__ = ("asker", "caller", "gateway", "id", "terms")

    def __init__(
        self, gateway: Gateway, caller: Caller, request_id: str, terms: Terms, asker: Asker
    ) -> None:
        self.gateway, self.caller, self.id = gateway, caller, request_id
        self.terms, self.asker = terms, asker

    async def chat(self, model: str, request: ChatRequest) -> list[Completion]:
        """As the client's. Raises: RecipeError, ProviderError, RunError."""
        try:
            return await self.gateway.client.chat(model, request, self.asker)
        except ModelDownError as error:
            self.gateway.unnamed.note_down(model, error)
            raise

    async def stream(self, model: str, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """As the client's. Raises: RecipeError, ProviderError, RunError."""
        made = self.gateway.client.stream(model, request, self.asker)
        try:
            async with aclosing(cast(AsyncGenerator[Delta, None], made)) as deltas:
                async for delta in deltas:
                    yield delta
        except ModelDownError as error:
            self.gateway.unnamed.note_down(model, error)
            raise

    def figures(self, calls: Sequence[str] = ()) -> Figures:
        """What it has used, once it was answered. `calls` are the keys of its answers (`call` of a
        Completion), for the tokens of those that the journal held."""
        made = Figures(hit=not self.terms.model)
        for one in self.terms.paid:
            made.queue_ms = max(made.queue_ms, one.queue_ms)
            if one.cost_nano is None or made.cost_nano is None:
                made.cost_nano = None
            else:
                made.cost_nano += one.cost_nano
            if one.error:
                continue
            made.prompt_tokens += one.prompt_tokens
            made.cached_tokens += one.cached_tokens
            made.completion_tokens += one.completion_tokens
            made.reasoning_tokens += one.reasoning_tokens
        if made.hit and calls:
            self._held(made, calls)
        return made

    def _held(self, made: Figures, calls: Sequence[str]) -> None:
        sql = "SELECT prompt_tokens, completion_tokens FROM calls WHERE key = ?"
        for call in calls:
            for prompt, completion in self.gateway.journal.query(sql, bytes.fromhex(call)):
                made.prompt_tokens += prompt
                made.completion_tokens += completion
