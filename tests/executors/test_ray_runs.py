"""A run on Ray: the same rows, figures and files as on one machine, and the same promises."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from clusters import cluster as cluster
from clusters import many, plain, same
from conftest import journaled
from server import Server

import karat
from karat import parquet
from karat.columns import Table
from karat.errors import RecipeError, RunError
from karat.executors.ray import units
from karat.executors.ray.cluster import Cluster
from karat.executors.ray.job import Pool, parse_pools
from karat.executors.ray.tasks import Tasks
from karat.row import Message, Row
from karat.rundir import Run
from karat.stage import written
from karat.steps.dedupe import dedupe
from karat.tabled import all_notes, decided_part

GRADED = [
    {"read": {"path": "prompts.jsonl"}},
    {"respond": {"models": ["teacher"], "n": 2, "temperature": 1.0}},
    {"grade": {"reward": "helpsteer2"}},
    {"filters": {"rules": ["length", "repetition"]}},
    {"reject": {"by": "helpsteer2.reward", "best": 1, "minimum_sigma": -1.5}},
    {"dedupe": {"on": "prompt", "threshold": 0.9}},
    {"mix": {"human": "human.jsonl", "share": 0.1}},
]
REWARDS = {"helpsteer2": "embedded/helpsteer2"}
PRICE = {"input": 100.0, "output": 200.0}  # dollars a million tokens


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
    """Some hundred rows in several units."""
    monkeypatch.setattr(units, "ROWS", (16, 65_536))


@pytest.fixture
def human(tmp_path):
    lines = [
        json.dumps({"prompt": f"Which river is number {n}?", "response": f"It is river {n}."})
        for n in range(40)
    ]
    (tmp_path / "human.jsonl").write_text("\n".join(lines))


def ray_run(path, out, **more) -> Run:
    return karat.run(path, out, executor="ray", workers=2, **more)


def test_the_same_as_on_one_machine(make_recipe, tmp_path, cluster, human):
    with Server(max_n=2) as server:
        path = make_recipe(
            server.model(price=PRICE), 200, GRADED, rewards=REWARDS, export=["jsonl", "trl-sft"]
        )
        here = karat.run(path, tmp_path / "here")
        sent = len(server.requests)
        there = ray_run(path, tmp_path / "there")
        assert len(server.requests) == 2 * sent
    same(here, there)
    assert len(list(there.accepted_file.glob("part-*"))) > 3
    assert there.report["this_run"]["answers"] == here.report["this_run"]["answers"]
    live = json.loads(there.live_file.read_text())
    assert (live["executor"], live["state"]) == ("ray", "finished")
    assert {worker["state"] for worker in live["workers"]} == {"left"}
    assert sum(worker["rows"] for worker in live["workers"]) == 200


@many
def test_either_goes_on_where_the_other_stopped(make_recipe, tmp_path, cluster, human):
    with Server() as server:
        steps = [*GRADED[:4], {"reject": {"by": "helpsteer2.reward", "best": 1}}]
        path = make_recipe(server.model(), 80, steps, rewards=REWARDS)
        ray_run(path, tmp_path / "a")
        karat.run(path, tmp_path / "b")
        sent = len(server.requests)
        path = make_recipe(server.model(), 80, [*steps, GRADED[5]], rewards=REWARDS)
        same(karat.run(path, tmp_path / "a"), ray_run(path, tmp_path / "b"))
        assert len(server.requests) == sent
    for name in "ab":
        assert Run(tmp_path / name).report["this_run"]["stages_reused"] == len(steps)


@many
def test_a_recipe_that_begins_with_a_model_and_asks_for_so_many_rows(
    make_recipe, tmp_path, cluster, user_module
):
    """Rounds, rows that become several, and rows that are drawn from others."""
    user_module(
        "making",
        "@step\nasync def seed(row: Row, ctx: Context, *, models: list[str]) -> list[Row]:\n"
        "    found = await ctx.chat(models[0], 'Name things', n=8)\n"
        "    texts = [f'{i} {answer.content}' for i, answer in enumerate(found)]\n"
        "    return [Row('', [Message('user', text)]) for text in texts]\n",
    )
    steps = [
        {"making:seed": {"models": ["teacher"]}},
        {"respond": {"models": ["teacher"]}},
        {"dedupe": {"on": "prompt", "threshold": 1.0}},
    ]
    with Server(max_n=8) as server:
        path = make_recipe(server.model(), 0, steps, exactly=20)
        here = karat.run(path, tmp_path / "here")
        there = ray_run(path, tmp_path / "there")
    same(here, there)
    assert here.report["exactly"] == there.report["exactly"]


@many
def test_parts_that_are_there_are_not_made_again(make_recipe, tmp_path, cluster):
    with Server() as server:
        path = make_recipe(server.model(), 100)
        done = ray_run(path, tmp_path / "out")
        stage = next(done.stages.iterdir())
        before = {part.name: part.stat().st_mtime_ns for part in stage.glob("part-*")}
        (stage / "_karat.json").unlink()
        lost = sorted(before)[0]
        (stage / lost).unlink()
        sent, rows = len(server.requests), plain(done.accepted_file)
        again = ray_run(path, tmp_path / "out")
        assert len(server.requests) == sent
        assert plain(again.accepted_file) == rows
    after = {part.name: part.stat().st_mtime_ns for part in stage.glob("part-*")}
    assert [name for name in before if before[name] != after[name]] == [lost]
    assert again.report["this_run"]["replayed"] < 50


def test_a_worker_that_dies_loses_nothing(make_recipe, tmp_path, cluster, user_module):
    """Its process ends in the middle; what it had paid for is not paid for again."""
    user_module(
        "dying",
        "import os\nfrom pathlib import Path\n"
        "@step\nasync def die_once(row: Row, ctx: Context, *, mark: str) -> Row:\n"
        "    if row.meta['number'] == 37:\n"
        "        try:\n            Path(mark).touch(exist_ok=False)\n"
        "        except FileExistsError:\n            return row\n"
        "        os._exit(9)\n"
        "    return row\n",
    )
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"respond": {"models": ["teacher"]}},
        {"dying:die_once": {"mark": str(tmp_path / "mark")}},
    ]
    with Server(latency_s=0.01) as server:
        path = make_recipe(server.model(concurrency=8), 120, steps)
        done = ray_run(path, tmp_path / "out")
        assert 120 <= len(server.requests) <= 120 + 8
        assert journaled(done.path) == 120
    assert done.report["rows"]["accepted"] == 120
    log = (done.path / "cluster.log").read_text()
    assert "was lost, another takes its rows: its process ended by itself" in log
    live = json.loads(done.live_file.read_text())
    # None is begun in its place where the other one was done with all first.
    ends = [(worker["restarts"], worker["state"] == "lost") for worker in live["workers"]]
    assert sum(restarts + lost for restarts, lost in ends) == 1


@many
def test_rows_that_end_every_worker_end_the_run(
    make_recipe, tmp_path, cluster, user_module, monkeypatch
):
    monkeypatch.setattr("karat.executors.ray.crew.PAUSE_S", 0.01)
    monkeypatch.setattr("karat.executors.ray.crew.MOST_LOSSES", 2)
    user_module(
        "deadly",
        "import os\n@step\nasync def end(row: Row, ctx: Context) -> Row:\n    os._exit(9)\n",
    )
    path = make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}, {"deadly:end": {}}])
    with pytest.raises(RunError, match="2 workers in turn were lost over the same 10 rows"):
        ray_run(path, tmp_path / "out")


@many
def test_what_breaks_on_a_worker_is_told_as_here(make_recipe, tmp_path, cluster, user_module):
    user_module(
        "breaking",
        "@step\nasync def divide(row: Row, ctx: Context) -> Row:\n    return 1 / 0\n"
        "@step\ndef none(table: Table, ctx: Context) -> Decision:\n    return {}['x']\n",
    )
    for step, words in (("divide", "ZeroDivisionError"), ("none", "KeyError")):
        path = make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}, {f"breaking:{step}": {}}])
        with pytest.raises(RunError, match=f"step '{step}' broke.*{words}.*breaking.py"):
            ray_run(path, tmp_path / step)


@many
def test_a_budget_holds_for_all_workers_together(make_recipe, tmp_path, cluster):
    with Server(latency_s=0.005) as server:
        model = server.model(price=PRICE, max_tokens=50)
        path = make_recipe(model, 200, budget_usd=0.3)
        with pytest.raises(RunError, match=r"the budget of \$0.3 would be crossed"):
            ray_run(path, tmp_path / "out")
        cost = json.loads(Run(tmp_path / "out").live_file.read_text())["cost_usd"]
        assert 0.25 < cost <= 0.3
        make_recipe(model, 200, budget_usd=10)
        assert ray_run(path, tmp_path / "out").report["rows"]["accepted"] == 200
        assert len(server.requests) == 200


@many
def test_a_key_that_workers_lack_ends_the_run_before_anything_is_sent(
    make_recipe, tmp_path, cluster, monkeypatch
):
    monkeypatch.setenv("A_KEY_OF_THE_DRIVER", "secret-of-the-driver")
    with Server() as server:
        path = make_recipe(server.model(key_env="A_KEY_OF_THE_DRIVER"))
        with pytest.raises(
            RecipeError, match=r"(?s)A_KEY_OF_THE_DRIVER.*where a worker should run"
        ):
            ray_run(path, tmp_path / "out")
        assert not server.requests
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"secret-of-the-driver" not in file.read_bytes()


@many
def test_a_reward_in_a_pool_scores_as_in_the_process(make_recipe, tmp_path, cluster):
    steps = GRADED[:3]
    with Server() as server:
        path = make_recipe(server.model(), 60, steps, rewards=REWARDS)
        here = karat.run(path, tmp_path / "here")
        there = ray_run(path, tmp_path / "there", pools=["helpsteer2=2:0.5"])
    same(here, there)


def test_duplicates_are_found_by_tasks(tmp_path, cluster, monkeypatch):
    """Signing, exchanges of bands, comparing: in tasks of Ray as in one process."""
    monkeypatch.setattr("karat.steps.dedupe.APART", 0)
    words = [f"w{n}" for n in range(40)]
    rng = random.Random(1)
    texts = [" ".join(rng.choices(words, k=12)) for _ in range(60)]
    texts += [text.replace("w1 ", "w2 ") for text in texts]
    for name in ("one", "parts"):
        (tmp_path / name).mkdir()
    made = [Row(f"r{n}", [Message("user", text)]) for n, text in enumerate(texts)]
    cuts = [0, 50, 51, 120]
    for first, end in pairwise(cuts):
        with written(tmp_path / "parts" / f"p{first}.parquet", {}) as writer:
            writer.add(made[first:end])
    parquet.list_parts(
        tmp_path / "parts",
        [(f"p{first}.parquet", end - first) for first, end in pairwise(cuts)],
        {},
    )
    with written(tmp_path / "one.parquet", {}) as writer:
        writer.add(made)
    params = dedupe.check({"on": "prompt", "threshold": 0.7})
    whole = dedupe.function(Table(tmp_path / "one.parquet"), None, **params)
    table = Table(tmp_path / "parts", Tasks(cluster, 3))
    apart = dedupe.function(table, None, **params)
    told = [decided_part(apart, part, "dedupe") for part in table.parts()]
    assert {key: why for one in told for key, why in one.drop.items()} == whole.drop
    assert len(whole.drop) > 10
    assert all_notes(apart, [one.notes for one in told]) == whole.notes


def test_pools_are_checked_before_anything_is_sent(make_recipe, tmp_path, cluster):
    with Server() as server:
        path = make_recipe(server.model(), steps=GRADED[:3], rewards=REWARDS)
        for written, words in (
            ("other=1", "grades with no such reward"), ("helpsteer2=2:5", "the cluster has 2"),
            ("helpsteer2", "takes NAME=COPIES"), ("helpsteer2=0", "takes NAME=COPIES"),
        ):  # fmt: skip
            with pytest.raises(RecipeError, match=words):
                ray_run(path, tmp_path / "out", pools=[written])
        assert not server.requests


def test_options_are_checked():
    assert parse_pools(["a/b=4:0.5", "c=1"]) == {"a/b": Pool(4, 0.5), "c": Pool(1)}
    with pytest.raises(RecipeError, match="auto"):
        Cluster("ray://somewhere:10001")
    with pytest.raises(RecipeError, match="1 or more"):
        Cluster(workers=0)
    with pytest.raises(RecipeError, match="use executor ray"):
        karat.run("quickstart", workers=3)
    with pytest.raises(RecipeError, match="did you mean 'ray'"):
        karat.run("quickstart", executor="rya")


def test_units_hold_all_rows_once(tmp_path, make_recipe):
    """Of a file with row groups larger and smaller than a unit, and of a folder of parts."""

    def write(path: Path, numbers: range) -> None:
        with written(path, {}) as writer:
            for n in numbers:
                writer.add([Row(f"r{n}", [Message("user", "x" * 5000 + str(n))])])

    write(tmp_path / "one.parquet", range(5000))
    folder = tmp_path / "parts"
    folder.mkdir()
    parts = []
    for first, end in pairwise([0, 1, 1, 400, 405, 5000]):
        parts.append((f"part-{first}-{end}.parquet", end - first))
        write(folder / parts[-1][0], range(first, end))
    parquet.list_parts(folder, parts, {})
    for path in (tmp_path / "one.parquet", folder):
        found = units.cut_units(path)
        assert [unit.number for unit in found] == list(range(len(found)))
        ids = [row.id for unit in found for row in units.unit_rows(unit)]
        assert ids == [f"r{n}" for n in range(5000)]
        assert sum(unit.rows for unit in found) == 5000
        assert len(found) > 1
        assert len({unit.key("a") for unit in found}) == len(found)
