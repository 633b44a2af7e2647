"""A micro-batcher: rows that stream by one at a time, scored together.

While one batch is being scored the next one gathers, so there is no timer to tune: a busy reward
sees large batches, an idle one answers at once. One thread, since a local reward is bound by the
CPU or the device, and more would only make the event loop wait. What a score is never depends on
what it was batched with: rewards promise that, and `karat reward check` looks.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from karat.errors import RunError
from karat.rewards.base import Candidates, Local

Floats = NDArray[np.float64]
Outcome = Floats | Exception


class Batcher:
    """Scores the jobs of one reward, up to `reward.batch` responses at a time."""

    def __init__(self, reward: Local) -> None:
        self._reward = reward
        self._waiting: list[tuple[Candidates, asyncio.Future[Floats]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="karat-reward")
        self._busy = self._closed = False

    async def score(self, job: Candidates) -> Floats:
        """scores_NA of the job's responses. Raises: what the reward raises on this job."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Floats] = loop.create_future()
        self._waiting.append((job, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._begin, loop)  # the other rows of this turn join
        return await future

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiting = [one for one in self._waiting if not one[1].done()]  # cancelled meanwhile
        if not self._waiting or self._closed:
            self._busy = False
            self._give_up()
            return
        taken, size = 0, 0
        for job, _ in self._waiting:
            size += len(job.responses)
            if taken and size > self._reward.batch:
                break
            taken += 1
        batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
        work = loop.run_in_executor(self._thread, self._run, [job for job, _ in batch])
        work.add_done_callback(lambda done: self._end(loop, done, [future for _, future in batch]))

    def _run(self, jobs: list[Candidates]) -> list[Outcome]:
        """A reward may fail jobs one by one, as outcomes; where it fails as a whole, each job is
        tried alone, so that a bad row takes none with it."""
        if len(jobs) > 1:
            with suppress(Exception):
                try:
                    found: list[Outcome] = [*self._reward.score_many(jobs)]
                except RunError as error:  # it would fail each of them, after as long a wait
                    return [error] * len(jobs)
                if len(found) == len(jobs):
                    return found
        return [self._alone(job) for job in jobs]

    def _alone(self, job: Candidates) -> Outcome:
        try:
            return self._reward.score(job.prompt, job.responses)
        except Exception as error:
            return error

    def _end(
        self, loop: asyncio.AbstractEventLoop, work: asyncio.Future[list[Outcome]],
        futures: list[asyncio.Future[Floats]],
    ) -> None:  # fmt: skip
        if work.cancelled():  # closed
            self._busy = False
            for future in futures:
                future.cancel()
            return
        self._begin(loop)  # first, so that the reward works on while rows go their way
        broken = work.exception()
        outcomes = [broken] * len(futures) if broken is not None else work.result()
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.done():  # nobody waits for it any more
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _give_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.get_loop().is_closed():
                future.cancel()

    def close(self) -> None:
        """What is being scored ends; what waits is cancelled."""
        self._closed = True
        self._give_up()
        self._thread.shutdown(wait=False, cancel_futures=True)
