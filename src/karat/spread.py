"""Where pure functions over the parts of a table are carried out: here, or on many machines.

A step that works on parts says what is done to each and what is done with the results, and never
where. What it finds must not depend on how many parts there are, nor on how many ways an exchange
has: the same table gives the same result on a laptop and on a hundred machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Spread(Protocol):
    """Functions, items and results travel between processes: functions of a module, plain data."""

    @property
    def ways(self) -> int:
        """Into how many bundles an exchange is worth splitting."""
        ...

    def map(self, function: Callable[..., T], items: Sequence[Any], *shared: Any) -> Iterator[T]:
        """function(item, *shared) of each item, in order; few results wait at a time."""
        ...

    def exchange(
        self, split: Callable[..., Sequence[Any]], join: Callable[..., T], items: Sequence[Any],
        *shared: Any,
    ) -> Iterator[T]:  # fmt: skip
        """Everything that belongs together, together, whatever items it came from.

        `split(item, ways, *shared)` gives `ways` bundles; join(bundles, *shared) gets the first
        bundles of all items, in their order, then the second ones, and so on. Results in that
        order. Bundles go from where they are made to where they are joined, and nowhere else.
        """
        ...


class Here:
    """In this process, one after another."""

    ways = 1

    def map(self, function: Callable[..., T], items: Sequence[Any], *shared: Any) -> Iterator[T]:
        return (function(item, *shared) for item in items)

    def exchange(
        self, split: Callable[..., Sequence[Any]], join: Callable[..., T], items: Sequence[Any],
        *shared: Any,
    ) -> Iterator[T]:  # fmt: skip
        yield join([split(item, 1, *shared)[0] for item in items], *shared)
