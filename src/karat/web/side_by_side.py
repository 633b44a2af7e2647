"""One prompt to several models at once, with grades: what the playground asks and shows.

Everything goes through the gateway's engine, so that limits, prices, budgets and the ledger are
those of any other request. The models answer side by side in one stream of events, because a
browser opens few connections to one server; what fails ends its own answer and no other's. A reward
that compares responses waits for all answers, any other grades each as soon as it is whole.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec

from karat.errors import KaratError
from karat.ledger import NANO
from karat.models.chat import ChatRequest
from karat.rewards.base import Candidates
from karat.row import Message
from karat.web.faults import note
from karat.web.gateway import grading
from karat.web.gateway.engine import Asked, Gateway
from karat.web.gateway.refusals import refused

MOST_MODELS = 8
WRITTEN = 4096  # tokens of a judge's answer where nobody says
Event = dict[str, Any]
Names = list[Annotated[str, msgspec.Meta(min_length=1, max_length=300)]]


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked: of which models, on what terms, graded by which rewards."""

    models: Annotated[Names, msgspec.Meta(min_length=1, max_length=MOST_MODELS)]
    prompt: str
    rewards: Annotated[Names, msgspec.Meta(max_length=20)] = []
    system: str = ""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31 - 1)] | None = None
    reasoning: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None

    def turns(self) -> tuple[Message, ...]:
        """The conversation every model is shown."""
        system = (Message("system", self.system),) if self.system else ()
        return (*system, Message("user", self.prompt))

    def request(self) -> ChatRequest:
        """The question as the client takes it."""
        return ChatRequest(
            self.turns(), 1, self.temperature, self.top_p, self.max_tokens, seed=self.seed,
            reasoning=self.reasoning,
        )  # fmt: skip


class Estimate(msgspec.Struct):
    """The most a question can cost, as a budget reckons it, where nothing has to be asked a second
    time: a try that fails half-way is paid for too. `unpriced` names what has no known price,
    `problems` what cannot be asked and why."""

    worst_usd: float = 0.0
    unpriced: list[str] = []
    problems: dict[str, str] = {}


# --- before anything is spent --------------------------------------------------------------------


async def estimate(gateway: Gateway, question: Question) -> Estimate:
    """What a question could cost; nothing is sent."""
    made, now = Estimate(), time.time()
    size = sum(len(turn.content.encode("utf-8", "replace")) for turn in question.turns()) // 2
    longest = 0
    for name in question.models:
        try:
            model = await gateway.model(name, gateway.playground)
        except KaratError as error:
            made.problems[name] = str(error)
            continue
        worst = 0
        for endpoint in gateway.client.route(model):  # one of them answers
            own = endpoint.spec.max_tokens or endpoint.provider.default_max_tokens
            most = question.max_tokens or own
            longest = max(longest, most)
            if endpoint.rates is None:
                made.unpriced.append(name)
                break
            worst = max(worst, endpoint.rates.worst_nano(size, most, now))
        else:
            made.worst_usd += worst / NANO
    for name in question.rewards:
        try:
            _add_grading(gateway, name, made, len(question.models), (size, longest))
        except KaratError as error:
            made.problems[name] = str(error)
    return made


def _add_grading(
    gateway: Gateway, name: str, made: Estimate, answers: int, sizes: tuple[int, int]
) -> None:
    """What one reward's questions about all answers cost at the most. Raises: KaratError."""
    grading.find(gateway, name, gateway.playground)
    graders, size, longest = gateway.graders, *sizes
    for model in graders.models(name):
        gateway.desk.allowed(model)
    written = max(
        (said["max_tokens"] or 0 for _, said in graders.sampling(name) if "max_tokens" in said),
        default=0,
    )
    for spec, forecast in graders.calls(name, gateway.client.models, answers):
        rates = spec.rates()
        if rates is None:
            made.unpriced.append(name)
            continue
        shown = size + forecast.own_words + forecast.shown * longest
        output = (written or spec.max_tokens or WRITTEN) if forecast.writes else 0
        made.worst_usd += forecast.calls * rates.worst_nano(shown, output, time.time()) / NANO


# --- the answers ---------------------------------------------------------------------------------


