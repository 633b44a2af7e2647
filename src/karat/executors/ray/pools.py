"""Reward models in actors of their own: few copies with a share of a GPU each, for many workers.

A worker waits for the network and there are many of it; a reward model waits for a device and there
are few. So a reward that runs in this process elsewhere runs here in a pool: a copy gathers what
all workers send and scores it in batches as large as one machine's would be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.exceptions import RayError

from karat.errors import KaratError, RecipeError
from karat.executors.ray.faults import explain
from karat.executors.ray.job import Order, Pool
from karat.recipe import Recipe
from karat.rewards.base import Candidates, is_local
from karat.rewards.batcher import Batcher
from karat.rewards.transformers import TransformersReward

AT_ONCE = 1000  # jobs that may wait in one copy
LONG_S = 60.0  # after which it is said that a copy has no place, or is still being loaded


def pools(recipe: Recipe, asked: Mapping[str, Pool], gpus: float) -> dict[str, Pool]:
    """The pools of a run: what was asked for, and one copy a GPU of each transformers model.

    Raises: RecipeError for what cannot be in a pool.
    """
    named = {n for call in recipe.steps for _, r in call.named("reward")
             for n in recipe.graders.behind(r)}  # fmt: skip
    for name, pool in asked.items():
        if name not in named:
            known = ", ".join(sorted(named)) or "none"
            raise RecipeError(f"--pool {name}: the recipe grades with no such reward ({known})")
        if not is_local(recipe.reward(name)):
            raise RecipeError(f"--pool {name}: it is asked over the network, and needs no pool")
        if _devices(pool) > gpus:
            raise RecipeError(
                f"--pool {name}: {pool.copies} copies of {pool.gpus:g} GPUs each need "
                f"{_devices(pool):g} GPUs, and the cluster has {gpus:g}"
            )
    left = gpus - sum(pool.copies * pool.gpus for pool in asked.values())
    if left < -1e-9:  # a copy without a place would keep what is sent to it for ever
        raise RecipeError(
            f"--pool: all copies together need {gpus - left:g} GPUs, and the cluster has {gpus:g}"
        )
    others = sorted(
        name for name in named - asked.keys() if isinstance(recipe.reward(name), TransformersReward)
    )
    return {**asked, **dict.fromkeys(others, _share(max(0.0, left), len(others)))}


def _devices(pool: Pool) -> float:
    """GPUs that its copies need: a share is of one of them."""
    if not 0 < pool.gpus < 1:
        return pool.copies * pool.gpus
    return float(-(-pool.copies // int(1 / pool.gpus + 1e-9)))


def _share(left: float, pools: int) -> Pool:
    """Of so many GPUs that are left, for each of so many pools."""
    if left < 1:
        return Pool(1, int(1e4 * left / max(1, pools)) / 1e4)
    each = int(left) // max(1, pools)
    return Pool(each, 1.0) if each else Pool(1, int(1e4 / -(-pools // int(left))) / 1e4)


class Grader:
    """The actor: one copy of a reward. What one job cannot be scored for is returned with it."""

    def __init__(self, order: Order, name: str) -> None:
        self._reward: Any = order.recipe().reward(name)
        self._batcher: Batcher | None = None

    async def score(self, job: Candidates) -> NDArray[np.float64] | Exception:
        """scores_NA of the job's responses, or why there are none."""
        if self._batcher is None:
            self._batcher = Batcher(self._reward)
        try:
            return await self._batcher.score(job)
        except KaratError as error:
            return error


class Sent:
    """A Batcher whose reward is elsewhere: each job goes to the copy with the fewest of ours."""

    def __init__(self, copies: list[Any]) -> None:
        self._copies = copies
        self._waiting = [0] * len(copies)

    async def score(self, job: Candidates) -> NDArray[np.float64]:
        """scores_NA of the job's responses. Raises: what the reward raises on this job."""
        place = min(range(len(self._copies)), key=self._waiting.__getitem__)
        self._waiting[place] += 1
        try:
            found = await self._copies[place].score.remote(job)
        except RayError as error:
            raise explain(error) from error
        finally:
            self._waiting[place] -= 1
        if isinstance(found, Exception):
            raise found
        return np.asarray(found)

    def close(self) -> None:
        """The copies are the driver's to end."""


def start(ray: Any, order: Order, wanted: Mapping[str, Pool]) -> dict[str, list[Any]]:
    """The copies of each pool by the reward's name. A lost one starts again: scores are free."""
    actor = ray.remote(Grader)
    return {
        name: [
            actor.options(
                num_cpus=0 if pool.gpus else 1, num_gpus=pool.gpus, max_restarts=-1,
                max_task_retries=-1, max_concurrency=AT_ONCE,
            ).remote(order, name)
            for _ in range(pool.copies)
        ]
        for name, pool in wanted.items()
    }  # fmt: skip


async def told_late(held: Mapping[str, list[Any]], say: Callable[[str], None]) -> None:
    """Says which copies have no place after a while: what is sent to them waits."""
    for name, copies in held.items():
        ready = {asyncio.ensure_future(_begun(copy)) for copy in copies}
        _, waiting = await asyncio.wait(ready, timeout=LONG_S) if ready else (ready, ready)
        if waiting:
            say(
                f"reward {name}: {len(waiting)} of {len(copies)} copies have no place yet, and "
                "what is sent to them waits; fewer copies in --pool need less"
            )


async def _begun(copy: Any) -> None:
    await copy.__ray_ready__.remote()


async def stop(ray: Any, held: Mapping[str, list[Any]]) -> None:
    for copy in (one for copies in held.values() for one in copies):
        await asyncio.to_thread(ray.kill, copy)
