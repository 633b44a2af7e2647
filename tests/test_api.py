"""run, preview and plan: the same from Python as from the command line, and they agree."""

from __future__ import annotations

import asyncio
import threading

import pytest
from conftest import rows_of
from listing import listed
from server import Server

import karat
from karat import Recipe, RecipeError
from karat.step import find


def lists(body, place):
    """A numbered list as long as the question asks for, or a plain answer."""
    words = body["messages"][-1]["content"].split()
    if not {"topics", "subtopics", "questions"} & set(words):
        return f"An answer, number {place}."
    return listed(body, place)


def test_a_recipe_object_a_path_and_a_name_all_run(make_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Server() as server:
        path = make_recipe(server.model(), 3)
        run = karat.run(path)
        assert run.path.resolve() == tmp_path / "runs" / "test"
        again = karat.run(Recipe.load(path))
        assert again.report["this_run"]["calls"] == 0
    assert run.accepted.num_rows == 3
    assert run.dropped.num_rows == 0
    assert run.accepted.column_names[:3] == ["prompt", "response", "score"]


def test_run_inside_a_running_loop(make_recipe, tmp_path):
    async def notebook():
        return karat.run(make_recipe(server.model(), 3), tmp_path / "out")

    with Server() as server:
        assert asyncio.run(notebook()).accepted.num_rows == 3


def test_an_error_inside_a_running_loop_is_raised_there(make_recipe, tmp_path):
    (tmp_path / "file").touch()

    async def notebook():
        karat.run(
            make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}]), tmp_path / "file" / "out"
        )

    with pytest.raises(karat.RunError, match="cannot use"):
        asyncio.run(notebook())


def test_run_on_another_thread(make_recipe, tmp_path):
    with Server() as server:
        path, made = make_recipe(server.model(), 3), []
        thread = threading.Thread(target=lambda: made.append(karat.run(path, tmp_path / "out")))
        thread.start()
        thread.join(30)
    assert made[0].accepted.num_rows == 3


def test_a_recipe_written_in_python_runs(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    with Server() as server:
        steps = [find("read")(path=str(tmp_path / "p.jsonl")), find("respond")(models=["m"], n=2)]
        run = karat.run(Recipe(steps, models={"m": server.model()}), tmp_path / "out")
    assert [len(row.responses) for row in rows_of(run.accepted_file)] == [2, 2]


def test_what_preview_paid_for_the_run_does_not_pay_again(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(server.model(), 10)
        rows = karat.preview(path, 3, tmp_path / "out")
        assert len(server.requests) == 3
        run = karat.run(path, tmp_path / "out")
        assert len(server.requests) == 10
    assert [row.prompt for row in rows] == [f"What is number {i}?" for i in range(3)]
    assert rows == rows_of(run.accepted_file)[:3]


@pytest.mark.parametrize("n", [0, -1])
def test_preview_of_no_rows_is_a_mistake(make_recipe, n):
    with pytest.raises(RecipeError, match=f"1 or more; got {n}"):
        karat.preview(make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}]), n)


def test_preview_shows_dropped_rows_and_leaves_results_alone(make_recipe, user_module, tmp_path):
    user_module("mine_drop", "@step\nasync def f(row, ctx):\n row.dropped = 'no'\n return row\n")
    path = make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}, "mine_drop:f"])
    rows = karat.preview(path, 2, tmp_path / "out")
    assert [row.dropped for row in rows] == ["f: no", "f: no"]
    assert not (tmp_path / "out" / "accepted.parquet").exists()
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_preview_buys_no_more_than_it_shows(make_recipe, tmp_path):
    steps = [
        {"topics": {"given": [f"topic {i}" for i in range(20)]}},
        {"prompts": {"model": "teacher", "per_topic": 5}},
        {"respond": {"models": ["teacher"]}},
    ]
    with Server(answer=lists) as server:
        rows = karat.preview(make_recipe(server.model(), steps=steps), 3, tmp_path / "out")
        assert len(rows) == 3
        assert len(server.requests) <= 3 + 3


