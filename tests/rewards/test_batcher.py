"""The micro-batcher: what streams by one at a time is scored together, and fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from karat.errors import RowError, RunError
from karat.rewards.base import Candidates
from karat.rewards.batcher import Batcher
from karat.row import Message

PROMPT = (Message("user", "?"),)


class Numbers:
    """Scores a text that is a number as that number; what it fails on is named by the test."""

    batch = 8

    def __init__(self, fails: dict[str, BaseException] | None = None) -> None:
        self.fails = fails or {}
        self.together: list[list[int]] = []  # responses of each job of each pass
        self.alone = 0
        self.threads: set[int] = set()
        self.go = threading.Event()
        self.go.set()

    def score(self, prompt: Sequence[Message], responses: Sequence[str]) -> NDArray[np.float64]:
        self.alone += 1
        return self._scores(responses)

    def score_many(self, jobs: Sequence[Candidates]) -> list[NDArray[np.float64]]:
        assert self.go.wait(10)
        self.threads.add(threading.get_ident())
        self.together.append([len(job.responses) for job in jobs])
        return [self._scores(job.responses) for job in jobs]

    def _scores(self, responses: Sequence[str]) -> NDArray[np.float64]:
        for text in responses:
            if text in self.fails:
                raise self.fails[text]
        return np.array([[float(text)] for text in responses])


def run(reward, jobs: Sequence[Sequence[str]]):
    """The outcome of each job, all asked for at once."""

    async def main():
        batcher = Batcher(reward)
        try:
            asked = [batcher.score(Candidates(PROMPT, tuple(job))) for job in jobs]
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            batcher.close()

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_each_gets_its_own_scores_in_batches_of_the_rewards_size():
    reward = Numbers()
    jobs = [[str(10 * i + k) for k in range(1 + i % 3)] for i in range(30)]
    found = run(reward, jobs)
    for job, scores in zip(jobs, found, strict=True):
        assert scores[:, 0].tolist() == [float(text) for text in job]
    assert all(sum(sizes) <= 8 for sizes in reward.together)
    assert len(reward.together) + reward.alone <= 12  # sixty responses
    assert len(reward.threads) == 1


def test_a_job_larger_than_a_batch_is_scored_by_itself():
    reward = Numbers()
    run(reward, [["1"], ["2"] * 20, ["3"]])
    assert reward.together == []
    assert reward.alone == 3


@pytest.mark.parametrize("error", [RowError("bad"), ValueError("bad")])
def test_a_bad_job_takes_no_other_with_it(error):
    reward = Numbers({"3": error})
    *good, bad = run(reward, [["1"], ["2"], ["4", "5"], ["3"]])
    assert bad is error
    assert [scores[:, 0].tolist() for scores in good] == [[1.0], [2.0], [4.0, 5.0]]


def test_jobs_may_fail_one_by_one_without_being_scored_again():
    class Told(Numbers):
        def score_many(self, jobs):
            super().score_many(jobs)
            return [
                RowError("no") if "3" in j.responses else self._scores(j.responses) for j in jobs
            ]

    reward = Told()
    first, second = run(reward, [["1"], ["3"]])
    assert first.tolist() == [[1.0]]
    assert isinstance(second, RowError)
    assert reward.alone == 0


def test_a_reward_that_cannot_run_is_not_asked_again_for_each_job():
    reward = Numbers({"1": RunError("no model")})
    found = run(reward, [["1"], ["2"], ["3"]])
    assert [str(error) for error in found] == ["no model"] * 3
    assert reward.alone == 0


def test_a_wrong_number_of_outcomes_is_not_believed():
    class Short(Numbers):
        def score_many(self, jobs):
            return super().score_many(jobs)[:-1]

    found = run(Short(), [["1"], ["2"], ["3"]])
    assert [scores.item() for scores in found] == [1.0, 2.0, 3.0]


def test_while_one_batch_is_scored_the_next_gathers():
    reward = Numbers()
    reward.go.clear()

    async def main():
        batcher = Batcher(reward)
        first = [
            asyncio.create_task(batcher.score(Candidates(PROMPT, (str(i),)))) for i in range(2)
        ]
        await asyncio.sleep(0.05)
        more = [asyncio.create_task(batcher.score(Candidates(PROMPT, (str(i),)))) for i in range(6)]
        await asyncio.sleep(0)
        reward.go.set()
        await asyncio.gather(*first, *more)
        batcher.close()

    asyncio.run(main())
    assert reward.together == [[1] * 2, [1] * 6]


def test_what_nobody_waits_for_any_more_is_not_scored():
    reward = Numbers()
    reward.go.clear()

    async def main():
        batcher = Batcher(reward)
        jobs = [Candidates(PROMPT, (str(i),)) for i in range(20)]
        tasks = [asyncio.create_task(batcher.score(job)) for job in jobs]
        await asyncio.sleep(0.05)  # eight are at the reward, twelve wait
        for task in tasks[2:19]:
            task.cancel()
        await asyncio.sleep(0)
        reward.go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        late = await batcher.score(Candidates(PROMPT, ("77",)))
        batcher.close()
        return found, late

    found, late = asyncio.run(main())
    assert [found[i].item() for i in (0, 1, 19)] == [0.0, 1.0, 19.0]
    assert all(isinstance(one, asyncio.CancelledError) for one in found[2:19])
    assert late.item() == 77.0
    assert reward.together == [[1] * 8]
    assert reward.alone == 2


def test_closing_lets_nobody_wait_for_ever():
    reward = Numbers()
    reward.go.clear()

    async def main():
        batcher = Batcher(reward)
        jobs = [Candidates(PROMPT, (str(i),)) for i in range(20)]
        tasks = [asyncio.create_task(batcher.score(job)) for job in jobs]
        await asyncio.sleep(0.05)
        batcher.close()
        reward.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(asyncio.wait_for(main(), 20))
    assert [one.item() for one in found[:8]] == [float(i) for i in range(8)]
    assert all(isinstance(one, BaseException) for one in found[8:])


def test_it_can_be_used_again_after_it_was_idle():
    async def main():
        batcher = Batcher(Numbers())
        found = [(await batcher.score(Candidates(PROMPT, (str(i),)))).item() for i in range(5)]
        batcher.close()
        return found

    assert asyncio.run(main()) == [0.0, 1.0, 2.0, 3.0, 4.0]
