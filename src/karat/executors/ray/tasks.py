"""karat.spread.Spread on Ray: functions of a module as tasks, on whatever machine has room.

What an exchange moves stays in Ray's object stores, from the task that makes it to the one that
joins it; it is spilled to disk where memory is short, and made again where a machine is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ray.exceptions import RayTaskError

from karat.errors import KaratError

T = TypeVar("T")
AHEAD = 2  # tasks that wait or run, for each CPU
PLACED = {"num_cpus": 1, "scheduling_strategy": "SPREAD", "max_retries": 5}


class Tasks:
    """`ray` is the module, connected; `cpus` those of the cluster."""

    def __init__(self, ray: Any, cpus: int) -> None:
        self._ray, self._cpus = ray, cpus
        self.ways = cpus

    def map(self, function: Callable[..., T], items: Sequence[Any], *shared: Any) -> Iterator[T]:
        run = self._ray.remote(function).options(**PLACED)
        sent = [self._ray.put(one) for one in shared]
        waiting: deque[Any] = deque()
        for item in items:
            if len(waiting) >= AHEAD * self._cpus:
                yield self._get(waiting.popleft())
            waiting.append(run.remote(item, *sent))
        while waiting:
            yield self._get(waiting.popleft())

    def exchange(
        self, split: Callable[..., Sequence[Any]], join: Callable[..., T], items: Sequence[Any],
        *shared: Any,
    ) -> Iterator[T]:  # fmt: skip
        ways = self.ways
        cut = self._ray.remote(split).options(**PLACED, num_returns=ways)
        meet = self._ray.remote(_joiner(join)).options(**PLACED)
        sent = [self._ray.put(one) for one in shared]
        bundles = [cut.remote(item, ways, *sent) for item in items]
        if ways == 1:
            bundles = [[one] for one in bundles]
        joined = [
            meet.remote(len(items), *(made[way] for made in bundles), *sent) for way in range(ways)
        ]
        del bundles
        for place in range(ways):
            found = self._get(joined[place])
            joined[place] = None
            yield found

    def _get(self, ref: Any) -> Any:
        """A task's result. Raises: what the task raised, as it was."""
        try:
            return self._ray.get(ref)
        except RayTaskError as error:
            if isinstance(error.cause, KaratError):
                raise error.cause from None
            raise


def _joiner(join: Callable[..., T]) -> Callable[..., T]:
    """Ray hands over bundles as arguments, so that they come from wherever they are."""

    def joined(count: int, *rest: Any) -> T:
        return join(list(rest[:count]), *rest[count:])

    return joined
