"""Attacks on a cluster run: zombies, workers that cannot begin, copies without a place, stale
parts. Most need no Ray that runs."""

from __future__ import annotations

import asyncio

import pytest
from clusters import cluster as cluster
from clusters import many, same
from hub_line import Near
from ray.exceptions import ActorDiedError, RayTaskError, WorkerCrashedError
from server import Server

import karat
from karat import parquet
from karat.errors import RecipeError, RunError
from karat.executors.ray import crew as crews
from karat.executors.ray import faults, pools, units
from karat.executors.ray.executor import _held
from karat.executors.ray.job import Pool
from karat.finish import forget_unfinished
from karat.hub import Hub, Report
from karat.ledger import NANO
from karat.models.budget import BudgetError
from karat.recipe import Recipe
from karat.row import Message, Row
from karat.rundir import Run
from karat.stage import StageWriter, read_rows, written
from karat.station import Station

# --- two that write the same part ----------------------------------------------------------------


def numbered(name: str, count: int) -> list[Row]:
    return [Row(f"{name}{n}", [Message("user", f"{name} {n} " + "x" * 500)]) for n in range(count)]


def test_two_that_write_one_part_do_not_mix(tmp_path):
    """A worker that was given up may be at the part that another was handed."""
    path = tmp_path / "part-000003.parquet"
    zombie, other = StageWriter(path), StageWriter(path)
    for start in range(0, 2000, 100):
        zombie.add(numbered("zombie", 2000)[start : start + 100])
        other.add(numbered("other", 1900)[start : start + 100])
    zombie.close({"who": "zombie"})
    assert [row.id for row in read_rows(path)] == [f"zombie{n}" for n in range(2000)]
    other.close({"who": "other"})
    assert [row.id for row in read_rows(path)] == [f"other{n}" for n in range(1900)]
    assert parquet.meta(path) == {"who": "other"}
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


def test_what_a_killed_run_was_writing_is_swept(tmp_path):
    run = Run(tmp_path)
    for path in (run.accepted_file, run.stages / "01.parquet", run.stages / "02.parquet/part-0.p"):
        StageWriter(path)  # and its process is gone
    run.accepted_file.write_bytes(b"the results before")
    (tmp_path / "notes.tmp").touch()
    assert len(list(tmp_path.rglob("*.tmp"))) == 4
    forget_unfinished(run)
    parquet.begin_parts(run.stages / "02.parquet")
    left = {path.name for path in tmp_path.rglob("*")}
    assert left == {"accepted.parquet", "notes.tmp", "stages", "02.parquet"}


# --- a worker that was given up, and the one in its place ----------------------------------------


async def spend_all(stations, limit_nano):
    """What stations spend, in turn, as long as they may; what ended each."""
    paid, ends = 0, []
    budgets = [(one, one._leased("", "", limit_nano / NANO, "the budget")) for one in stations]
    while budgets:
        for pair in list(budgets):
            try:
                await asyncio.wait_for(pair[1].reserve(10_000_000), 5)
            except (BudgetError, RunError) as error:
                ends.append((pair[0], error))
                budgets.remove(pair)
                continue
            pair[1].settle(10_000_000, 10_000_000)
            paid += 10_000_000
    return paid, ends


def test_one_that_was_given_up_does_not_spend_what_is_lent_to_the_one_in_its_place():
    hub = Hub(lambda route: 0, 0.4)

    async def turn():
        zombie, other = (Station("w0", Near(hub), 2) for _ in range(2))
        await zombie.join("one", 1)
        hub.lost("w0")
        await other.join("another", 2)
        return zombie, other, *await spend_all((zombie, other), 400_000_000)

    zombie, other, paid, ends = asyncio.run(turn())
    assert paid == 400_000_000
    why = dict(ends)
    assert "was given up and its rows are another's" in str(why[zombie])
    assert isinstance(why[other], BudgetError)


def test_the_hub_tells_one_from_the_one_before_it():
    hub = Hub(lambda route: 0)
    first = hub.join("w0", "a", 1)
    hub.lost("w0")
    second = hub.join("w0", "b", 2)
    assert (first.term, second.term) == (0, 1)
    assert hub.report("w0", Report(term=0)).gone
    assert not hub.report("w0", Report(term=1)).gone
    hub.leave("w0", Report(term=0))
    assert [one.state for one in hub.seen().workers] == ["idle"]
    hub.leave("w0", Report(term=1))
    assert [one.state for one in hub.seen().workers] == ["left"]


# --- workers that cannot begin -------------------------------------------------------------------


class Told:
    """Hears what a crew tells."""

    def __init__(self):
        self.lost_ones, self.waiting = [], []

    def came(self, worker, node, pid): ...

    def lost(self, worker, why):
        self.lost_ones.append(why)

    def waits(self, worker):
        self.waiting.append(worker)

    def begun(self, worker, task): ...

    def done(self, worker, task, done): ...


class Handle:
    """An actor whose `ready` does this."""

    def __init__(self, answer):
        class Method:
            remote = staticmethod(answer)

        self.ready = Method()


async def results_of(crew):
    return [done async for done in crew.results()]


