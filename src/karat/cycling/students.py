"""A cycle's students: their folders, what tells their weights apart, and how a recipe asks them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson
from msgspec.structs import replace

from karat.cycling.asked import Asked
from karat.cycling.serving import Server
from karat.errors import RunError
from karat.models.adapters import Adapter
from karat.models.gguf_files import file_digest
from karat.recipefile import parse
from karat.row import digest
from karat.rundir import Run, write_atomic
from karat.training.student_source import lessons
from karat.training.students import base_model, train_preference, train_sft

Say = Callable[[str], None]
PAPERS = "karat.json"  # of a student, as karat.training.students writes it
WEIGHTS = "weights.sha256"  # of a round, what its student's were once they were trained


class Student(msgspec.Struct, frozen=True, kw_only=True):
    """What a round trained: its folder (of the cycle's), 16 hex digits of its weights, the base it
    was trained from, the digest of the lines, and what the training took."""

    folder: str
    weights: str
    base: str
    base_identity: str
    data_sha: str
    lines: int
    steps: int
    tokens: int


class Students:
    """Those of one cycle, by round; 0 is the base. At most one of them has a server."""

    def __init__(self, asked: Asked, folder: Path, say: Say) -> None:
        self.asked, self.folder, self.say = asked, folder, say
        self._server: Server | None = None
        self._served = -1

    def train(self, number: int, data: Run) -> Student:
        """Trains the base anew on a round's set, or goes on, or finds it done."""
        options = self.asked.options
        learned = lessons(data.path, options.objective, f"karat cycle {self.asked.recipe.name}")
        settings = options.settings
        of = f"round {number} of {options.rounds}: training"
        self.say(f"{of} {self.asked.base} on {len(learned.lines):,} lines")

        def say(text: str) -> None:
            self.say(f"{of}: {text}")

        if options.serve is not None and not settings.full:
            settings = replace(settings, merge=True)
        to, base = self.place(number), self.asked.base
        if options.objective == "sft":
            train_sft(learned.lines, base, to, settings, say, source=learned.source)
        else:
            train_preference(
                learned.lines, base, to, settings, say, options.objective,
                source=learned.source,
            )  # fmt: skip
        facts = self.facts(number)
        return Student(
            folder=f"round-{number}/student", weights=self._kept(number)[:16],
            base=facts["base"], base_identity=facts["base_identity"], data_sha=facts["data_sha"],
            lines=facts["rows"], steps=facts["steps"], tokens=facts["tokens"],
        )  # fmt: skip

    def place(self, number: int) -> Path:
        return self.folder / f"round-{number}" / "student"

    def facts(self, number: int) -> dict[str, Any]:
        """The papers of a student. Raises: RunError."""
        file = self.place(number) / PAPERS
        try:
            facts: dict[str, Any] = orjson.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(
                f"{file} cannot be read ({error}); remove its folder and run again"
            ) from error
        return facts

    def weights(self, number: int) -> str:
        """What tells the weights of a student from any other's, in hex; of round 0 the base."""
        if number == 0:
            return digest(self.asked.base).hex()
        if not self.asked.options.settings.full:
            return Adapter(self.place(number)).digest
        files = sorted(self.place(number).glob("*.safetensors"))
        return digest(*(file_digest(path) for path in files)).hex()

    def _kept(self, number: int) -> str:
        """The weights as they were when they were trained: what they have written since is told
        as theirs. Raises: RunError where they are others now."""
        now, file = self.weights(number), self.folder / f"round-{number}" / WEIGHTS
        if not file.is_file():
            write_atomic(file, now.encode())
        if file.read_text().strip() != now:
            raise RunError(
                f"the weights in {self.place(number)} were changed since they were trained, and "
                "what was written by those before is no longer told as it was: put them back, or "
                "name another directory in --out"
            )
        return now

    def model(self, number: int) -> dict[str, Any]:
        """A round's student as a recipe names it; its server is started where it has one."""
        if self.asked.options.serve is None:
            adapter = {"adapter": str(self.place(number))} if number else {}
            return {"model": self.asked.embedded, **adapter}
        server = self._serve(number)
        return {
            "model": f"openai/{server.model}", "base_url": server.base_url,
            "weights": self.weights(number)[:16],
        }  # fmt: skip

    def answered(self, done: Run, name: str, number: int) -> bool:
        """Whether a run is at its end whose model `name` was this student behind a server. Then
        that server need not be started again."""
        if self.asked.options.serve is None or not done.report_file.is_file():
            return False
        spec = parse(done.recipe)["models"][name]
        return isinstance(spec, dict) and spec.get("weights") == self.weights(number)[:16]

    def close(self) -> None:
        """Ends the server, if there is one."""
        if self._server is not None:
            self._server.stop()
        self._server, self._served = None, -1

    def _serve(self, number: int) -> Server:
        if self._server is None or self._served != number:
            self.close()
            command = self.asked.options.serve
            assert command is not None
            log = self.folder / f"round-{number}" / "server.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            self._server = Server(command, {"model": self._files(number)}, log, self.say)
            self._served = number
        return self._server

    def _files(self, number: int) -> str:
        """What a server loads."""
        if number == 0:
            return str(base_model(self.asked.base, self.say))
        whole = self.asked.options.settings.full
        return str(self.place(number) if whole else self.place(number) / "merged")
