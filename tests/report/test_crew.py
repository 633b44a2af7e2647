"""Workers of a cluster in words: on the terminal, in live.json and in a table that stays small."""

from __future__ import annotations

import asyncio
import io

import msgspec
import yaml
from rich.console import Console

from karat import live
from karat.context import Services
from karat.live import MOST_WORKERS, State, StepState
from karat.models.budget import Budget
from karat.models.client import Client
from karat.recipe import Recipe
from karat.report.crew import MOST, counted, crew_in, worker_table
from karat.report.progress import Progress, _line
from karat.rundir import Run
from karat.walk import Monitor, Seen, WorkerState
from karat.workers import crew_of, notable


def workers(count, **of):
    """So many at work, those of the given numbers in another state."""
    states = {int(number[1:]): state for number, state in of.items()}
    return [
        WorkerState(
            f"w{n}", "node-1/ab", n, 2, 10 * n, float(n), 3, 0, 0.5, states.get(n, "working")
        )
        for n in range(count)
    ]  # fmt: skip


def state(found, **more):
    return State(executor="ray", workers=notable(found, MOST_WORKERS), crew=crew_of(found), **more)


def test_they_are_counted_with_what_is_wrong():
    assert counted(crew_of(workers(4, w2="lost"))) == "4 workers (1 lost)"
    assert counted(crew_of(workers(3, w0="silent", w1="lost"))) == "3 workers (1 lost, 1 silent)"
    assert counted(crew_of(workers(2, w0="left"))) == "1 worker"
    assert counted(crew_of(workers(2, w0="left", w1="left"))) == ""
    assert counted(crew_of([])) == ""


def test_what_a_terminal_says_of_a_cluster_and_of_one_machine():
    steps = [StepState("respond", 10, 8, 2, current=True)]
    there = state(workers(4, w3="lost"), steps=steps)
    assert "0.0 rows/s; 4 workers (1 lost); 0 calls" in _line(there)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(Progress(console, "p")._table(there))
    assert "p: 4 workers (1 lost); 0 calls" in console.export_text()
    assert "worker" not in _line(State(steps=steps))
    assert worker_table(State(steps=steps)) is None
    assert worker_table(None) is None
    assert crew_in(State(executor="ray", workers=workers(2))).rows == 10  # of an older karat


def test_of_a_thousand_the_table_and_the_file_stay_small():
    many = workers(1000, w7="lost", w500="silent", w900="left")
    many[20].restarts = 3
    there = state(many)
    assert len(there.workers) == MOST_WORKERS
    assert len(msgspec.json.encode(there)) < 50_000
    table = worker_table(there)
    names = [row.name for row in table.rows]
    assert len(names) == MOST
    assert names == sorted(names, key=lambda name: int(name[1:]))
    assert {"w7", "w500", "w20", "w999"} <= set(names)
    assert "w900" not in names
    assert table.total.name == "1,000 in all"
    assert table.total.rows == f"{sum(10 * n for n in range(1000)):,}"
    assert table.total.said == "1 lost, 1 silent, 997 working, 1 ended"
    assert table.more.startswith("950 of them are not listed")
    assert table.rows[names.index("w500")].said == "silent 0:00"


def test_the_file_says_them_all_added_up(tmp_path):
    """And says nothing of workers where there are none."""
    tree = {"name": "p", "steps": [{"read": {"path": "p.jsonl"}}]}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    (tmp_path / "p.jsonl").write_text('{"prompt": "Why?"}')
    recipe = Recipe.load(path)
    monitor = Monitor(Services(recipe, Client(recipe.models, None, Budget(None))), recipe.labels)
    assert live.snapshot(monitor, live.Pace()).crew is None
    monitor.executor = "ray"
    monitor.hear(Seen(workers=workers(300)))
    run = Run(tmp_path)

    async def write():
        async with live.written(run) as writer:
            writer.follow(monitor)

    asyncio.run(write())
    found = live.read(run)
    assert (found.executor, len(found.workers), found.crew.count) == ("ray", MOST_WORKERS, 300)
    assert found.crew.in_flight == 900
