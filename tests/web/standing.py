"""A folder of runs in every state there is, for tests of pages: one real run, and copies of it
whose files say otherwise."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import ran
from conftest import write_prompts
from raw import ask
from server import Server
from serving import Serving

import karat
from karat.live import State, StepState, _host
from karat.rundir import Run

STEPS: list[Any] = [
    {"read": {"path": "prompts.jsonl"}},
    {"respond": {"models": ["teacher"], "n": 3}},
    {"grade": {"reward": "mine"}},
    {"reject": {"by": "mine.reward", "best": 1, "minimum": 1.5}},
]


HOSTILE = 'hostile "><img src=x onerror=alert(1)>\u202etxt.exe'


def recipe(folder: Path, server: Server, rows: int = 12, **top: Any) -> Path:
    """A recipe over a server on loopback: three answers a prompt, graded, the best one kept."""
    folder.mkdir(parents=True, exist_ok=True)
    write_prompts(folder / "prompts.jsonl", rows)
    models = {"teacher": server.model(price=ran.PRICE)}
    return ran.write_recipe(folder, **{"models": models, "steps": STEPS, **top})


def finished(work: Path, out: Path, rows: int = 12) -> Run:
    """A real run, to its end."""
    with ran.rewards(), Server() as server:
        return karat.run(recipe(work, server, rows), out)


def copied(run: Run, to: Path) -> Run:
    shutil.copytree(run.path, to, ignore=shutil.ignore_patterns("stages", "export", ".lock"))
    return Run(to)


def write_live(run: Run, **values: Any) -> None:
    """live.json as a process of karat's writes it."""
    now = time.time()
    told = {"pid": os.getpid(), "host": _host(), "started": now - 90, "updated": now, **values}
    run.live_file.write_bytes(msgspec.json.encode(State(**told)))


def at_work(run: Run, rows_out: int = 30, **values: Any) -> int:
    """Makes a run one that this process is at work on; what is returned holds its lock open."""
    run.report_file.unlink(missing_ok=True)
    steps = [
        StepState("read", 200, 200),
        StepState("respond", 200, rows_out + 10, 60, current=True, rate=4.2, eta_s=35.0),
        StepState("grade", rows_out + 10, rows_out, 10, {"reject: low": 4}, current=True, rate=4.0,
                  eta_s=41.0),
    ]  # fmt: skip
    told = {"expected": 200, "budget_usd": 5.0, "projected_usd": 0.42, "cost_usd": 0.0712}
    write_live(run, steps=steps, **{**told, **values})
    return os.open(run.path / ".lock", os.O_RDWR | os.O_CREAT)


def folder(work: Path, root: Path) -> int:
    """Runs of every state in `root`; what is returned holds the lock of `at-work` open."""
    done = finished(work, root / "finished")
    copied(done, root / "old").live_file.unlink()
    failed = copied(done, root / "failed")
    failed.report_file.unlink()
    write_live(failed, state="failed", error="the disk is full <script>alert(1)</script>")
    killed = copied(done, root / "round-1" / "killed")
    killed.report_file.unlink()
    write_live(killed, pid=2**22 - 1, state="running", cost_usd=1.5)
    damaged = copied(done, root / "damaged")
    damaged.report_file.write_bytes(damaged.report_file.read_bytes()[:500])
    copied(done, root / 'hostile "><img src=x onerror=alert(1)>\u202etxt.exe')
    return at_work(copied(done, root / "at-work"))


def page(server: Serving, query: str = "") -> str:
    """The list of runs as HTML."""
    reply = ask(server.port, f"/runs{query}", accept="text/html")
    assert reply.status == 200
    return reply.text


def lines(server: Serving, query: str = "") -> dict[str, dict[str, Any]]:
    """The same as it is for programs, by name."""
    return {one["name"]: one for one in json.loads(ask(server.port, f"/runs.json{query}").body)}
