"""The client: one way to ask any model, with its limits, retries, price and journal.

Chat, completion, embeddings, rerank and decisions differ in what they ask for; how answers are
found, bought and recorded is the same (karat.models.errand, purchase, call).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from karat.errors import ProviderError
from karat.journal import Journal
from karat.models.answer import Hear, in_pieces
from karat.models.asks import (
    MOST_QUESTIONS,
    CompleteRequest,
    DecideRequest,
    EmbedRequest,
    RerankRequest,
    Verdict,
)
from karat.models.asks_as_chat import as_chat, from_chat
from karat.models.budget import Budget
from karat.models.call import Till
from karat.models.chat import ChatRequest, Completion, Delta, Usage, with_defaults
from karat.models.endpoint import Asker, Endpoint
from karat.models.errand import Errand, Got, MakeOrder
from karat.models.orders import (
    ChatOrder,
    CompleteOrder,
    DecideOrder,
    EmbedOrder,
    Extras,
    Order,
    RerankOrder,
    verdicts,
)
from karat.models.spec import ModelSpec
from karat.together import all_of

MOST_TOKENS = 1024  # of a continuation: services' own default is 16, which nobody means


class Client:
    """Asks the models of one run. `models` maps the names a recipe uses to what they stand for.

    `connect` makes the endpoint of a model by the name that `endpoints` has it under; it is given
    where limits and budgets are shared with other processes.
    """

    def __init__(
        self, models: dict[str, ModelSpec], journal: Journal, budget: Budget,
        connect: Callable[[str, ModelSpec], Endpoint] | None = None,
    ) -> None:  # fmt: skip
        self.models = models
        self.journal = journal
        self.budget = budget
        self.till = Till(journal, budget)
        self.endpoints: dict[str, Endpoint] = {}  # by model, fallbacks under `name+1` and so on
        self._connect = connect or self._alone
        self._routes: dict[str, list[Endpoint]] = {}
        self._decides: dict[str, bool] = {}  # whether a model does, once it was asked

    def endpoint(self, model: str) -> Endpoint:
        """The model's endpoint, connected on first use: replaying a journal needs none."""
        return self.route(model)[0]

    def route(self, model: str) -> list[Endpoint]:
        """The endpoints of a model and of its fallbacks, in the order they are asked."""
        if model not in self._routes:
            specs = enumerate(self.models[model].route())
            names = {model if place == 0 else f"{model}+{place}": spec for place, spec in specs}
            route = [self._connect(name, spec) for name, spec in names.items()]
            for name, endpoint in zip(names, route, strict=True):
                endpoint.stands_in = endpoint is not route[-1]
                if endpoint.spec.batch:
                    endpoint.use_batches(self.journal, self._warn, self._say)
                self.endpoints[name] = endpoint
            self._routes[model] = route
        return self._routes[model]

    def is_connected(self, model: str) -> bool:
        """Whether it has been asked, or found fit to be."""
        return model in self._routes

    def forget(self, model: str) -> list[Endpoint]:
        """Its endpoints, which are the caller's to close; it is known no more."""
        route = self._routes.pop(model)
        for place in range(len(route)):
            self.endpoints.pop(model if place == 0 else f"{model}+{place}")
        del self.models[model]
        return route

    def _warn(self, text: str) -> None:
        self.till.warn(text)  # whoever listens by then

    def _say(self, text: str) -> None:
        self.till.say(text)

    def _alone(self, _: str, spec: ModelSpec) -> Endpoint:
        return Endpoint(spec, self._spent(spec))

    def _spent(self, spec: ModelSpec) -> int:
        if spec.budget_usd is None:
            return 0
        found = self.journal.query(
            "SELECT sum(cost_nano) FROM attempts WHERE route = ?", spec.identity()
        )
        return next(found)[0] or 0

    def stop(self) -> None:
        """From now on no call is sent; those under way finish and are recorded."""
        self.till.stopped.set()
        for endpoint in self.endpoints.values():
            endpoint.stop()

    async def chat(self, model: str, request: ChatRequest, asker: Asker) -> list[Completion]:
        """request.n answers, in order of their sample index. Raises: ProviderError, RunError."""
        got = await self._answers(
            model, lambda asked: ChatOrder(with_defaults(request, asked.defaults)), asker
        )
        return [_completion(found, i) for i, found in enumerate(got)]

    def of_earlier_run(self, answer: Completion) -> bool:
        """Whether an answer was bought before this run began."""
        return self.journal.earlier(bytes.fromhex(answer.call))

    async def stream(self, model: str, request: ChatRequest, asker: Asker) -> AsyncIterator[Delta]:
        """One answer piece by piece, recorded when it is whole; the last piece has the usage.

        Once a piece was given out, what fails is not tried again. An answer the journal holds comes
        in one piece. Raises: ProviderError, RunError.
        """
        heard: asyncio.Queue[Delta | None] = asyncio.Queue()
        given = False

        def make(asked: Endpoint) -> Order:
            return ChatOrder(with_defaults(msgspec.structs.replace(request, n=1), asked.defaults))

        buying = asyncio.ensure_future(self._answers(model, make, asker, heard.put_nowait))
        buying.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            while (delta := await heard.get()) is not None:
                given = True
                yield delta
            (got,) = await buying
            if not given:
                for delta in in_pieces(_completion(got, 0), Usage(0, output=0)):  # it used nothing
                    yield delta
        finally:
            buying.cancel()  # whoever stops listening stops paying
            await asyncio.wait([buying])
            if not buying.cancelled():
                buying.exception()  # told above, or nobody is there to be told

    async def complete(
        self, model: str, request: CompleteRequest, asker: Asker
    ) -> list[Completion]:
        """request.n continuations, in order of their sample index; MOST_TOKENS each at most where
        neither the request nor the model says. Raises: ProviderError, RunError."""

        def make(asked: Endpoint) -> Order:
            own = {k: v for k, v in asked.defaults.items() if k != "reasoning"}  # of chat alone
            return CompleteOrder(with_defaults(request, {"max_tokens": MOST_TOKENS, **own}))

        got = await self._answers(model, make, asker)
        return [_completion(found, i) for i, found in enumerate(got)]

    async def embed(self, model: str, request: EmbedRequest, asker: Asker) -> NDArray[np.float32]:
        """A vector for each text: texts × dimensions. Raises: ProviderError, RunError."""
        got = await self._answers(model, _the(EmbedOrder(request)), asker)
        return np.stack([np.frombuffer(found.held[1], "<f4") for found in got])

    async def rerank(self, model: str, request: RerankRequest, asker: Asker) -> list[float]:
        """Each document's relevance, in the order given. Raises: ProviderError, RunError."""
        (got,) = await self._answers(model, _the(RerankOrder(request)), asker)
        scores: list[float] = orjson.loads(got.held[1])
        return scores

    async def decide(self, model: str, request: DecideRequest, asker: Asker) -> list[Verdict]:
        """A verdict on each question. Raises: ProviderError, RunError."""
        if self._decides.get(model, bool(self.models[model].offered_by().decisions)):
            try:
                found = await self._decided(model, request, asker)
                self._decides[model] = True
                return found
            except ProviderError as error:
                # Of one that has decided before, a refusal is about this request.
                if error.kind not in ("row", "model") or self._decides.get(model):
                    raise
                self._decides[model] = False  # the service decides, this model does not
        most = 16 if self.models[model].format == "responses" else 1
        replies = await all_of(self.chat(model, one, asker) for one in as_chat(request, most))
        return from_chat(request, [answer for (answer,) in replies])

    async def _decided(self, model: str, request: DecideRequest, asker: Asker) -> list[Verdict]:
        every = request.questions
        parts = [every[i : i + MOST_QUESTIONS] for i in range(0, len(every), MOST_QUESTIONS)]
        makers = [_the(DecideOrder(DecideRequest(request.messages, part))) for part in parts]
        found = await all_of(self._answers(model, make, asker) for make in makers)
        return [verdict for (got,) in found for verdict in verdicts(got.held[1])]

    async def buy(self, model: str, order: Order, asker: Asker) -> list[Got]:
        """The answers of an order that every endpoint of the route understands, in order.

        Raises: ProviderError, RunError.
        """
        return await self._answers(model, _the(order), asker)

    async def _answers(
        self, model: str, make: MakeOrder, asker: Asker, hear: Hear | None = None
    ) -> list[Got]:
        route = self.route(model)
        tally = route[0].tally
        tally.errands += 1
        try:
            return await Errand(self.till, route, make, asker, hear).run()
        finally:
            tally.errands -= 1

    async def close(self) -> None:
        for endpoint in self.endpoints.values():
            await endpoint.close()


def _the(order: Order) -> MakeOrder:
    """For what is asked of every model in the same words."""
    return lambda _: order


def _completion(got: Got, index: int) -> Completion:
    (_, content, finish_reason, more), key, endpoint = got
    made = Completion(content, finish_reason, endpoint.spec.model, index, key.hex())
    if more is not None:
        extras = msgspec.json.decode(more, type=Extras)
        made.reasoning, made.tool_calls = extras.reasoning, extras.tool_calls
        made.logprobs = extras.logprobs
    return made
