"""Makes and measures one student after another, and never one twice.

A student's folder holds its adapter, what it answered and how likely it finds people's answers.
Each is written once and found again: a lift that was killed goes on with the student it was at, and
of that one with the last checkpoint of its training.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from karat.errors import RecipeError
from karat.lifting.arms import BASE, Prompt, folder_of, lines_of
from karat.lifting.held_out import Asked, Reference
from karat.lifting.sizing import Speeds
from karat.row import digest
from karat.rundir import write_atomic
from karat.training.student_folder import FACTS
from karat.training.student_settings import Settings
from karat.training.students import Source, train_sft
from karat.training.writing import Writer

Floats = NDArray[np.float64]
Say = Callable[[str], None]
TRIED = 16  # rows, answers and references that a speed is measured on
WRITING_SEED = 7  # of every student alike: with a temperature, answers differ by student alone


class Student(msgspec.Struct, frozen=True):
    """One student, measured: its answers to the held-out prompts, nats per token of references
    (empty without any), rows and tokens trained on, seconds of training and of measuring, last
    losses."""

    arm: str
    seed: int
    answers: list[str]
    nats: list[float]
    rows: int
    tokens: int
    train_seconds: float
    measure_seconds: float
    losses: tuple[float, float] | None


class Workshop:
    """Students of one base, all with the same settings but the seed."""

    def __init__(
        self, out: Path, base: str, settings: Settings, max_tokens: int, source: str, say: Say
    ) -> None:
        self.out, self.base, self.settings = out, base, settings
        self.max_tokens, self.source, self.say = max_tokens, source, say

    def speeds(
        self, prompts: Sequence[Prompt], items: Sequence[Asked], references: Sequence[Reference]
    ) -> Speeds:
        """Of this machine, measured on a few of each. About a minute."""
        self.say("measuring speeds")
        start = time.monotonic()
        writer = self._writer(BASE, 0)
        load_s = time.monotonic() - start
        asked = [one.messages for one in items[:TRIED]]
        answer_s = self._paced(lambda: writer.write(asked, max_tokens=self.max_tokens), len(asked))
        pairs = [(one.messages, one.answer) for one in references[:TRIED]]
        reference_s = self._paced(lambda: writer.log_likelihood(pairs), len(pairs))
        lines = lines_of(prompts[:TRIED], "best", 0)
        once = msgspec.structs.replace(self.settings, epochs=1.0)
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            made = train_sft(lines, self.base, folder, once, _mute)
            whole = time.monotonic() - start
        row_s = max(made.seconds - load_s, 0.2 * made.seconds) / len(lines)
        return Speeds(row_s, answer_s, reference_s, load_s + max(0.0, whole - row_s * len(lines)))

    @staticmethod
    def _paced(work: Callable[[], object], count: int) -> float:
        if not count:
            return 0.0
        start = time.monotonic()
        work()
        return (time.monotonic() - start) / count

    def student(
        self, arm: str, seed: int, prompts: Sequence[Prompt], items: Sequence[Asked],
        references: Sequence[Reference],
    ) -> Student:  # fmt: skip
        """Trained where it is not, measured where it was not. Raises: RecipeError, RunError."""
        folder = folder_of(self.out, arm, seed)
        who = arm if arm == BASE else f"{arm}, seed {seed}"
        rows, tokens, seconds, losses = 0, 0, 0.0, None
        if arm != BASE:
            lines = lines_of(prompts, arm, seed)
            made = train_sft(
                lines, self.base, folder, msgspec.structs.replace(self.settings, seed=seed),
                lambda text: self.say(f"{who}: {text}"),
                source=Source(name=f"{self.source}, {who}"),
            )  # fmt: skip
            # The trainer leaves out what is longer than a student reads.
            rows = int(orjson.loads((folder / FACTS).read_bytes())["rows"])
            tokens, seconds = made.tokens, made.seconds
            losses = (made.curve[0][1], made.curve[-1][1]) if made.curve else None
        start, writer = time.monotonic(), _Late(lambda: self._writer(arm, seed))
        answers = self._answers(folder, items, writer, who)
        nats = self._nats(folder, references, writer, who)
        found = self._seconds(folder, time.monotonic() - start if writer.made else None)
        return Student(arm, seed, answers, nats, rows, tokens, seconds, found, losses)

    def answers_of_base(self, items: Sequence[Asked]) -> list[str]:
        """What the base answers, written once: a plan starts from it."""
        folder = folder_of(self.out, BASE, 0)
        return self._answers(folder, items, _Late(lambda: self._writer(BASE, 0)), BASE)

    def _writer(self, arm: str, seed: int) -> Writer:
        self.say(f"loading {self.base if arm == BASE else folder_of(self.out, arm, seed)}")
        model = self.base if arm == BASE else folder_of(self.out, arm, seed)
        return Writer(model, device=self.settings.device)

    def _answers(self, folder: Path, items: Sequence[Asked], writer: _Late, who: str) -> list[str]:
        key = digest(repr([one.messages for one in items]), str(self.max_tokens)).hex()

        def write() -> list[str]:
            self.say(f"{who}: answering {len(items):,} held-out prompts")
            found = writer.get().write(
                [one.messages for one in items], max_tokens=self.max_tokens, seed=WRITING_SEED,
                say=lambda text: self.say(f"{who}: {text}"),
            )  # fmt: skip
            return [one[0] for one in found]

        return _once(folder / "answers.json", key, len(items), write)

    def _nats(
        self, folder: Path, references: Sequence[Reference], writer: _Late, who: str
    ) -> list[float]:
        if not references:
            return []
        key = digest(*(repr(one) for one in references)).hex()

        def read() -> list[float]:
            self.say(f"{who}: reading {len(references):,} references")
            pairs = [(one.messages, one.answer) for one in references]
            nats, tokens = writer.get().log_likelihood(pairs)
            per_token: list[float] = (nats / np.maximum(tokens, 1)).tolist()
            return per_token

        return _once(folder / "likelihood.json", key, len(references), read)

    def _seconds(self, folder: Path, taken: float | None) -> float:
        """How long measuring took, all tries together."""
        path = folder / "seconds.json"
        before = float(orjson.loads(path.read_bytes())) if path.is_file() else 0.0
        if taken is None:
            return before
        write_atomic(path, orjson.dumps(round(before + taken, 1)))
        return before + taken


class _Late:
    """A writer that is loaded when it is asked for."""

    def __init__(self, make: Callable[[], Writer]) -> None:
        self._make = make
        self.made: Writer | None = None

    def get(self) -> Writer:
        self.made = self.made or self._make()
        return self.made


def _once(path: Path, key: str, count: int, work: Callable[[], list[Any]]) -> list[Any]:
    """What the file holds, or what is made now and put there. Raises: RecipeError for a file of
    other prompts."""
    if path.is_file():
        try:
            held = orjson.loads(path.read_bytes())
            found: list[Any] = held["values"]
        except (ValueError, KeyError, TypeError):
            raise RecipeError(f"{path} cannot be read; remove it and run again") from None
        if held.get("of") == key and len(found) == count:
            return found
        raise RecipeError(f"{path} is of other prompts; name another --out")
    made = work()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, orjson.dumps({"of": key, "values": made}))
    return made


def _mute(text: str) -> None:
    """Nothing to say."""
