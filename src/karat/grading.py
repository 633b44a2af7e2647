"""Scores of responses, through the journal: what a reward has graded once is not graded again.

A score's key holds the reward's identity, the prompt and the response, and nothing of the run. So
the same response is graded once, whatever step asks and in whatever order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor

import orjson

from karat.errors import RowError
from karat.journal import Journal
from karat.ledger import Attempt, Record, new_id
from karat.models.endpoint import Asker
from karat.rewards.base import Reward
from karat.row import Message, digest

Scores = dict[str, float]


async def graded(
    grader: Reward, prompt: Sequence[Message], responses: Sequence[str], journal: Journal,
    executor: Executor, asker: Asker,
) -> list[Scores]:  # fmt: skip
    """The attributes of each response, on the reward's own scale, recorded before they return.

    Raises: RowError when the reward's answer is not a finite number for every attribute.
    """
    base = orjson.dumps([(m.role, m.content) for m in prompt])
    keys = [digest(grader.identity, base, response) for response in responses]
    found = journal.get(keys)
    scores: dict[bytes, Scores] = {key: orjson.loads(hit[1]) for key, hit in found.items()}
    missing = [place for place, key in enumerate(keys) if key not in found]
    if missing:
        texts = [responses[place] for place in missing]
        started, clock = time.time(), time.perf_counter()
        loop = asyncio.get_running_loop()
        scores_NA = await loop.run_in_executor(executor, grader.score, prompt, texts)
        elapsed_ms = (time.perf_counter() - clock) * 1000
        fresh = [_checked(grader, line) for line in scores_NA.tolist()]
        bought = new_id()
        records = [
            Record(
                key=keys[place], attempt=bought, kind="score", model=grader.name, step=asker.step,
                row=asker.row, sample=place, content=orjson.dumps(one).decode(), cost_nano=0,
                started=started,
            )
            for place, one in zip(missing, fresh, strict=True)
        ]  # fmt: skip
        attempt = Attempt(
            id=bought, kind="score", role="reward", model=grader.name, route=grader.identity,
            step=asker.step, row=asker.row, started=started, samples=len(records),
            latency_ms=elapsed_ms,
        )  # fmt: skip
        await journal.put(records, attempt)
        scores.update((keys[place], one) for place, one in zip(missing, fresh, strict=True))
    return [scores[key] for key in keys]


def _checked(grader: Reward, line: Sequence[float]) -> Scores:
    scores = dict(zip(grader.attributes, line, strict=True))
    if not all(abs(value) < float("inf") for value in line):
        raise RowError(f"{grader.name} gave a score that is not a number: {scores}")
    return scores
