"""Whole runs for the suite of faults: recipes, processes that die, and what every end must be.

One undisturbed run of each recipe says what is right. Whatever happens to another one, running it
again must end with the same bytes, and with each answer bought once, but for those in flight.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from conftest import environment
from ran import of_many_lengths
from server import Server

ALL = os.environ.get("KARAT_FAULTS") == "all"
LONGEST_S = 60.0
PRICE = {"input": 1.0, "output": 2.0}
FAN = '''
"""A step that makes several rows of one, for the suite of faults."""
from karat import Context, Message, Row, step

@step
async def ask(row: Row, ctx: Context, *, model: str, n: int = 4) -> list[Row]:
    made = []
    for kind in ("odd", "even", "prime"):
        for answer in await ctx.chat(model, f"Ask something {kind}.", n=n, temperature=1.0):
            messages = [Message("user", answer.content)]
            name = f"{row.id}-{kind}{answer.index}"
            made.append(Row(name, messages, meta={"kind": kind}, calls=[answer.call]))
    return made
'''
GRADED: list[Any] = [
    {"respond": {"models": ["teacher"], "n": 2, "temperature": 1.0}},
    {"grade": {"reward": "helpsteer2"}},
    {"reject": {"by": "helpsteer2.reward", "best": 1}},
    {"dedupe": {"on": "prompt", "threshold": 1.0}},
]
READ: list[Any] = [{"read": {"path": "prompts.jsonl"}}]
ASK: list[Any] = [{"MODULE:ask": {"model": "teacher"}}]
# What can be bought before a table is seen, what fans out, and what is walked in rounds.
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {"steps": READ + GRADED, "export": ["jsonl", "trl-sft"]},
    "fan": {"steps": [*ASK, GRADED[3], *GRADED[:3]], "export": ["jsonl"]},
    "exactly": {"steps": ASK + GRADED, "exactly": 14, "export": ["jsonl"]},
}
ROWS = 24


def answered(body: dict[str, Any], place: int) -> str:
    """What the teacher says: prompts, some of them twice, and answers of many lengths."""
    if not body["messages"][-1]["content"].startswith("Ask something"):
        return of_many_lengths(body, place)
    key = repr((body["messages"], body.get("seed"), place)).encode()
    return f"What is thing {int.from_bytes(hashlib.sha256(key).digest()[:4], 'little') % 60}?"


def write_recipe(folder: Path, kind: str, server: Server) -> Path:
    """The recipe `kind` with its input in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"prompt": f"What is number {i % (ROWS - 4)}?"}) for i in range(ROWS)]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    module = f"faulty_{kind}"  # one process takes a module of one name from one folder only
    (folder / f"{module}.py").write_text(FAN, encoding="utf-8")
    tree = {
        "name": kind, "seed": 7, "models": {"teacher": server.model(price=PRICE)},
        "rewards": {"helpsteer2": "embedded/helpsteer2"}, **RECIPES[kind],
    }  # fmt: skip
    path = folder / "recipe.yaml"
    text = yaml.safe_dump(tree, sort_keys=False).replace("MODULE", module)
    path.write_text(text, encoding="utf-8")
    return path


def result_of(out: Path) -> dict[str, Any]:
    """All that must be the same after any disturbance: the bytes of the data, and of the report
    what does not depend on clocks. That the sums of the ledger are the same says that each answer
    stands in it once."""
    report = orjson.loads((out / "report.json").read_bytes())
    paid = ("kind", "model", "samples", "prompt_tokens", "completion_tokens", "cost_usd")
    return {
        **{name: (out / name).read_bytes() for name in ("accepted.parquet", "dropped.parquet")},
        **{path.name: path.read_bytes() for path in sorted((out / "export").iterdir())},
        **{key: report[key] for key in ("rows", "scores", "cost_usd", "exports", "licences")},
        "funnel": [{k: v for k, v in one.items() if k != "notes"} for one in report["funnel"]],
        "exactly": report.get("exactly"),
        "models": [{key: model[key] for key in paid} for model in report["models"]],
    }


def bought_twice(server: Server) -> int:
    """Requests that asked for what another one had asked for."""
    asked = [orjson.dumps(r["body"], option=orjson.OPT_SORT_KEYS) for r in server.requests]
    return len(asked) - len(set(asked))


