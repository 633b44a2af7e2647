"""A cluster of two nodes, as deploy/slurm.sh makes it: what it does is what one process does.

The nodes are two of Ray's on this machine, each with its own processes, store and folder, started
by the script itself; `srun` and `scontrol` are stand-ins that run what they are told here.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from aiohttp import web
from clusters import many
from conftest import environment
from server import Server

import karat

pytest.importorskip("ray")

ROWS = 384  # three units
WAIT_S = 100.0
SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm.sh"
STANDINS = {
    "scontrol": "printf 'first\\nsecond\\n'",
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"',
}


class Patient(Server):
    """Answers nobody before two workers are there, so that neither does all the work."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log, self._until = log, time.monotonic() + WAIT_S
        self.waiting = True

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        while self.waiting and time.monotonic() < self._until:
            self.waiting = not (self._log.exists() and self._log.read_text().count("begins") == 2)
            await asyncio.sleep(0.02)
        return await super()._chat(request)


@contextmanager
def slurm(folder: Path, *args: object) -> Iterator[subprocess.Popen[str]]:
    """The script as Slurm would run it, on two machines with a CPU each."""
    tools = folder / "bin"
    tools.mkdir()
    for name, body in STANDINS.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    here = Path(sys.executable).parent
    job = {
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "two", "SLURM_CPUS_PER_TASK": "1",
        "KARAT_STORE_BYTES": "80000000", "PATH": f"{tools}:{here}:{os.environ['PATH']}",
        "OPENAI_API_KEY": "none",
    }  # fmt: skip
    process = subprocess.Popen(
        ["bash", str(SCRIPT), *map(str, args)], cwd=folder, env=environment(**job), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=60)


@many
def test_two_nodes_make_what_one_process_makes(tmp_path, make_recipe, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    out, alone = tmp_path / "two", tmp_path / "alone"
    with Patient(out / "cluster.log") as server:
        steps = [{"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["teacher"], "n": 2}},
                 {"dedupe": {"on": "prompt"}}]  # fmt: skip
        recipe = make_recipe(server.model(), rows=ROWS, steps=steps)
        with slurm(tmp_path, recipe, "--out", out) as process:
            said, _ = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, said + logs(tmp_path)
        assert not server.waiting
        paid = len(server.requests)
        karat.run(recipe, alone)
    assert pq.read_table(out / "accepted.parquet").equals(pq.read_table(alone / "accepted.parquet"))
    assert paid == ROWS == len(server.requests) - paid
    live = json.loads((out / "live.json").read_bytes())
    assert (live["executor"], live["state"]) == ("ray", "finished")
    assert len({worker["node"] for worker in live["workers"]}) == 2
    assert all(worker["rows"] for worker in live["workers"])
    assert sum(worker["rows"] for worker in live["workers"]) == ROWS
    assert "Ray runtime started" in logs(tmp_path)
    assert not Path(f"/tmp/ray-{os.getpid()}").exists()


def logs(folder: Path) -> str:
    return "\n".join(log.read_text(errors="replace") for log in sorted(folder.glob("karat-*.log")))
