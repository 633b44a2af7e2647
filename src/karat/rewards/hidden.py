"""What the layers of a frozen language model say of a response, as columns of a head.

The shape of Nemotron-4-340B-Reward with a small model: its layers know what a text is like, and a
head learns from people what that is worth. The model is read and never trained, so a thousand
ratings are enough. Of each layer the last two tokens are taken (one of them ends the turn), which
have seen everything, and the mean over the answer, which forgets where it ends; of the lower half
of the layers, since the upper ones turn to the next word.

Source: linear probes, Alain & Bengio 2016 (arXiv 1610.01644); Nemotron-4 340B (arXiv 2406.11704).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.rewards.head_parts import Floats, Linear, Standard

if TYPE_CHECKING:
    from karat.row import Message

States = NDArray[np.float32]
PER_LAYER = 3  # the last token, the one before it, and the mean over the answer


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What is read: of which model, which layers (1 is the first), how much of a text.

    `mark` is of its weights and its tokenizer, `revision` the commit of a hub's model, `size` the
    width of a layer. Of a conversation the last `prompt` tokens before the answer are read, of the
    answer the `first` and the `last` ones. `probe` is what was read of a text that is always the
    same. A relative `model` is one of the folder that the head's file lies in.
    """

    model: str
    mark: str
    revision: str | None
    licence: str
    layers: tuple[int, ...]
    size: int
    prompt: int = 256
    first: int = 256
    last: int = 64
    probe: tuple[float, ...] = ()

    @property
    def longest(self) -> int:
        """Tokens of the longest conversation that is read."""
        return self.prompt + self.first + self.last

    @property
    def width(self) -> int:
        """Numbers of one response."""
        return PER_LAYER * len(self.layers) * self.size


class Reader(Protocol):
    """A model that is read."""

    @property
    def reading(self) -> Reading:
        """What it reads."""
        ...

    def read(self, prompt: Sequence[Message], responses: Sequence[str]) -> States:
        """hidden_NH of the responses. Raises: RowError for a conversation that cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Hidden:
    """A ridge regression of M members on hidden states, which adds to the rest of a head."""

    reading: Reading
    standard: Standard
    linear: Linear

    def votes(self, hidden_NH: Floats) -> Floats:
        """y_NMA."""
        return self.linear.predict(self.standard(hidden_NH))
