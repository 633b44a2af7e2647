"""Scores of responses, through the journal: what a reward has graded once is not graded again.

A score's key holds the reward's identity, the prompt and the response, and nothing of the run. So
the same response is graded once, whatever step asks and in whatever order. A judge's key is that of
its own answer, whose seed follows from what it was asked: editing how answers are added up costs
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from karat.errors import ProviderError, RowError, RunError
from karat.journal import Journal
from karat.ledger import Attempt, Record, new_id
from karat.models.chat import ChatRequest, Completion
from karat.models.client import Client
from karat.models.endpoint import Asker
from karat.models.structured import chat_structured
from karat.rewards.base import (
    Asking,
    Candidates,
    Local,
    Remote,
    Reward,
    Scale,
    Scores,
    is_asking,
    is_local,
    is_remote,
)
from karat.rewards.batcher import Batcher
from karat.rewards.order import ScoreOrder, check_scores, score_keys
from karat.row import SEED_RANGE, Message, canonical, digest


class Batching(Protocol):
    """What a Batcher does, wherever its reward is."""

    async def score(self, job: Candidates) -> NDArray[np.float64]: ...

    def close(self) -> None: ...


class Desk:
    """Where the rewards of one run are asked. `find` gives the reward behind a name, `allowed` the
    client for a model that may be asked. `elsewhere` holds what scores in place of rewards of this
    process, by the reward's identity."""

    def __init__(
        self, client: Client, find: Callable[[str], Any], allowed: Callable[[str], Client]
    ) -> None:
        self.client, self.find, self.allowed = client, find, allowed
        self.elsewhere: dict[str, Batching] = {}
        self._batchers: dict[str, Batching] = {}

    async def score(self, name: str, job: Candidates, asker: Asker) -> list[Scores | None]:
        """The attributes of each response on the reward's own scale, recorded before they return;
        None where it has none to give.

        Raises: RowError for what cannot be a score; ProviderError, RunError.
        """
        reward: Reward = self.find(name)
        if not job.responses:
            return []
        if is_asking(reward):
            return await self._asked(reward, job, asker)
        if is_remote(reward):
            return await self._bought(reward, job, asker)
        if is_local(reward):
            return await self._local(reward, job, asker)
        raise TypeError(f"{reward!r} has none of score, post and grade: see karat.rewards.base")

    async def _asked(self, reward: Asking, job: Candidates, asker: Asker) -> list[Scores | None]:
        found = await reward.grade(_Ask(self, asker), job)
        if len(found) != len(job.responses):
            raise RowError(f"{reward.name}: {len(found)} scores for {len(job.responses)} responses")
        for scores in found:
            if scores is not None:
                _check(reward, scores)
        return found

    async def _bought(self, reward: Remote, job: Candidates, asker: Asker) -> list[Scores | None]:
        """From a server, under the name `reward …`, which no recipe gives a model."""
        name = f"reward {reward.identity}"
        self.client.models.setdefault(name, reward.spec)
        order = ScoreOrder(reward, job.prompt, job.responses)
        try:
            got = await self.client.buy(name, order, asker._replace(role="reward"))
        except ProviderError as error:
            if error.kind != "unreadable":
                raise
            raise RowError(f"{reward.name} gave no score that can be used: {error}") from error
        except RunError as error:
            if "HTTP 404" in str(error) and reward.unserved:
                raise RunError(f"{error}. {reward.unserved}") from error
            raise
        return [orjson.loads(one.held[1]) for one in got]

    async def _local(self, reward: Local, job: Candidates, asker: Asker) -> list[Scores | None]:
        journal = self.client.journal
        keys = score_keys(reward.identity, job.prompt, job.responses)
        held = await journal.get(keys)
        known: dict[bytes, Scores] = {key: orjson.loads(hit[1]) for key, hit in held.items()}
        first = {key: place for place, key in reversed(list(enumerate(keys))) if key not in known}
        if first:
            places = sorted(first.values())
            texts = tuple(job.responses[place] for place in places)
            started, clock = time.time(), time.perf_counter()
            batcher = self._batchers.get(reward.identity)
            if batcher is None:
                batcher = self.elsewhere.get(reward.identity) or Batcher(reward)
                self._batchers[reward.identity] = batcher
            scores_NA = await batcher.score(Candidates(job.prompt, texts, job.meta))
            names = tuple(reward.attributes)
            fresh = [dict(zip(names, line, strict=True)) for line in scores_NA.tolist()]
            if len(fresh) != len(places):
                raise ValueError(f"{reward.name}: {len(fresh)} scores for {len(places)} responses")
            for scores in fresh:
                _check(reward, scores)
            known |= zip((keys[place] for place in places), fresh, strict=True)
            latency_ms = (time.perf_counter() - clock) * 1000
            made = _attempt(reward, asker, started, len(places), latency_ms)
            known |= await _write(journal, made, [(keys[p], p, known[keys[p]]) for p in places])
        return [known[key] for key in keys]

    def close(self) -> None:
        for batcher in self._batchers.values():
            batcher.close()


