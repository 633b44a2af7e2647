"""What tests share: recipes in a folder of their own, user modules, a reward without a model."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line has it
os.environ.setdefault("OMP_NUM_THREADS", "1")  # three workers on two cores: more would only spin

import gc
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import settings
from numpy.typing import NDArray
from postgres import address as address
from postgres import pg_place as pg_place
from postgres import postgres as postgres
from turns import pytest_collection_modifyitems as pytest_collection_modifyitems
from turns import pytest_xdist_make_scheduler as pytest_xdist_make_scheduler

import karat
from karat.rewards.base import Candidates
from karat.row import Message, Row
from karat.table import from_batch

ALL = os.environ.get("KARAT_TESTS") == "all"
# The same draws every time, so that a change is what makes a test fail; with make long, others.
settings.register_profile(
    "karat", deadline=None, max_examples=200 if ALL else 25, derandomize=not ALL
)
settings.load_profile("karat")

# What takes many seconds and shows again, larger, what a shorter one shows: `make long` runs it.
slow = pytest.mark.skipif(not ALL, reason="make long runs it")


def mostly_slow(values: Sequence[Any], step: int) -> list[Any]:
    """Values to try: each `step`-th always, the others with `make long`."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)),
                     marks=[slow] if place % step else [])
        for place, value in enumerate(values)
    ]  # fmt: skip


MakeRecipe = Callable[..., Path]
MakeModule = Callable[[str, str], str]


def write_prompts(path: Path, rows: int) -> Path:
    lines = [json.dumps({"prompt": f"What is number {i}?", "number": i}) for i in range(rows)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def rows_of(path: Path) -> list[Row]:
    """The rows of accepted.parquet or dropped.parquet."""
    import pyarrow.parquet as pq

    from karat.table import SCHEMA

    table = pq.read_table(path, columns=SCHEMA.names)
    return [row for batch in table.to_batches() for row in from_batch(batch)]


@pytest.fixture
def make_recipe(tmp_path: Path) -> MakeRecipe:
    """Writes recipe.yaml and prompts.jsonl; by default one response of `teacher` to each prompt."""

    def make(
        teacher: dict[str, Any] | None = None, rows: int = 10, steps: Sequence[Any] | None = None,
        file: str = "recipe.yaml", **top: Any,
    ) -> Path:  # fmt: skip
        write_prompts(tmp_path / "prompts.jsonl", rows)
        tree: dict[str, Any] = {"name": "test", "seed": 7, **top}
        if teacher is not None:
            tree["models"] = {"teacher": teacher, **top.get("models", {})}
        tree["steps"] = steps or [
            {"read": {"path": "prompts.jsonl"}},
            {"respond": {"models": ["teacher"]}},
        ]
        path = tmp_path / file
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        return path

    return make


@pytest.fixture
def user_module(tmp_path: Path) -> Iterator[MakeModule]:
    """Writes a module of the user's beside the recipe; it is forgotten after the test."""
    names: list[str] = []
    before = list(sys.path)
    head = "import asyncio\nfrom karat import *\nfrom karat.errors import RowError, RunError\n"

    def make(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(head + source, encoding="utf-8")
        names.append(name)
        return name

    yield make
    sys.path[:] = before
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where a journal may be."""
    return tmp_path / "journal.sqlite"


class LengthReward:
    """Scores a response by its length and its last letter: cheap, and the same everywhere."""

    name = "length"
    identity = "length/1"
    licence = "CC0-1.0"

    def __init__(self) -> None:
        self.attributes = {"length": (0.0, 4.0), "reward": (0.0, 4.0)}
        self.within_prompt: frozenset[str] = frozenset()
        self.models: tuple[str, ...] = ()
        self.batch = 64
        self.calls = 0

    def score(self, prompt: Sequence[Message], responses: Sequence[str]) -> NDArray[np.float64]:
        self.calls += len(responses)
        return np.array(
            [[len(r) / 100, sum(map(ord, r)) % 40 / 10] for r in responses], np.float64
        ).reshape(len(responses), 2)

    def score_many(self, jobs: Sequence[Candidates]) -> list[NDArray[np.float64]]:
        return [self.score(job.prompt, job.responses) for job in jobs]


@pytest.fixture
def length_reward(monkeypatch: pytest.MonkeyPatch) -> LengthReward:
    """Stands behind every reward a recipe names in this test."""
    reward = LengthReward()
    monkeypatch.setattr("karat.graders.load_reward", lambda *_: reward)
    return reward


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with this karat first on the path of a child."""
    source = str(Path(karat.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": paths, **more}


def start_karat(*args: object, prelude: str = "", **options: Any) -> subprocess.Popen[str]:
    """`karat ARGS` as a process of its own; `prelude` is Python that runs in it first."""
    code = f"{prelude}\nfrom karat.cli import main\nmain(prog_name='karat')"
    how = ["-c", code] if prelude else ["-m", "karat"]
    return subprocess.Popen(
        [sys.executable, "-W", "error", *how, *map(str, args)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), **options,
    )  # fmt: skip


def run_karat(*args: object, prelude: str = "", **options: Any) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of `karat ARGS`."""
    with start_karat(*args, prelude=prelude, **options) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def journaled(out: Path) -> int:
    """How many records the journal of a run holds."""
    base = sqlite3.connect(out / "journal.sqlite")
    try:
        count: int = base.execute("SELECT count(*) FROM calls").fetchone()[0]
        return count
    finally:
        base.close()


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


@pytest.fixture(autouse=True, scope="module")
def what_stays_is_not_searched_again() -> None:
    """What earlier tests have loaded (torch, a thousand modules) is walked by every collection of
    garbage, a second each in a full run; it stays to the end anyway."""
    gc.collect()
    gc.freeze()


def pytest_collection() -> None:
    gc.disable()  # a thousand modules leave no garbage; to look for it takes a quarter of the time


def pytest_collection_finish() -> None:
    gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # DuckDB counts what is left at the end, and tells of each
