"""What a cluster run does when its parts go: a node, the driver, the database.

Two Ray nodes on this machine, a real PostgreSQL, and a driver that is a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from clusters import plain
from conftest import start_karat, wait_for
from postgres import PASSWORD
from server import Server

import karat
from karat.journal import PostgresAddress, look_up
from karat.rundir import Run

ROWS, WIDTH = 240, 12
SMALL = "from karat.executors.ray import units; units.ROWS = (16, 65_536)"
QUICK = {  # how fast Ray sees that a node is gone
    "health_check_initial_delay_ms": 500, "health_check_period_ms": 300,
    "health_check_failure_threshold": 4, "health_check_timeout_ms": 1500,
}  # fmt: skip


@pytest.fixture(scope="module")
def nodes(postgres: Any) -> Iterator[Any]:
    """A cluster of two nodes of two CPUs; they know the password as the driver does."""
    from ray.cluster_utils import Cluster

    os.environ["PGPASSWORD"] = PASSWORD  # a test may have read an address with another one
    small = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = Cluster(
        initialize_head=True,
        head_node_args={**small, "_system_config": QUICK},
        shutdown_at_exit=True,
    )
    del small["include_dashboard"]
    made.add_node(**small)
    yield made
    made.shutdown()


def url(at: PostgresAddress) -> str:
    where = f"{at.user}@{at.host}:{at.port}/{at.database}"
    return f"postgresql://{where}?{urlencode({'schema': at.schema})}"


@contextmanager
def driver(path: Any, out: Any, nodes: Any, pg: Any) -> Iterator[subprocess.Popen[str]]:
    """`karat run` over the cluster, as a process of its own."""
    where = ["--executor", "ray", "--address", nodes.address, "--workers", "3"]
    with start_karat(
        "run", path, "--out", out, *where, "--journal", url(pg), prelude=SMALL
    ) as child:
        yield child


def ends_well(child: subprocess.Popen[str]) -> None:
    said, error = child.communicate(timeout=150)
    assert child.returncode == 0, f"{said}\n{error}"


def is_exact(out: Any, other: Any, pg: Any, sent: int, repaid: int) -> None:
    """All rows as on one machine, each paid for once but for what was in flight."""
    done = Run(out)
    assert plain(done.accepted_file) == plain(Run(other).accepted_file)
    ((answers, attempts),) = look_up(
        pg, "SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM attempts WHERE error = '')"
    )
    ((sums,),) = look_up(pg, "SELECT sum(answers) FROM minutes")
    assert answers == ROWS
    assert attempts == sums
    assert ROWS <= sent <= ROWS + repaid


def test_the_driver_a_node_and_the_database_may_go(
    make_recipe, tmp_path, nodes, postgres, pg_place
):
    """One after another, in one run each: the driver with -9, PostgreSQL as in a crash, a node."""
    with Server() as server:
        path = make_recipe(server.model(concurrency=WIDTH), ROWS)
        karat.run(path, tmp_path / "here")
        server.requests.clear()
        server.latency_s = 0.2
        out = tmp_path / "out"
        with driver(path, out, nodes, pg_place) as child:
            wait_for(lambda: len(server.requests) > 30, 120)
            child.send_signal(signal.SIGKILL)
            child.communicate()
        wait_for(lambda: server.in_flight == 0, 30)  # its workers end with it
        time.sleep(0.5)
        killed_at = len(server.requests)
        assert killed_at < ROWS
        with driver(path, out, nodes, pg_place) as child:
            wait_for(lambda: len(server.requests) > killed_at + 10, 120)
            postgres.stop(at_once=True)
            time.sleep(1.0)
            postgres.start()
            wait_for(lambda: len(server.requests) > killed_at + 30 or child.poll() is not None, 120)
            nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False)
            ends_well(child)
        is_exact(out, tmp_path / "here", pg_place, len(server.requests), 3 * WIDTH)
    log = (out / "cluster.log").read_text()
    assert "was lost, another takes its rows" in log
    assert "PostgreSQL" in log
