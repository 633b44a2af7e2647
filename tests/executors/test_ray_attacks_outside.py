"""Attacks from outside a cluster run: machines that lack something, addresses, passwords, a
database that is away, the one process that all depend on."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from clusters import cluster as cluster
from clusters import many
from conftest import wait_for
from server import Server

import karat
from karat.errors import RecipeError, RunError
from karat.executors.ray import cluster as clustering
from karat.executors.ray import job
from karat.executors.ray.cluster import EXCLUDED, Cluster, connect
from karat.executors.ray.executor import RayExecutor
from karat.executors.ray.job import Order, Steps, check_steps
from karat.executors.ray.tables import conduct
from karat.journal import PostgresAddress
from karat.recipe import Recipe
from karat.row import Row
from karat.stage import cut
from karat.target import Round

PRICE = {"input": 100.0, "output": 200.0}


# --- what every machine must have ----------------------------------------------------------------


def order_of(path: Path) -> tuple[Recipe, Order]:
    recipe = Recipe.load(path)
    return recipe, Order(recipe.portable(), recipe.folder, recipe.origin, {}, Round())


def test_another_karat_on_a_machine_is_refused(make_recipe, monkeypatch):
    path = make_recipe({"model": "openai/loop", "base_url": "http://127.0.0.1:9/v1"})
    _, order = order_of(path)
    assert order.recipe().name == "test"
    monkeypatch.setattr(job, "__version__", "99.0")
    with pytest.raises(RunError, match=r"99\.0.*the same one on all machines"):
        order.recipe()


def test_what_a_machine_lacks_is_returned_by_a_table_task(make_recipe, tmp_path, monkeypatch):
    """Ray would wrap what is raised, and print a page."""
    steps = [{"read": {"path": "prompts.jsonl"}}, {"dedupe": {"on": "prompt"}}]
    recipe, order = order_of(make_recipe(steps=steps))
    calls = [(recipe.labels[1], recipe.steps[1])]
    monkeypatch.setattr(job, "__version__", "99.0")
    done = conduct(order, Steps.of(recipe, calls), tmp_path / "none", tmp_path / "to", 1)
    assert isinstance(done.error, RunError)
    assert cut(recipe)[1].is_table


def test_a_step_of_the_program_itself_is_refused_in_words():
    async def mine(row: Row, ctx: karat.Context) -> Row:
        return row

    check_steps([karat.step(mine)()])
    mine.__module__ = "__main__"
    with pytest.raises(RecipeError, match="put it into a module beside the recipe"):
        check_steps([karat.step(mine)()])


# --- connecting ----------------------------------------------------------------------------------


def test_a_password_on_the_command_line_is_not_shown_to_a_cluster(monkeypatch, tmp_path):
    """Ray keeps the command line of a job where every user of the cluster may read it."""
    for argument in (
        "postgresql://me:word-of-mine@host/base", "--journal=postgres://host/b?password=word-of-mine",
    ):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["karat", "run", "r.yaml", argument])
        with pytest.raises(RecipeError, match="PGPASSWORD") as raised:
            connect_fresh(Cluster("auto"), tmp_path)
        assert "word-of-mine" not in str(raised.value)
    monkeypatch.setattr(sys, "argv", ["karat", "postgresql://me@host:5432/base?schema=a"])
    clustering._check_address("auto")


def connect_fresh(cluster, folder):
    """As in a process that is not connected yet."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "is_initialized", lambda: False)
        return connect(cluster, folder)


def test_an_address_where_nothing_is_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["karat"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"  # bound, and nobody listens
        began = time.monotonic()
        with pytest.raises(RunError, match="nothing answers at --address"):
            connect_fresh(Cluster(address), tmp_path)
    assert time.monotonic() - began < 10


def test_what_ray_says_is_passed_on_whole(tmp_path):
    both = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.1\n  Python: 3.9"
    )
    assert "Python: 3.9" in str(clustering._unreached(both, Cluster("auto"), tmp_path))
    large = ValueError("Package size (600MiB) exceeds the maximum size of 500MiB.")
    assert "too large" in str(clustering._unreached(large, Cluster("auto"), tmp_path))
    assert {".env*", "*.pem", "*.key"} <= set(EXCLUDED)


def test_a_worker_that_joins_waits_for_a_database_that_is_away(monkeypatch):
    """The others of its run wait for it, too. One that begins a run is told at once."""
    postgres = pytest.importorskip("karat.journal.postgres")
    psycopg = pytest.importorskip("psycopg")
    said = ["server closed the connection unexpectedly", "Connection refused"]

    def begun(address):
        if said:
            raise psycopg.OperationalError(said.pop())
        return 3, 70

    monkeypatch.setattr(postgres, "_begun", begun)
    monkeypatch.setattr(postgres, "PAUSE_S", 0.001)
    at = PostgresAddress(host="127.0.0.1", database="base")
    with pytest.raises(RunError, match="does not answer"):
        postgres.PostgresJournal(at)
    said.append("Connection refused")
    joined = postgres.PostgresJournal(at, since=50)
    assert (joined.writer, joined.since, said) == (3, 50, [])
    said.append("FATAL: password authentication failed")
    with pytest.raises(RunError, match="refuses the password"):
        postgres.PostgresJournal(at, since=50)


# --- the office ----------------------------------------------------------------------------------


@many
def test_a_lost_office_ends_the_run_in_words_and_loses_nothing(
    make_recipe, tmp_path, cluster, monkeypatch
):
    """Only it knows what is lent: another in its place would lend that again."""
    with Server(latency_s=0.05) as server:
        model = server.model(concurrency=8, price=PRICE, max_tokens=50)
        path = make_recipe(model, 150, budget_usd=5)
        offices, begin = [], RayExecutor._office
        monkeypatch.setattr(
            RayExecutor, "_office", lambda self: offices.append(begin(self)) or offices[-1]
        )
        killer = threading.Thread(target=end_office, args=(server, cluster, offices), daemon=True)
        killer.start()
        began = time.monotonic()
        with pytest.raises(RunError, match=r"keeps the budgets of this run was lost.*run again"):
            karat.run(path, tmp_path / "out", executor="ray", workers=2)
        assert time.monotonic() - began < 30
        killer.join(5)
        sent = len(server.requests)
        assert sent < 150
        server.latency_s = 0.0
        done = karat.run(path, tmp_path / "out", executor="ray", workers=2)
        assert done.report["rows"]["accepted"] == 150
        assert len(server.requests) == 150


def end_office(server, ray, offices):
    wait_for(lambda: len(server.requests) > 30 and offices)
    os.kill(ray.get(offices[0].__ray_call__.remote(lambda office: os.getpid())), signal.SIGKILL)
