"""What a reward is: named attributes on a stated scale, and a function that scores responses.

Nothing in karat compares raw scores of two different rewards: a score only means something next to
others of the same reward, which is why its name is part of the key it is stored under.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from karat.row import Message


class Reward(Protocol):
    """Grades the responses to one prompt.

    `attributes` maps each name to its scale (low, high), in the order of the columns of `score`.
    `identity` names the reward and the exact weights behind it: it goes into every journal key.
    """

    name: str
    identity: str
    attributes: dict[str, tuple[float, float]]
    licence: str

    def score(self, prompt: Sequence[Message], responses: Sequence[str]) -> NDArray[np.float64]:
        """scores_NA: one line per response, one column per attribute. Sync and thread-safe."""
        ...
