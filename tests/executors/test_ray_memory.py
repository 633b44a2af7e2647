"""A worker that takes more memory than its machine has: Ray's own monitor ends it, for real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from clusters import plain
from conftest import start_karat
from server import Server

import karat
from karat.rundir import Run

ROWS, HUNGRY_ROW = 60, 37
ROOM = 3 << 30  # bytes beyond what is used now, which has room for the processes of a run
PIECE = 64 << 20
SMALL = "from karat.executors.ray import units; units.ROWS = (16, 65_536)"
HUNGRY = f"""
import time
from pathlib import Path

import psutil


@step
async def eat_once(row: Row, ctx: Context, *, mark: str, until: int) -> Row:
    if row.meta["number"] == {HUNGRY_ROW}:
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            return row
        held = []
        while psutil.virtual_memory().total - psutil.virtual_memory().available < until:
            held.append(b"x" * {PIECE})
        time.sleep(30)
        raise RowError(f"nobody minded {{len(held)}} pieces")
    return row
"""


def used() -> int:
    """Bytes of this machine's memory."""
    memory = psutil.virtual_memory()
    return memory.total - memory.available


@pytest.fixture
def tight() -> Iterator[Any]:
    """A cluster that may use little more memory than is used now."""
    from ray.cluster_utils import Cluster

    most = (used() + ROOM) / psutil.virtual_memory().total
    made = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False,
            "_system_config": {"memory_usage_threshold": most, "memory_monitor_refresh_ms": 100},
        },
        shutdown_at_exit=True,
    )  # fmt: skip
    yield made
    made.shutdown()


def test_what_is_out_of_memory_costs_nothing_that_was_paid_for(
    make_recipe, tmp_path, user_module, tight
):
    user_module("hungry", HUNGRY)
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"respond": {"models": ["teacher"]}},
        {"hungry:eat_once": {"mark": str(tmp_path / "mark"), "until": used() + ROOM + (1 << 30)}},
    ]
    with Server() as server:
        path = make_recipe(server.model(concurrency=8), ROWS, steps)
        (tmp_path / "mark").touch()
        karat.run(path, tmp_path / "here")
        (tmp_path / "mark").unlink()
        server.requests.clear()
        where = ["--executor", "ray", "--address", tight.address, "--workers", "2"]
        code, said = 1, ""
        for _ in range(2):  # Ray may end the run's tasks instead, as long as the memory is held
            with start_karat("run", path, "--out", tmp_path / "out", *where, prelude=SMALL) as one:
                said, error = one.communicate(timeout=150)
            code, said = one.returncode, said + error
            if code == 0:
                break
            assert "ran out of memory, and Ray ended it" in error, error
            assert "run again to go on" in error
        assert code == 0, said
        sent = len(server.requests)
    assert plain(Run(tmp_path / "out").accepted_file) == plain(Run(tmp_path / "here").accepted_file)
    assert ROWS <= sent <= ROWS + 16
    log = (tmp_path / "out" / "cluster.log").read_text()
    assert "memory" in log + said
