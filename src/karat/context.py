"""What a step may touch: models, rewards, seeds, templates. Nothing else.

A step gets a context bound to its own label and to the row it sees, so that seeds, journal records
and warnings name both without the step's help.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karat.display import shown
from karat.grading import Desk
from karat.models.asks import (
    CompleteRequest,
    DecideRequest,
    EmbedRequest,
    Question,
    RerankRequest,
    Verdict,
)
from karat.models.chat import ChatRequest, Completion, Tool
from karat.models.client import Client
from karat.models.endpoint import Asker
from karat.models.spec import ModelSpec
from karat.rewards.base import Candidates
from karat.row import Message, Row, derive_seed
from karat.target import Origin, Round, Stratum

if TYPE_CHECKING:
    from karat.curation.novelty import Pool
    from karat.recipe import Recipe

PROMPTS = Path(__file__).parent / "recipes" / "prompts"


class Services:
    """What the contexts of one run share."""

    def __init__(
        self, recipe: Recipe, client: Client, scopes: Mapping[str, str] | None = None
    ) -> None:
        self.recipe = recipe
        self.client = client
        client.till.warn = self.warn
        self.scopes = scopes or {}  # of each step, for the ledger; see karat.stage.scopes
        self.warnings: list[str] = []
        self.round = Round()
        self.counts: dict[str, dict[str, int]] = {}  # by step; see Context.count
        self.asked: dict[str, set[Stratum]] = {}  # by step; see Context.wants
        self._pools: dict[str, Pool] = {}
        self._allowed: set[str] = set()
        self.desk = Desk(client, recipe.reward, self.allowed)

    def apart(self) -> Services:
        """The same services for some rows whose counts and warnings are kept by themselves."""
        twin = copy(self)
        twin.warnings, twin.counts, twin.asked = [], {}, {}
        return twin

    def allowed(self, model: str) -> Client:
        """The client, for a model that may be asked. Raises: RecipeError."""
        if model not in self._allowed:
            self.recipe.allow(model)
            self._allowed.add(model)
        return self.client

    def pool(self, label: str) -> Pool:
        """What a step wrote in earlier rounds; one pool for all rows of this round."""
        from karat.curation.novelty import Pool  # its table of embeddings loads where it is used

        pool = self._pools.setdefault(label, Pool())
        pool.extend(self.round.written.get(label, [])[len(pool) :])
        return pool

    def warn(self, text: str) -> None:
        """Adds a warning to the report, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    async def close(self) -> None:
        self.desk.close()
        await self.client.close()


