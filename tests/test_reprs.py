"""What a cell and a prompt show of karat's objects: whole, in one line, and only as text."""

from __future__ import annotations

import json

import pytest
from cells import one_line, safe
from hypothesis import given
from hypothesis import strategies as st
from seen_run import EVIL, seen_run

import karat
from karat import Message, Recipe, Response, Row, Run
from karat.columns import Table
from karat.display import shown

PRICE = {"input": 1, "output": 1}


def things():
    """What a cell may end with, with hostile text in it."""
    run = seen_run()
    row = Row(EVIL, [Message(EVIL, EVIL)], [Response(EVIL, EVIL, scores={EVIL: 1.0}, kept=True)],
              meta={EVIL: EVIL}, dropped=EVIL)  # fmt: skip
    return [run, run.accepted, run.dropped, Table(run.accepted_file), row, run.dropped[0]]


@pytest.mark.parametrize("number", range(6))
def test_what_a_model_wrote_is_only_text_in_what_a_cell_shows(number):
    thing = things()[number]
    one_line(thing)
    html = safe(thing._repr_html_())
    assert "alert(1)" not in html or "&lt;img" in html


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_gets_out_of_its_cell(text, other):
    hostile = f"{text}{EVIL}{other}"
    row = Row(
        hostile, [Message("user", hostile)], [Response(hostile, hostile)], meta={"a": hostile}
    )
    safe(row._repr_html_())
    one_line(row)
    one_line(row.responses[0])
    assert "\n" not in shown.line(hostile)


def test_a_run_shows_its_funnel_scores_cost_and_first_rows():
    run = seen_run()
    html, report = safe(run._repr_html_()), run.report
    for step in report["funnel"]:
        assert f"<td>{step['label']}</td>" in html
        assert f">{step['rows_in']:,}</td>" in html
    assert f"{report['rows']['accepted']:,} accepted, {report['rows']['dropped']:,} dropped" in html
    assert shown.money(report["cost_usd"]) in html
    assert f"{report['scores']['mine.reward']['all']['mean']:.2f}" in html
    assert shown.cell(run.accepted[0].prompt) in html


def test_what_is_not_there_or_broken_is_shown_as_words(tmp_path):
    run = Run(tmp_path)
    assert "has no report yet: run it to the end first" in run._repr_html_()
    for text in ("{}", "[]", "nonsense"):
        run.report_file.write_text(text)
        assert "cannot be read" in safe(run._repr_html_())
    tree = {**seen_run().report, "funnel": [{"label": "<b>"}], "scores": 3}
    run.report_file.write_text(json.dumps(tree))
    assert "cannot be shown" in safe(run._repr_html_())
    rows = seen_run().accepted
    rows.path = tmp_path / "gone.parquet"
    assert "has no gone.parquet" in safe(rows._repr_html_())
    assert "has no gone.parquet" in one_line(rows)
    table = Table(tmp_path / "gone.parquet")
    assert "cannot be read" in one_line(table)
    safe(table._repr_html_())


def test_recipes_and_plans_show_themselves(make_recipe, tmp_path):
    model = {"model": "openai/x", "base_url": "http://127.0.0.1:1/secret-path", "price": PRICE}
    recipe = Recipe.load(make_recipe(model, 5, budget_usd=3))
    html = safe(recipe._repr_html_())
    assert "<td>respond</td>" in html
    assert "models=[&#x27;teacher&#x27;]" in html
    assert "openai/x" in html
    assert "budget $3.00" in html
    assert "secret-path" not in html
    assert one_line(recipe) == "<recipe test: read → respond>"
    plan = karat.plan(recipe, tmp_path / "out")
    assert isinstance(plan, list)
    assert (plan.calls, len(plan)) == (5, 2)
    assert plan.cost_usd == sum(line.cost_usd for line in plan)
    assert one_line(plan).startswith("<plan: 2 steps, 5 calls, $0.00")
    assert shown.money(plan.cost_usd) in safe(plan._repr_html_())
    unpriced = {key: value for key, value in model.items() if key != "price"}
    unknown = karat.plan(make_recipe(unpriced, 5), tmp_path / "out")
    assert unknown.cost_usd is None
    assert "price unknown" in safe(unknown._repr_html_())


def test_contexts_and_decisions_are_one_line(user_module, make_recipe, tmp_path):
    user_module("mine_repr", (
        "import numpy as np\n"
        "@step\ndef f(table, ctx):\n"
        " made = Decision(drop={'a': 'no'}, keep=np.ones(300, bool), scores={'x.y': np.ones(9)})\n"
        " ctx.warn(repr(made)); ctx.warn(repr(ctx)); ctx.warn(repr(table))\n"
        " return Decision()\n"
    ))  # fmt: skip
    steps = [{"read": {"path": "prompts.jsonl"}}, "mine_repr:f"]
    run = karat.run(make_recipe(steps=steps), tmp_path / "out")
    made, ctx, table = [
        text.removeprefix("f: ") for text in run.report["warnings"] if text.startswith("f: <")
    ]
    assert made == "<decision: drops 1, keeps 300 of 300 responses, scores x.y>"
    assert ctx == "<context of f>"
    assert table.startswith("<table of 10 live rows in ")