def _check(reward: Reward, scores: Scores) -> None:
    try:
        check_scores(reward.attributes, scores)
    except ValueError as error:
        raise RowError(f"{reward.name} gave no score that can be used: {error}") from error


def _attempt(
    reward: Reward, asker: Asker, started: float, samples: int, latency_ms: float
) -> Attempt:
    return Attempt(
        id=new_id(), kind="score", role="reward", model=reward.name, route=reward.identity,
        step=asker.step, row=asker.row, started=started, samples=samples, latency_ms=latency_ms,
    )  # fmt: skip


async def _write(
    journal: Journal, made: Attempt, scored: Sequence[tuple[bytes, int, Scores]]
) -> dict[bytes, Scores]:
    """Records them; returns those that another process recorded first, which stay."""
    records = [
        Record(
            key=key, attempt=made.id, kind="score", model=made.model, step=made.step, row=made.row,
            sample=place, content=orjson.dumps(scores).decode(), cost_nano=0, started=made.started,
        )
        for key, place, scores in scored
    ]  # fmt: skip
    first = await journal.put(records, made)
    return {key: orjson.loads(held[1]) for key, held in first.items()}


class _Ask:
    """What an Asking reward may touch: see rewards.base.Ask."""

    def __init__(self, desk: Desk, asker: Asker) -> None:
        self._desk = desk
        self._asker = asker._replace(role="judge")

    async def chat(
        self, model: str, messages: Sequence[Message], *, n: int = 1,
        temperature: float | None = None, top_p: float | None = None,
        max_tokens: int | None = None, logprobs: int | None = None,
        schema: dict[str, Any] | None = None, tries: int = 3, reasoning: str | None = None,
    ) -> list[Completion]:  # fmt: skip
        said = canonical([(m.role, m.content) for m in messages])
        seed = int.from_bytes(digest(said, size=8), "little") % SEED_RANGE
        request = ChatRequest(
            tuple(messages), n, temperature, top_p, max_tokens, seed=seed, logprobs=logprobs,
            schema=schema, reasoning=reasoning,
        )  # fmt: skip
        client = self._desk.allowed(model)

        async def ask(asked: ChatRequest) -> list[Completion]:
            return await client.chat(model, asked, self._asker)

        if schema is None:
            return await ask(request)
        return await chat_structured(ask, request, tries, client.of_earlier_run)

    def of_earlier_run(self, answer: Completion) -> bool:
        return self._desk.client.of_earlier_run(answer)

    async def score(self, reward: str, job: Candidates) -> list[Scores | None]:
        return await self._desk.score(reward, job, self._asker)

    def attributes(self, reward: str) -> Mapping[str, Scale]:
        found: Reward = self._desk.find(reward)
        return found.attributes
