"""Hidden states of all that a head is trained and tested on, each prompt read once, with progress.

Reading is nearly all the time that a head on a frozen model takes, so it comes first and says how
far it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from karat.errors import RecipeError, RowError
from karat.rewards.hidden import Reader, Reading, States
from karat.row import Message
from karat.training.ratings import HumanData

Say = Callable[[str], None]
Prompt = tuple[Message, ...]
_SAY_EVERY_S = 10.0


class Remembered:
    """A reader that has read all answers of some data, and reads what else it is asked for."""

    def __init__(self, reader: Reader, data: HumanData, say: Say | None = None) -> None:
        """Raises: RecipeError for a conversation that the model's chat template refuses."""
        self._reader = reader
        self._known: dict[tuple[Prompt, str], States] = {}
        texts: dict[Prompt, dict[str, None]] = {}
        for row in data.rated:
            texts.setdefault(row.prompt, {})[row.response] = None
        for pair in data.pairs:
            texts.setdefault(pair.prompt, {}).update({pair.chosen: None, pair.rejected: None})
        tell = _Progress(say, sum(map(len, texts.values())), reader.reading.model)
        for prompt, answers in texts.items():
            self._learn(prompt, list(answers))
            tell(len(answers))

    @property
    def reading(self) -> Reading:
        """What is read of which model."""
        return self._reader.reading

    def read(self, prompt: Sequence[Message], responses: Sequence[str]) -> States:
        """hidden_NH. Raises: RecipeError, RunError."""
        own = tuple(prompt)
        new = [text for text in dict.fromkeys(responses) if (own, text) not in self._known]
        self._learn(own, new)
        found = [self._known[own, text] for text in responses]
        return np.array(found, np.float32).reshape(len(found), self.reading.width)

    def _learn(self, prompt: Prompt, texts: Sequence[str]) -> None:
        try:
            states_NH = self._reader.read(prompt, texts)
        except RowError as error:
            raise RecipeError(f"{error}; leave such conversations out of the data") from error
        self._known |= {(prompt, text): h for text, h in zip(texts, states_NH, strict=True)}


class _Progress:
    """One line every few seconds: answers read, answers a second, time left."""

    def __init__(self, say: Say | None, total: int, model: str) -> None:
        self._say, self._total, self._model = say, total, model
        self._done, self._begun, self._said = 0, time.monotonic(), time.monotonic()

    def __call__(self, more: int) -> None:
        self._done += more
        now = time.monotonic()
        last = self._done == self._total
        if self._say is None or not (last or now - self._said >= _SAY_EVERY_S):
            return
        self._said = now
        rate = self._done / max(now - self._begun, 1e-9)
        left = "" if last else f", {(self._total - self._done) / rate:,.0f} s left"
        self._say(
            f"reading {self._model}: {self._done:,} of {self._total:,} answers, {rate:.1f} a "
            f"second{left}"
        )