def test_workers_that_never_begin_end_the_run(monkeypatch):
    """Another Python, a karat that is not installed: each new one would end as the last did."""
    monkeypatch.setattr(crews, "PAUSE_S", 0.001)
    monkeypatch.setattr(crews, "_end", lambda worker: None)

    async def answer():
        error = ActorDiedError()
        error.error_msg = (
            "The actor died because of an error raised in its creation task, …\n"
            "ModuleNotFoundError: No module named 'karat'"
        )
        raise error

    told = Told()
    crew = crews.Crew(lambda name: Handle(answer), 2, 1, told)

    async def turn():
        await asyncio.wait_for(results_of(crew), 10)

    with pytest.raises(RunError, match=r"before they began.*No module named 'karat'.*same Python"):
        asyncio.run(turn())
    assert len(told.lost_ones) >= crews.MOST_LOSSES


def test_a_worker_without_a_place_is_spoken_of(monkeypatch):
    monkeypatch.setattr(crews, "LONG_S", 0.02)
    monkeypatch.setattr(crews, "_end", lambda worker: None)
    told = Told()

    async def turn():
        never = asyncio.get_running_loop().create_future
        crew = crews.Crew(lambda name: Handle(never), 2, 1, told)
        asyncio.get_running_loop().call_later(0.1, crew.units.close)
        return await asyncio.wait_for(results_of(crew), 10)

    assert asyncio.run(turn()) == []
    assert sorted(told.waiting) == ["w0", "w1"]


def test_what_ray_raises_is_told_in_words():
    lost = faults.explain(WorkerCrashedError())
    assert isinstance(lost, RunError)
    assert "lost its process" in str(lost)
    own = RayTaskError("f", "a page of text", RunError("the disk is full"))
    assert str(faults.explain(own)) == "the disk is full"
    other = faults.explain(RayTaskError("f", "a page of text", ZeroDivisionError("by zero")))
    assert "ZeroDivisionError: by zero" in str(other)
    with pytest.raises(RunError, match="a process of the run was lost"), faults.explained():
        raise ActorDiedError()


# --- copies of rewards ---------------------------------------------------------------------------


def test_copies_that_have_no_room_are_refused(make_recipe, length_reward, monkeypatch):
    """What is sent to one that never begins would wait for ever."""
    steps = [{"read": {"path": "prompts.jsonl"}}, {"grade": {"reward": "a"}}]
    recipe = Recipe.load(make_recipe(steps=steps, rewards={"a": "length"}))
    assert pools.pools(recipe, {"a": Pool(4, 0.5)}, 2.0) == {"a": Pool(4, 0.5)}
    for pool in (Pool(5, 0.5), Pool(3, 1.0), Pool(3, 0.6)):
        with pytest.raises(RecipeError, match="the cluster has 2"):
            pools.pools(recipe, {"a": pool}, 2.0)


def test_rewards_share_the_devices_that_are_left():
    assert pools._share(4.0, 1) == Pool(4, 1.0)
    assert pools._share(5.0, 2) == Pool(2, 1.0)
    assert pools._share(1.0, 2) == Pool(1, 0.5)
    assert pools._share(2.0, 3) == Pool(1, 0.5)  # two fit on one, and 2/3 would not
    assert pools._share(0.0, 2) == Pool(1, 0.0)
    for left in (0.3, 1.0, 1.5, 2.0, 3.7, 8.0):
        for count in range(1, 9):
            share = pools._share(left, count)
            assert count * share.copies * share.gpus <= left + 1e-9


# --- parts that are there ------------------------------------------------------------------------


def test_a_part_of_another_form_is_made_again(tmp_path):
    for number, meta in enumerate(
        ({"address": "k"}, {"address": "k", "done": {"number": "x"}}, {"address": "k", "done": 1})
    ):
        path = tmp_path / f"part-{number}.parquet"
        with written(path, meta):
            pass
        assert _held(path, "k") is None


@many
def test_rows_that_failed_leave_no_stale_parts_behind_a_table_step(
    make_recipe, tmp_path, cluster, monkeypatch
):
    """Row 40 says what row 0 says, whose call fails at first: it is kept, and the part it is in
    holds no failed row. Once row 0 is answered, row 40 repeats it."""
    monkeypatch.setattr(units, "ROWS", (16, 65_536))
    fails = [True]

    def script(number, body):
        if fails[0] and "What is number 0?" in body["messages"][0]["content"]:
            return 400, b'{"error": {"message": "not now"}}', {}
        return None

    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"respond": {"models": ["teacher"]}},
        {"dedupe": {"on": "prompt", "threshold": 1.0}},
        {"respond": {"models": ["teacher"], "temperature": 0.5}},
    ]
    with Server(script=script) as server:
        path = make_recipe(server.model(), 64, steps)
        file = tmp_path / "prompts.jsonl"
        text = file.read_text()
        file.write_text(text.replace("What is number 40?", "WHAT IS NUMBER 0?"))
        for out, where in (("here", {}), ("there", {"executor": "ray", "workers": 2})):
            fails[0] = True
            first = karat.run(path, tmp_path / out, **where)
            assert first.report["rows"] == {"in": 64, "accepted": 63, "dropped": 1}
            assert any("WHAT IS NUMBER 0?" in text for text in first.accepted["prompt"].to_pylist())
            fails[0] = False
            karat.run(path, tmp_path / out, **where)
    there = Run(tmp_path / "there")
    same(Run(tmp_path / "here"), there)
    assert not any("WHAT IS NUMBER 0?" in text for text in there.accepted["prompt"].to_pylist())
