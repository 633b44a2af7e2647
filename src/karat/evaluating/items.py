"""What every benchmark comes down to: a prompt, responses of which the first are the right ones.

Benchmarks differ in what they ask of the scores, not in what is scored. So one shape holds them
all, the reward is asked one way, and only the protocol of a set knows what right means there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from karat.row import Message, digest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt with its responses, the first `right` of which are better than all others.

    `tie`: people found the two alike. `ratings`: five human ratings of each response, in the order
    of the reward's attributes. `key` is the item's own name where the protocol needs one. `group`
    tells prompts apart: intervals draw whole prompts.
    """

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    group: str
    right: int = 1
    subset: str = ""
    key: str = ""
    tie: bool = False
    strength: float = math.nan
    ratings: tuple[tuple[float, ...], ...] = ()

    def order(self) -> list[int]:
        """Places of the responses as the reward is shown them: where the right one stands must
        not give it away, and must be the same in every evaluation."""
        return sorted(range(len(self.responses)), key=lambda place: self._mark(place))

    def _mark(self, place: int) -> bytes:
        return digest(self.group, self.responses[place], str(place))


@dataclass(slots=True)
class EvalSet:
    """A set under the name it is reported by; `kind` is that of its protocol.

    `files` holds the names of the files it came from (or of the set on the hub), `left_out` how
    many records are not measured on, by reason.
    """

    name: str
    kind: str
    items: list[Item]
    files: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def responses(self) -> int:
        return sum(len(item.responses) for item in self.items)

    def prompts(self) -> tuple[Ints, int]:
        """(prompt_I, how many): the number of each item's prompt, in order of appearance."""
        return numbered([item.group for item in self.items])


def numbered(names: Sequence[str]) -> tuple[Ints, int]:
    """(number of each name in order of first appearance, how many there are)."""
    places: dict[str, int] = {}
    numbers = [places.setdefault(name, len(places)) for name in names]
    return np.array(numbers, np.int64), len(places)