async def answers(gateway: Gateway, question: Question) -> AsyncGenerator[Event, None]:
    """Events of all answers as they come; `at` says whose, by its place in `models`.

    `text` and `thoughts` are pieces; `done` the figures of an answer; `error` why there is none;
    `grading` who will grade it; `grades` scores by reward. The last one is `end`.
    """
    made = _Together(gateway, question)
    working = asyncio.ensure_future(made.run())
    working.add_done_callback(lambda _: made.heard.put_nowait(None))
    try:
        yield {"begun": len(question.models)}
        while (event := await made.heard.get()) is not None:
            yield event
        await working
        yield {"end": True, "grading_usd": made.grading_usd}
    finally:
        working.cancel()  # whoever stops listening stops paying
        await asyncio.wait([working])


class _Together:
    """All answers to one question, and their grades."""

    def __init__(self, gateway: Gateway, question: Question) -> None:
        self.gateway, self.question = gateway, question
        self.heard: asyncio.Queue[Event | None] = asyncio.Queue()
        self.texts: dict[int, str] = {}
        self.grading_usd: float | None = 0.0
        self._alone: list[str] = []
        self._comparing: list[str] = []
        self._wrong: dict[str, str] = {}  # rewards that cannot be asked

    async def run(self) -> None:
        for name in self.question.rewards:
            try:
                found = grading.find(self.gateway, name, self.gateway.playground)
            except KaratError as error:
                self._wrong[name] = str(error)
            else:
                (self._comparing if found.compares else self._alone).append(name)
        async with asyncio.TaskGroup() as group:
            for at, name in enumerate(self.question.models):
                group.create_task(self._answer(at, name))
        places = sorted(self.texts)
        for name in self._comparing:
            await self._grade(name, places)

    async def _answer(self, at: int, name: str) -> None:
        try:
            async with asyncio.timeout(self.gateway.limit_s):
                text = await self._asked(at, name)
        except Exception as error:
            self._say(at, error=_words(error))
            return
        self.texts[at] = text
        waiting = [*self._alone, *self._comparing]
        if waiting or self._wrong:
            wrong = {name: {"error": why} for name, why in self._wrong.items()}
            self._say(at, grading=waiting, grades=wrong)
        for reward in self._alone:
            await self._grade(reward, [at])

    async def _asked(self, at: int, name: str) -> str:
        """The text of one answer. Raises: KaratError, TimeoutError."""
        gateway, began = self.gateway, time.perf_counter()
        asked = self._request()
        model = await gateway.model(name, gateway.playground)
        first = gateway.client.models[model].model
        pieces: list[str] = []
        finish = ""
        async with aclosing(asked.stream(model, self.question.request())) as deltas:
            async for delta in deltas:
                finish = delta.finish_reason or finish
                if delta.content:
                    pieces.append(delta.content)
                    self._say(at, text=_sendable(delta.content))
                if delta.reasoning:
                    self._say(at, thoughts=_sendable(delta.reasoning))
        figures = asked.figures()
        last = asked.terms.paid[-1] if asked.terms.paid else None
        self._say(at, done={
            "answered_by": name if asked.terms.model in ("", first) else asked.terms.model,
            "finish_reason": finish, "cost_usd": figures.cost_usd,
            "latency_ms": (time.perf_counter() - began) * 1000, "queue_ms": figures.queue_ms,
            "ttft_ms": None if last is None else last.ttft_ms,
            "prompt_tokens": figures.prompt_tokens, "completion_tokens": figures.completion_tokens,
        })  # fmt: skip
        return "".join(pieces)

    async def _grade(self, name: str, places: list[int]) -> None:
        """One reward's scores of the answers at these places, or why there are none."""
        if not places:
            return
        asked = self._request()
        try:
            found = grading.find(self.gateway, name, self.gateway.playground)
            texts = tuple(self.texts[at] for at in places)
            async with asyncio.timeout(self.gateway.limit_s):
                scores = await found.grade(asked, Candidates(self.question.turns(), texts))
        except Exception as error:
            for at in places:
                self._say(at, grades={name: {"error": _words(error)}})
        else:
            for at, one in zip(places, scores, strict=True):
                self._say(at, grades={name: one})
        cost = asked.figures().cost_usd
        known = cost is not None and self.grading_usd is not None
        self.grading_usd = self.grading_usd + cost if known else None  # type: ignore[operator]

    def _request(self) -> Asked:
        return self.gateway.asked(self.gateway.playground, f"req_{os.urandom(12).hex()}")

    def _say(self, at: int, **event: Any) -> None:
        self.heard.put_nowait({"at": at, **event})


def _sendable(text: str) -> str:
    """Without the halves of characters that some services send, which no JSON holds."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _words(error: Exception) -> str:
    """What a person is told of an error; of one that is none of karat's, where it is written."""
    if not isinstance(error, KaratError | TimeoutError):
        return note(error, "in the playground")
    return str(refused(error))
