"""What somebody who does not trust karat tries: across its parts, through a run or a plan."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing

import pytest
from server import Server

import karat
from karat.errors import RunError
from karat.report.text import plan_table

HEADER = "gateway-hunter2-secret"
OWN = """
@step
async def secretly(row, ctx, *, name: str):
    await ctx.chat(name, row.messages)
    return row

@step
async def ask(row, ctx, *, model: str):
    await ctx.chat(model, row.messages)
    return row
"""


def attempts(out, columns):
    with closing(sqlite3.connect(out / "journal.sqlite")) as base:
        return base.execute(f"SELECT {columns} FROM attempts").fetchall()


def test_a_header_from_the_environment_is_sent_and_in_no_file(make_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY", HEADER)
    echo = f'{{"error": {{"message": "bad header {HEADER}"}}}}'.encode()
    script = Server(script=lambda number, body: (400, echo, {}) if number > 2 else None)
    with script as server:
        lab = {"base_url": server.url, "headers": {"X-Gateway-Key": "$GATEWAY"}}
        path = make_recipe({"model": "lab/loop"}, 4, providers={"lab": lab})
        run = karat.run(path, tmp_path / "out")
        assert {r["headers"]["x-gateway-key"] for r in server.requests} == {HEADER}
    assert run.report["rows"]["accepted"] == 2
    assert [m for (m,) in attempts(run.path, "message") if m] == ["HTTP 400: bad header [key]"] * 2
    for file in run.path.rglob("*"):
        assert not file.is_file() or HEADER.encode() not in file.read_bytes(), file


def test_a_page_under_200_stops_the_run_instead_of_costing_every_row(make_recipe, tmp_path):
    page = Server(script=lambda number, body: (200, b"<html>hello</html>", {}))
    with page as server:
        path = make_recipe(server.model(concurrency=4, price={"input": 1, "output": 2}), 500)
        with pytest.raises(RunError, match=r"no answer that can be read.*Check base_url and wire"):
            karat.run(path, tmp_path / "out")
        assert len(server.requests) < 60


def test_a_few_broken_answers_among_good_ones_stop_nothing(make_recipe, tmp_path):
    def script(number, body):
        return (200, b"<html>", {}) if 5 < number <= 45 else None

    with Server(script=script) as server:
        path = make_recipe(server.model(concurrency=1), 60)
        run = karat.run(path, tmp_path / "out")
    assert run.report["rows"]["accepted"] >= 40


@pytest.mark.parametrize("whose", ["run", "model"])
def test_a_budget_learns_what_a_service_adds_to_every_call(make_recipe, tmp_path, whose):
    """A hidden prompt of 5,000 tokens: no estimate from the request can foresee it."""
    usage = {"prompt_tokens": 5_000, "completion_tokens": 7}
    limit = {"budget_usd": 0.05}
    model, top = (limit, {}) if whose == "model" else ({}, limit)
    with Server(usage=usage) as server:
        price = {"input": 1, "output": 1}
        teacher = server.model(price=price, concurrency=2, max_tokens=20, **model)
        path = make_recipe(teacher, 60, **top)
        with pytest.raises(RunError, match="would be crossed"):
            karat.run(path, tmp_path / "out")
        spent = sum(cost for (cost,) in attempts(tmp_path / "out", "cost_nano")) / 1e9
        assert 0.05 - 2 * 0.005007 < spent <= 0.05
        assert len(server.requests) * 0.005007 == pytest.approx(spent)


@pytest.mark.parametrize("step", ["ask", "secretly"])
@pytest.mark.parametrize(
    ("top", "said"),
    [
        ({"budget_usd": 1}, "budget_usd needs the price of model 'teacher'"),
        ({"rights": "refuse"}, "training on its output: unknown"),
    ],
)
def test_a_step_of_ones_own_is_held_to_budget_and_rights(
    make_recipe, user_module, tmp_path, step, top, said
):
    """Whether a parameter or only the code of the step names the model."""
    user_module("mine_held", OWN)
    given = {"model" if step == "ask" else "name": "teacher"}
    steps = [{"read": {"path": "prompts.jsonl"}}, {f"mine_held:{step}": given}]
    with Server() as server:
        path = make_recipe(server.model(), 3, steps, **top)
        with pytest.raises(karat.RecipeError, match=said):
            karat.run(path, tmp_path / "out")
        assert server.requests == []


def test_a_model_that_only_a_steps_code_names_is_a_mistake_in_words(
    make_recipe, user_module, tmp_path
):
    user_module("mine_named", OWN)
    steps = [{"read": {"path": "prompts.jsonl"}}, {"mine_named:secretly": {"name": "teahcer"}}]
    with Server() as server, pytest.raises(karat.RecipeError, match="did you mean 'teacher'"):
        karat.run(make_recipe(server.model(), 3, steps), tmp_path / "out")


def test_another_teacher_of_ones_own_step_is_asked_anew(make_recipe, user_module, tmp_path):
    """Its name in the recipe stays, and its stage was sealed: it must not pass for done."""
    user_module("mine_again", OWN)
    steps = [{"read": {"path": "prompts.jsonl"}}, {"mine_again:ask": {"model": "teacher"}}]
    with Server() as server:
        karat.run(make_recipe(server.model(), 3, steps), tmp_path / "out")
        other = {**server.model(), "model": "openai/other"}
        karat.run(make_recipe(other, 3, steps), tmp_path / "out")
        assert [r["body"]["model"] for r in server.requests] == ["loop"] * 3 + ["other"] * 3


def shown(lines):
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(plan_table(lines))
    return " ".join(console.export_text().split())


def test_a_plan_does_not_call_free_what_it_cannot_know(make_recipe, user_module, tmp_path):
    user_module("mine_ask", OWN)
    steps = [{"read": {"path": "prompts.jsonl"}}, {"mine_ask:ask": {"model": "teacher"}}]
    with Server() as server:
        path = make_recipe(server.model(price={"input": 1, "output": 1}), 3, steps)
        assert "still to pay: at least $0; " in shown(karat.plan(path, tmp_path / "out"))
        assert "what ask will ask of its models is not known" in shown(karat.plan(path))
        karat.run(path, tmp_path / "out")
        done = shown(karat.plan(path, tmp_path / "out"))
    assert "still to pay: $0; " in done


def test_a_plan_of_a_recipe_without_models_is_free(make_recipe, tmp_path):
    path = make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}])
    assert "still to pay: $0; " in shown(karat.plan(path, tmp_path / "out"))


def test_a_vendors_terms_hold_at_its_address_whatever_it_is_called(make_recipe, monkeypatch):
    monkeypatch.setenv("NIM", "x")
    url = "https://integrate.api.nvidia.com/v1"
    model = {"model": "openai/qwen3-32b", "base_url": url, "key_env": "NIM"}
    with pytest.raises(karat.RecipeError, match="training on its output: no"):
        karat.Recipe.load(make_recipe(model, rights="refuse"))
