"""karat.spread.Spread on Ray: functions of a module as tasks, on whatever machine has room.

What an exchange moves stays in Ray's object stores, from the task that makes it to the one that
joins it; it is spilled to disk where memory is short, and made again where a machine is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ray.exceptions import RayError

from karat.executors.ray.faults import explain

T = TypeVar("T")
# Of an exchange: every split makes an object for every way, and one process keeps count of all.
MOST_SPLITS, MOST_WAYS = 1024, 256
AHEAD = 2  # tasks that wait or run, for each CPU
PLACED = {"num_cpus": 1, "scheduling_strategy": "SPREAD", "max_retries": 5}


class Tasks:
    """`ray` is the module, connected; `cpus` those of the cluster."""

    def __init__(self, ray: Any, cpus: int) -> None:
        self._ray, self._cpus = ray, cpus
        self.ways = min(cpus, MOST_WAYS)

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
        cut = self._ray.remote(_splitter(split)).options(**PLACED, num_returns=ways)
        meet = self._ray.remote(_joiner(join)).options(**PLACED)
        sent = [self._ray.put(one) for one in shared]
        size = max(1, -(-len(items) // MOST_SPLITS))
        groups = [items[first : first + size] for first in range(0, len(items), size)]
        bundles = [cut.remote(group, ways, *sent) for group in groups]
        if ways == 1:
            bundles = [[one] for one in bundles]
        joined = [
            meet.remote(len(groups), *(made[way] for made in bundles), *sent) for way in range(ways)
        ]
        del bundles
        for place in range(ways):
            found = self._get(joined[place])
            joined[place] = None
            yield found

    def _get(self, ref: Any) -> Any:
        """A task's result. Raises: what the task raised of karat's, as it was, or RunError."""
        try:
            return self._ray.get(ref)
        except RayError as error:
            raise explain(error) from error


def _splitter(split: Callable[..., Sequence[Any]]) -> Callable[..., Any]:
    """Of several items at once: what they have for one way is one object of Ray's."""

    def several(items: Sequence[Any], ways: int, *shared: Any) -> Any:
        made = [split(item, ways, *shared) for item in items]
        found = [[bundles[way] for bundles in made] for way in range(ways)]
        return found[0] if ways == 1 else found

    return several


def _joiner(join: Callable[..., T]) -> Callable[..., T]:
    """Ray hands over bundles as arguments, so that they come from wherever they are."""

    def joined(count: int, *rest: Any) -> T:
        return join([one for bundles in rest[:count] for one in bundles], *rest[count:])

    return joined