def test_preview_after_a_run_pays_nothing_and_does_not_unseal_it(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(server.model(), 10)
        karat.run(path, tmp_path / "out")
        karat.preview(path, 4, tmp_path / "out")
        again = karat.run(path, tmp_path / "out")
        assert len(server.requests) == 10
    assert again.report["this_run"]["stages_reused"] == 2


PIPE = [
    {"topics": {"model": "teacher", "n": 12}},
    {"prompts": {"model": "teacher", "per_topic": 6, "tasks": ["open_qa"]}},
    {"respond": {"models": ["teacher"], "n": 3}},
]


def planned(path, out, **options):
    return {line.label: line for line in karat.plan(path, out, **options) if line.model}


def test_plan_counts_what_the_run_then_does(make_recipe, tmp_path):
    with Server(answer=lists) as server:
        path = make_recipe(server.model(price={"input": 1, "output": 1}), steps=PIPE)
        plan = planned(path, tmp_path / "out")
        assert server.requests == []
        run = karat.run(path, tmp_path / "out")
        done = dict.fromkeys(plan, 0)
        for row in run_calls(tmp_path / "out"):
            done[row] += 1
    assert {label: line.calls for label, line in plan.items()} == done
    assert {label: line.rows_out for label, line in plan.items()} == {
        step["label"]: step["rows_out"] for step in run.report["funnel"]
    }
    assert plan["respond"].samples == 3 * plan["respond"].calls


def run_calls(out):
    import sqlite3

    base = sqlite3.connect(out / "journal.sqlite")
    try:
        return [step for (step,) in base.execute("SELECT step FROM attempts WHERE error = ''")]
    finally:
        base.close()


def test_plan_after_a_run_has_nothing_left_to_pay(make_recipe, tmp_path):
    with Server(answer=lists) as server:
        path = make_recipe(server.model(price={"input": 1, "output": 1}), steps=PIPE)
        karat.run(path, tmp_path / "out")
        sent = len(server.requests)
        plan = planned(path, tmp_path / "out")
        assert len(server.requests) == sent
    assert sum(line.cost_usd for line in plan.values()) == 0
    assert all(line.recorded == line.samples for line in plan.values())


@pytest.mark.parametrize("change", [{"seed": 9}, {"teacher": {"model": "openai/other"}}])
def test_plan_does_not_count_answers_that_another_recipe_paid_for(make_recipe, tmp_path, change):
    with Server() as server:
        teacher = server.model(price={"input": 1, "output": 1})
        karat.run(make_recipe(teacher, 10), tmp_path / "out")
        changed = make_recipe({**teacher, **change.pop("teacher", {})}, 10, **change)
        (line,) = planned(changed, tmp_path / "out").values()
        assert line.recorded == 0
        assert line.cost_usd > 0
        karat.run(changed, tmp_path / "out")
        assert len(server.requests) == 20


def test_plan_of_n_raised_pays_for_the_difference(make_recipe, tmp_path):
    def steps(n):
        return [{"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["teacher"], "n": n}}]

    with Server() as server:
        karat.run(make_recipe(server.model(), 10, steps(4)), tmp_path / "out")
        (line,) = planned(make_recipe(server.model(), 10, steps(8)), tmp_path / "out").values()
    assert (line.samples, line.recorded) == (80, 40)


def test_probe_measures_and_its_answers_are_kept(make_recipe, tmp_path):
    with Server(usage={"prompt_tokens": 11, "completion_tokens": 23}) as server:
        path = make_recipe(server.model(price={"input": 1, "output": 1}), 10)
        (line,) = planned(path, tmp_path / "out", probe=4).values()
        assert len(server.requests) == 4
        assert (line.measured, line.recorded, line.samples) == (True, 4, 10)
        assert (line.prompt_tokens, line.completion_tokens) == (6 * 11, 6 * 23)
        assert line.cost_usd == pytest.approx(6 * 34e-6)
        karat.run(path, tmp_path / "out")
        assert len(server.requests) == 10


def test_plan_touches_no_directory(make_recipe, tmp_path):
    karat.plan(
        make_recipe({"model": "openai/x", "base_url": "http://127.0.0.1:1"}), tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_results_before_the_end_are_told_apart(tmp_path):
    with pytest.raises(RecipeError, match="is not a run"):
        karat.Run.open(tmp_path)
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(RecipeError, match="has no report yet"):
        karat.Run.open(tmp_path).report  # noqa: B018