class Context:
    """One step's view of the run, bound to its row (None for table and source steps)."""

    def __init__(self, services: Services, label: str, row: Row | None = None) -> None:
        self._services = services
        self.label = label
        self._row = "" if row is None else row.id
        self._asker = Asker(label, self._row, services.scopes.get(label, ""))

    def __repr__(self) -> str:
        of = f", row {shown.line(self._row)}" if self._row else ""
        return f"<context of {shown.line(self.label)}{of}>"

    def seed(self, index: int = 0) -> int:
        """A seed in 0 … 2**31-2 that depends on run seed, step, row and index only."""
        return derive_seed(self._services.recipe.seed, self.label, self._row, index)

    def rng(self, index: int = 0) -> random.Random:
        """A random generator of that seed."""
        return random.Random(self.seed(index))

    def count(self, name: str, by: int = 1) -> None:
        """Adds to a figure of this step in the report: items written, refused, and so on."""
        counts = self._services.counts.setdefault(self.label, {})
        counts[name] = counts.get(name, 0) + by

    def written(self) -> Pool:
        """What this step wrote in earlier rounds of a recipe that says `exactly`; not to be added
        to."""
        return self._services.pool(self.label)

    def wants(self, meta: Mapping[str, Any]) -> bool:
        """Whether rows with these `meta` fields are still wanted; see `exactly`.

        Ask for each value a step could write: what nobody asks for, a first round may miss.
        """
        round_ = self._services.round
        if round_.per and all(key in meta for key in round_.per):
            asked = self._services.asked.setdefault(self.label, set())
            asked.add(tuple(str(meta[key]) for key in round_.per))
        return round_.wants(meta)

    def wanted(self, field: str) -> list[str] | None:
        """The values of a `meta` field of which more rows are wanted; None where any will do."""
        return self._services.round.values(field)

    def earlier(self, step: str) -> list[Mapping[str, Any]]:
        """The parameters of every step of that name before this one, in order."""
        recipe = self._services.recipe
        before = recipe.steps[: recipe.labels.index(self.label)]
        return [call.params for call in before if call.step.path == step]

    def spec(self, model: str) -> ModelSpec:
        """What a model's name in the recipe stands for. Raises: RecipeError."""
        return self._services.allowed(model).models[model]

    def origin(self, topic: str) -> Origin | None:
        """(meta, calls) of a topic of an earlier round."""
        return self._services.round.topics.get(topic)

    def path(self, value: str) -> Path:
        """A file a parameter names: beside the recipe first, then in the working directory."""
        return self._services.recipe.path(value)

    def warn(self, text: str) -> None:
        """Puts a warning into the report and on the terminal; the same text only once."""
        self._services.warn(f"{self.label}: {text}")

    def render(self, template: str, **values: Any) -> str:
        """Fills in a prompt template: a file beside the recipe, or one of karat's.

        Raises: RecipeError.
        """
        from karat.templates import render  # Jinja loads only where a recipe writes prompts

        return render(self._template(template), **values)

    def _template(self, name: str) -> Path:
        file = f"{name.removesuffix('.md')}.md"
        own = self._services.recipe.folder / file
        return own if own.is_file() else PROMPTS / file

    async def chat(
        self,
        model: str,
        messages: Sequence[Message] | str,
        *,
        n: int = 1,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        schema: dict[str, Any] | None = None,
        tries: int = 3,
        tools: Sequence[Tool] = (),
        tool_choice: str = "",
        reasoning: str | None = None,
        index: int = 0,
        role: str = "teacher",
    ) -> list[Completion]:
        """n independent answers, in order of their sample index, journaled before they return.

        Ask the same thing again with another `index` to get fresh answers. With a JSON `schema`
        each answer is checked here, whatever the service promises, asked again with the fault
        named up to `tries` times in all, and parsed into `value`. `role` is what the model is in
        the ledger: teacher, judge or student.
        Raises: RowError for answers that never fit; ProviderError, RunError; a step lets all pass.
        """
        turns = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        request = ChatRequest(
            turns, n, temperature, top_p, max_tokens, tuple(stop), self.seed(index), top_k, min_p,
            presence_penalty, frequency_penalty, logprobs, schema, tuple(tools), tool_choice,
            reasoning,
        )  # fmt: skip
        client, asker = self._services.allowed(model), self._asker._replace(role=role)
        if schema is None:
            return await client.chat(model, request, asker)
        from karat.models.structured import chat_structured

        async def ask(asked: ChatRequest) -> list[Completion]:
            return await client.chat(model, asked, asker)

        return await chat_structured(ask, request, tries, client.of_earlier_run)

    async def complete(
        self, model: str, prompt: str, *, n: int = 1, temperature: float | None = None,
        top_p: float | None = None, top_k: int | None = None, min_p: float | None = None,
        presence_penalty: float | None = None, frequency_penalty: float | None = None,
        max_tokens: int | None = None, stop: Sequence[str] = (), index: int = 0,
        role: str = "teacher",
    ) -> list[Completion]:  # fmt: skip
        """n independent continuations of a raw text, journaled, priced and seeded as chat's are.

        No chat template is applied. Special tokens written in the text are special tokens; leave
        out the one that begins a text (BOS), which the server puts before it where the model wants
        one. At most 1,024 tokens where neither `max_tokens` nor the model says. Where a service has
        no such endpoint the row is dropped with the reason. Raises: ProviderError, RunError.
        """
        request = CompleteRequest(
            prompt, n, temperature, top_p, max_tokens, tuple(stop), self.seed(index), top_k, min_p,
            presence_penalty, frequency_penalty,
        )  # fmt: skip
        client, asker = self._services.allowed(model), self._asker._replace(role=role)
        return await client.complete(model, request, asker)

    async def embed(
        self, model: str, texts: Sequence[str], *, purpose: str = "", dimensions: int | None = None
    ) -> NDArray[np.float32]:
        """A vector for each text: texts × dimensions. `purpose` is query or document, where the
        model embeds the two apart. Raises: ProviderError, RunError."""
        request = EmbedRequest(tuple(texts), dimensions, purpose)
        return await self._services.allowed(model).embed(model, request, self._asker)

    async def rerank(self, model: str, query: str, documents: Sequence[str]) -> list[float]:
        """How relevant each document is to the query, in the order given, on the service's own
        scale. Raises: ProviderError, RunError."""
        request = RerankRequest(query, tuple(documents))
        return await self._services.allowed(model).rerank(model, request, self._asker)

    async def decide(
        self, model: str, messages: Sequence[Message] | str, questions: Sequence[Question],
        *, role: str = "judge",
    ) -> list[Verdict]:  # fmt: skip
        """Questions about a conversation, answered as probabilities without generated text.

        Where a service has no such endpoint, the probabilities are those of the first token of an
        answer by letter. Raises: ProviderError, RunError.
        """
        turns = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        request = DecideRequest(turns, tuple(questions))
        asker = self._asker._replace(role=role)
        return await self._services.allowed(model).decide(model, request, asker)

    async def score(
        self, reward: str, prompt: Sequence[Message], responses: Sequence[str],
        meta: Mapping[str, Any] = {},
    ) -> list[dict[str, float]]:  # fmt: skip
        """One mapping `reward.attribute` → score for each response, on the reward's own scale;
        empty for a response it has no score for. `meta` are the row's fields: a reference answer.

        Raises: RowError for what cannot be a score; ProviderError, RunError.
        """
        job = Candidates(tuple(prompt), tuple(responses), meta)
        found = await self._services.desk.score(reward, job, self._asker)
        return [{f"{reward}.{k}": v for k, v in (one or {}).items()} for one in found]

    def scale(self, key: str) -> tuple[float, float] | None:
        """(low, high) of a score; None where it is of no reward of the recipe."""
        return self._services.recipe.graders.scale(key)

    def by_people(self, reward: str) -> bool:
        """Whether a reward's scores are people's own."""
        return self._services.recipe.reward(reward).identity.startswith("human")

    def within_prompt(self, key: str) -> bool:
        """Whether a score compares with others of the same prompt only."""
        return self._services.recipe.graders.within_prompt(key)
