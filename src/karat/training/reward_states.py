"""Hidden states of all that a head is trained and tested on, each prompt read once, with progress.

Reading is nearly all the time that a head on a frozen model takes, so it comes first, says how far
it is, and is kept in a file until the head is written: the same command goes on where a killed one
stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from karat.errors import RecipeError, RowError, RunError
from karat.rewards.hidden import Reader, Reading, States
from karat.row import Message, digest
from karat.training.ratings import HumanData

Say = Callable[[str], None]
_SAY_EVERY_S = 10.0
_KEY = 16


class Kept:
    """A reader that remembers what it read, and keeps it in a file, if it is given one.

    One line that says what is read of which model, then records: 16 bytes of a digest of prompt and
    response, and their states. A file of another model is begun anew; of what a killed process left
    half written the whole records count.
    """

    def __init__(self, reader: Reader, file: Path | None = None) -> None:
        """Raises: RunError for a file that cannot be written."""
        self._reader, self._file = reader, file
        self._known: dict[bytes, States] = {}
        if file is not None:
            with _writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                whole = self._load(file.read_bytes() if file.is_file() else b"")
                file.write_bytes(whole)

    def _load(self, found: bytes) -> bytes:
        """What of a file counts."""
        # Not the probe, whose last digits hang on the number of threads.
        head = msgspec.json.encode(msgspec.structs.replace(self.reading, probe=())) + b"\n"
        if not found.startswith(head):
            return head
        size = _KEY + 4 * self.reading.width
        count = (len(found) - len(head)) // size
        for place in range(len(head), len(head) + count * size, size):
            record = found[place : place + size]
            self._known[record[:_KEY]] = np.frombuffer(record[_KEY:], "<f4").astype(np.float32)
        return found[: len(head) + count * size]

    @property
    def reading(self) -> Reading:
        """What is read of which model."""
        return self._reader.reading

    @property
    def count(self) -> int:
        """How many answers are known."""
        return len(self._known)

    def learn(self, data: HumanData, say: Say | None = None) -> None:
        """Read all answers of some data, each prompt once. Raises: RecipeError, RunError."""
        texts: dict[tuple[Message, ...], dict[str, None]] = {}
        for row in data.rated:
            texts.setdefault(row.prompt, {})[row.response] = None
        for pair in data.pairs:
            texts.setdefault(pair.prompt, {}).update({pair.chosen: None, pair.rejected: None})
        tell = _Progress(say, sum(map(len, texts.values())), self.reading.model)
        for prompt, answers in texts.items():
            self.read(prompt, list(answers))
            tell(len(answers))

    def read(self, prompt: Sequence[Message], responses: Sequence[str]) -> States:
        """hidden_NH. Raises: RecipeError for a conversation that the model's chat template refuses;
        RunError."""
        turns = [part for m in prompt for part in (m.role, m.content)]
        keys = [digest(*turns, text, size=_KEY) for text in responses]
        texts = zip(keys, responses, strict=True)
        new = {key: text for key, text in texts if key not in self._known}
        try:
            states_NH = self._reader.read(prompt, list(new.values()))
        except RowError as error:
            raise RecipeError(f"{error}; leave such conversations out of the data") from error
        self._keep(dict(zip(new, states_NH, strict=True)))
        found = [self._known[key] for key in keys]
        return np.array(found, np.float32).reshape(len(found), self.reading.width)

    def _keep(self, states: dict[bytes, States]) -> None:
        self._known |= states
        if self._file is not None and states:
            with _writing(self._file), self._file.open("ab") as file:
                file.write(b"".join(key + h.astype("<f4").tobytes() for key, h in states.items()))

    def forget(self) -> None:
        """Remove the file: the head is written."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror or error}); make room, and the same "
            "command goes on"
        ) from error


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