@dataclass
class Ended:
    """A command that came to its end: its exit status (below 0 the signal), and what it printed."""

    status: int
    text: str

    def assert_said(self, *words: str, status: int = 1) -> None:
        """One clear error, with all of these words in it, and no traceback."""
        assert self.status == status, self.text
        self.assert_calm()
        lines = [line for line in self.text.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.text
        for word in words:
            assert word in lines[0], lines[0]

    def assert_calm(self) -> None:
        assert "Traceback" not in self.text, self.text
        assert "Exception ignored" not in self.text, self.text


class Forks:
    """The fork server (fault_child.py). With `apart` it has mounts of its own, which end with it;
    `seen` is then the path under which this process sees one of its files."""

    def __init__(self, folder: Path, *, apart: bool = False) -> None:
        self.folder, self.count = folder, 0
        words = [sys.executable, "-W", "error", str(Path(__file__).with_name("fault_child.py"))]
        if apart:
            root = [] if os.getuid() == 0 else ["--map-root-user"]
            words = ["unshare", "--mount", "--propagation", "private", *root, *words]
        # Both of these libraries would start threads, and what has threads must not fork.
        calm = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment(**calm)
        )
        try:
            self._read()
        except AssertionError:  # `unshare` was not allowed to
            self.__exit__()
            raise

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # at which it ends
        self._process.wait(10)
        self._process.stdout.close()

    def seen(self, path: Path) -> Path:
        return Path(f"/proc/{self._process.pid}/root", *path.parts[1:])

    def shell(self, *words: object) -> tuple[int, str]:
        """A command within the server's mounts: its status and what it printed."""
        said = self._ask({"shell": [str(word) for word in words]})
        return said["status"], said["text"]

    def start(self, recipe: Path, out: Path, width: int = 4, **order: Any) -> Child:
        """`karat run` as a child; see fault_child.py for what an order may say."""
        args = ["run", recipe, "--out", out, "--set", f"models.teacher.concurrency={width}"]
        return self.command(args, out, **order)

    def command(self, args: list[Any], out: Path, **order: Any) -> Child:
        self.count += 1
        log = self.folder / f"log-{self.count}.txt"
        whole = {"args": list(map(str, args)), "out": str(out), "log": str(log), **order}
        return Child(self, self._ask(whole)["pid"], log)

    def run(self, recipe: Path, out: Path, width: int = 4, **order: Any) -> Ended:
        return self.start(recipe, out, width, **order).wait()

    def learn(self, recipe: Path, out: Path, **order: Any) -> list[str]:
        """An undisturbed run, after which others begin with what it had imported; its events."""
        told = self.folder / f"told-{self.count}"
        done = self.run(recipe, out, told=str(told), **order)
        assert done.status == 0, done.text
        done.assert_calm()
        assert (
            self._ask({"learn": str(told), "recipe": str(recipe), "out": str(out)})["threads"] == 1
        )
        events: list[str] = json.loads(told.with_suffix(".events").read_text())
        return events

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        self.tell(order)
        return self._read()

    def tell(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def _read(self) -> dict[str, Any]:
        """The next word; each is a line, and none comes unasked but that a child has ended."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], LONGEST_S)
        assert ready, "the fork server says nothing"
        line = self._process.stdout.readline()
        assert line, f"the fork server ended: {self._process.wait(5)}"
        found: dict[str, Any] = json.loads(line)
        return found


class Child:
    """A command under way."""

    def __init__(self, forks: Forks, pid: int, log: Path) -> None:
        self.forks, self.pid, self.log = forks, pid, log

    def kill(self, number: int = signal.SIGKILL) -> None:
        """At its end it stays a zombie until `wait`, so the id is no other process's."""
        os.kill(self.pid, number)

    def wait(self) -> Ended:
        try:
            self.forks._read()
        except AssertionError:
            self.kill()
            raise
        self.forks.tell({})
        status = self.forks._read()["status"]
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return Ended(status, text)


@dataclass
class Case:
    """A recipe with what its undisturbed run came to."""

    recipe: Path
    want: dict[str, Any]
    events: list[str]
    asked: int  # requests of the undisturbed run
    seconds: float
    out: Path
    server: Server = field(repr=False)

    def assert_same(self, out: Path) -> None:
        """Names what differs: two tables of bytes side by side help nobody."""
        found = result_of(out)
        assert {key for key in self.want if found.get(key) != self.want[key]} == set()
        assert found.keys() == self.want.keys()


def undisturbed(forks: Forks, folder: Path, kind: str, server: Server) -> Case:
    recipe = write_recipe(folder / kind, kind, server)
    server.requests.clear()
    began = time.monotonic()
    events = forks.learn(recipe, folder / kind / "out")
    seconds, out = time.monotonic() - began, folder / kind / "out"
    asked, twice = len(server.requests), bought_twice(server)
    assert (twice, asked > 10) == (0, True)
    server.requests.clear()
    return Case(recipe, result_of(out), events, asked, seconds, out, server)


@pytest.fixture(scope="module")
def teacher() -> Iterator[Server]:
    with Server(latency_s=0.01, answer=answered) as server:
        yield server


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks")) as server:
        yield server


@contextmanager
def fresh(server: Server) -> Iterator[None]:
    """Requests are counted from nought within the block."""
    server.requests.clear()
    yield
    server.requests.clear()
