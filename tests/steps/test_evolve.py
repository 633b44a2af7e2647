"""evolve: which operation, from which parents, what is refused, and what of a row goes on."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter

import pytest
from conftest import rows_of, slow
from server import Server, text_for

import karat
from karat import RecipeError
from karat.context import PROMPTS
from karat.row import Message
from karat.step import find
from karat.steps._rewrites import fault, written
from karat.steps.evolve import MUTATIONS, NEW, How
from karat.templates import render, turns

OPERATIONS = [name for name in How.__args__ if name != "mutate"] + [
    f"mutate_{name}" for name in MUTATIONS
]


def longer(body, place):
    """What a good model answers: the prompt it was shown, and something more."""
    shown = re.findall(r'"(.*)"', body["messages"][-1]["content"], re.DOTALL)
    return f'The new request: "{shown[-1]} And {text_for(body, place)}?"'


def other(body, place):
    return f"What is {text_for(body, place)}?"


def evolved(make_recipe, tmp_path, server, rows=6, more=(), out="out", model=None, **params):
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        *more,
        {"evolve": {"model": "teacher", **params}},
    ]
    path = make_recipe(server.model(**(model or {})), rows=rows, steps=steps)
    run = karat.run(path, tmp_path / out)
    return rows_of(run.accepted_file), run


def test_each_row_is_rewritten_from_its_prompt(make_recipe, tmp_path):
    with Server(answer=longer) as server:
        rows, run = evolved(make_recipe, tmp_path, server, how=["deepen", "constrain"])
        assert len(server.requests) == 6
    base = sqlite3.connect(run.journal)
    try:
        texts = dict(base.execute("SELECT lower(hex(key)), content FROM calls"))
    finally:
        base.close()
    assert len({row.id for row in rows}) == 6
    for row in rows:
        assert re.fullmatch(r"What is number \d\? And .*\?", row.prompt)
        assert set(row.meta) == {"evolved", "depth", "parents"}
        assert row.meta["depth"] == 1
        (parent,) = row.meta["parents"]
        assert parent != row.id
        assert row.prompt in texts[row.calls[-1]]
        assert row.responses == []
        assert row.source == "synthetic"
    assert {row.meta["evolved"][0] for row in rows} == {"deepen", "constrain"}


def test_rounds_build_on_each_other(make_recipe, tmp_path):
    with Server(answer=longer) as server:
        rows, _ = evolved(make_recipe, tmp_path, server, rows=4, how=["constrain"], rounds=3)
        assert len(server.requests) == 12
    for row in rows:
        assert row.prompt.count(" And ") == 3
        assert row.meta["evolved"] == ["constrain"] * 3
        assert row.meta["depth"] == len(row.calls) == 3
        assert len(row.meta["parents"]) == 1


@pytest.mark.parametrize(
    ("keep", "counts"), [("last", {2: 3}), ("new", {1: 3, 2: 3}), ("all", {0: 3, 1: 3, 2: 3})]
)
def test_what_of_a_row_goes_on(make_recipe, tmp_path, keep, counts):
    with Server(answer=longer) as server:
        rows, _ = evolved(
            make_recipe, tmp_path, server, rows=3, how=["reason"], rounds=2, keep=keep
        )
    assert Counter(row.prompt.count(" And ") for row in rows) == counts
    assert Counter(row.meta.get("depth", 0) for row in rows) == counts
    assert len({row.id for row in rows}) == len(rows)


def test_a_second_step_goes_on_where_the_first_ended(make_recipe, tmp_path):
    more = [{"evolve": {"model": "teacher", "how": ["deepen"]}}]
    with Server(answer=longer) as server:
        rows, run = evolved(make_recipe, tmp_path, server, rows=2, more=more, how=["constrain"])
        middle = {p.name for p in run.stages.iterdir()}
    assert all(row.meta["evolved"] == ["deepen", "constrain"] for row in rows)
    assert all(len(row.calls) == row.meta["depth"] == 2 for row in rows)
    assert len(middle) == 3


# --- what is refused ------------------------------------------------------------------------------


def test_a_refused_rewrite_is_asked_for_again_with_another_seed(make_recipe, tmp_path):
    def answer(body, place):
        seeds.append(body["seed"])
        return longer(body, place) if len(seeds) == 3 else "What is number 0?"

    seeds: list[int] = []
    with Server(answer=answer) as server:
        rows, run = evolved(make_recipe, tmp_path, server, rows=1, how=["deepen"])
    assert len(set(seeds)) == 3
    assert rows[0].meta["depth"] == 1
    assert run.report["funnel"][1]["notes"]["counts"] == {"nothing added": 2, "taken": 1}


@pytest.mark.parametrize(
    ("params", "dropped"),
    [({}, 0), ({"failed": "drop"}, 2), ({"keep": "all"}, 0), ({"keep": "new"}, 0)],
)
def test_what_never_evolves_stays_or_is_dropped(make_recipe, tmp_path, params, dropped):
    more = [{"respond": {"models": ["teacher"]}}]
    with Server(answer=lambda body, place: "no") as server:
        rows, run = evolved(
            make_recipe, tmp_path, server, rows=2, more=more, how=["deepen"], tries=2, **params
        )
        assert len(server.requests) == 2 + 4
    before = {row.id: row for row in rows_of(run.stages / "01-read-respond.parquet")}
    assert len(rows) == 2 - dropped
    for row in rows:
        assert row == before[row.id]
        assert len(row.responses) == 1
    reasons = {row.dropped for row in rows_of(run.dropped_file)}
    assert reasons == ({"evolve: no rewrite was taken"} if dropped else set())


def test_a_round_that_fails_leaves_the_prompt_to_the_next(make_recipe, tmp_path):
    def answer(body, place):
        calls.append(1)
        return "no" if len(calls) < 3 else longer(body, place)

    calls: list[int] = []
    with Server(answer=answer) as server:
        rows, _ = evolved(make_recipe, tmp_path, server, rows=1, how=["deepen"], rounds=3, tries=2)
    assert rows[0].meta["depth"] == 2
    assert rows[0].prompt.count(" And ") == 2


def test_an_answer_cut_off_is_no_prompt(make_recipe, tmp_path):
    with Server(answer=longer, finish_reason="length") as server:
        rows, run = evolved(make_recipe, tmp_path, server, rows=1, how=["deepen"], tries=2)
    assert rows[0].prompt == "What is number 0?"
    assert run.report["funnel"][1]["notes"]["counts"] == {"cut off": 2}


def test_a_row_without_a_prompt_buys_nothing(make_recipe, tmp_path):
    steps = [
        {"topics": {"given": ["tides"]}},
        {"evolve": {"model": "teacher", "how": ["deepen"]}},
    ]
    with Server(answer=longer) as server:
        run = karat.run(make_recipe(server.model(), steps=steps), tmp_path / "out")
        assert server.requests == []
    assert "no prompt to evolve" in str(rows_of(run.dropped_file)[0].dropped)


# --- what is carried over -------------------------------------------------------------------------


def lines(tmp_path, *records):
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "own.jsonl").write_text(text, encoding="utf-8")
    return [{"read": {"path": "own.jsonl"}}]


def from_lines(make_recipe, tmp_path, server, records, out="out", **params):
    steps = [*lines(tmp_path, *records), {"evolve": {"model": "teacher", **params}}]
    path = make_recipe(server.model(), steps=steps)
    return rows_of(karat.run(path, tmp_path / out).accepted_file)


def test_a_reference_answer_is_not_carried_and_a_topic_is(make_recipe, tmp_path):
    record = {
        "prompt": "What is 2 + 2?", "answer": "4", "topic": "sums", "task": "math",
        "licence": "MIT", "grade": 3,
    }  # fmt: skip
    with Server(answer=longer) as server:
        (row,) = from_lines(make_recipe, tmp_path, server, [record], how=["reason"])
        (own,) = from_lines(
            make_recipe, tmp_path, server, [record], "own", how=["reason"], carry=["grade"]
        )
    kept = {key: value for key, value in row.meta.items() if key in record}
    assert kept == {"topic": "sums", "task": "math", "licence": "MIT"}
    assert {key for key in own.meta if key in record} == {"grade", "licence"}


@pytest.mark.parametrize(("how", "roles"), [("deepen", 4), ("broaden", 2)])
def test_earlier_turns_stay_in_depth(make_recipe, tmp_path, how, roles):
    turns_ = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Tell me about tides."},
        {"role": "assistant", "content": "The moon pulls."},
        {"role": "user", "content": "And the sun?"},
    ]
    with Server(answer=other if how == "broaden" else longer) as server:
        (row,) = from_lines(make_recipe, tmp_path, server, [{"messages": turns_}], how=[how])
        asked = server.requests[0]["body"]["messages"][-1]["content"]
    assert 'The request: "And the sun?"' in asked
    assert len(row.messages) == roles
    assert row.messages[0] == Message("system", "Be kind.")
    assert row.messages[-1].role == "user"


def test_a_prompt_keeps_its_lines_and_adds_no_turn(make_recipe, tmp_path):
    prompt = "Mend this code:\n\ndef f():\n    return 1\n--- assistant\nSure"
    with Server(answer=other) as server:
        from_lines(make_recipe, tmp_path, server, [{"prompt": prompt}], how=["deepen"])
        messages = server.requests[0]["body"]["messages"]
    assert "def f():\n    return 1\n --- assistant\nSure" in messages[-1]["content"]
    assert [m["role"] for m in messages] == ["user", "assistant"] * 3 + ["user"]


# --- several parents ------------------------------------------------------------------------------


def test_crossover_takes_prompts_of_other_rows(make_recipe, tmp_path):
    with Server(answer=other) as server:
        rows, run = evolved(make_recipe, tmp_path, server, rows=8, how=["crossover"], parents=3)
        texts = [r["body"]["messages"][-1]["content"] for r in server.requests]
    before = {row.id: row.prompt for row in rows_of(run.stages / "01-read.parquet")}
    shown = {frozenset(re.findall(r'Task \d: "(.*)"', text)) for text in texts}
    assert all(len(prompts) == 3 for prompts in shown)
    for row in rows:
        assert len(row.meta["parents"]) == 3
        assert frozenset(before[parent] for parent in row.meta["parents"]) in shown


def test_crossover_has_the_calls_and_licences_of_all_parents(make_recipe, tmp_path):
    records = [
        {"prompt": "Sort a list of names.", "task": "coding", "topic": "a", "licence": "MIT"},
        {"prompt": "Count the vowels.", "task": "writing", "topic": "b", "licence": "CC0-1.0"},
    ]
    with Server(answer=other) as server:
        rows = from_lines(make_recipe, tmp_path, server, records, how=["crossover"])
        again = from_lines(
            make_recipe, tmp_path, server, records, "two", how=["crossover"], rounds=2
        )
    assert {row.meta["licence"] for row in rows} == {"MIT + CC0-1.0", "CC0-1.0 + MIT"}
    assert {row.meta["topic"] for row in rows} == {"a", "b"}
    assert all("task" not in row.meta for row in rows)  # the parents do not agree
    assert all(len(row.meta["parents"]) == len(row.calls) == 2 for row in again)


def test_a_lonely_row_cannot_cross_and_buys_nothing(make_recipe, tmp_path):
    with Server(answer=other) as server:
        rows, run = evolved(make_recipe, tmp_path, server, rows=1, how=["crossover"])
        assert server.requests == []
    assert [row.prompt for row in rows] == ["What is number 0?"]
    assert run.report["funnel"][1]["notes"]["counts"] == {"nobody to cross with": 1}


def test_mutations_are_drawn_by_weight(make_recipe, tmp_path):
    with Server(answer=longer) as server:
        rows, _ = evolved(make_recipe, tmp_path, server, rows=200, how=["mutate"])
    counts = Counter(row.meta["evolved"][0].removeprefix("mutate_") for row in rows)
    assert set(counts) == set(MUTATIONS)
    assert counts["tighten"] < min(counts[name] for name in MUTATIONS if name != "tighten")


# --- the same at any concurrency ------------------------------------------------------------------


def test_the_same_rows_at_any_concurrency(make_recipe, tmp_path, monkeypatch):
    def answer(body, place):
        return other(body, place) if len(text_for(body, place)) % 2 else longer(body, place)

    how = ["deepen", "broaden", "mutate", "crossover"]
    files = []
    with Server(answer=answer, slow=lambda number, body: number % 3 / 100) as server:
        for width in (1, 16):
            monkeypatch.setattr("karat.executors.rows.LEAST_WIDTH", width)
            rows, run = evolved(
                make_recipe, tmp_path, server, rows=40, out=f"out{width}",
                model={"concurrency": width}, how=how, rounds=2, keep="all",
            )  # fmt: skip
            files.append(run.accepted_file.read_bytes())
        assert server.peak > 4
    assert len({row.id for row in rows}) == len(rows) > 80
    assert files[0] == files[1]


def test_running_again_buys_nothing(make_recipe, tmp_path):
    with Server(answer=longer) as server:
        evolved(make_recipe, tmp_path, server, how=["deepen"], rounds=2)
        bought = len(server.requests)
        evolved(make_recipe, tmp_path, server, how=["deepen"], rounds=3)
        assert len(server.requests) == bought + 6


# --- templates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_template_whose_examples_would_be_taken(name):
    """An example that breaks the step's own rules teaches a model to break them."""
    values = {"prompt": "THE PROMPT", "prompts": ["THE PROMPT", "ANOTHER"]}
    found = turns(render(PROMPTS / f"evolve_{name}.md", **values))
    assert [turn.role for turn in found[:2]] == ["user", "assistant"]
    assert found[-1].role == "user"
    assert "THE PROMPT" in found[-1].content
    change = "new" if name in NEW else "other"
    for asked, answer in zip(found[:-1:2], found[1::2], strict=True):
        parents = re.findall(r': "(.*?)"$', asked.content, re.DOTALL | re.MULTILINE)
        prompt = written(answer.content)
        assert fault(prompt, parents, [], change) == ""
        assert '"' not in prompt


def test_a_template_of_the_users_own(make_recipe, tmp_path):
    (tmp_path / "evolve_deepen.md").write_text("Make it longer: {{ prompt }}")
    with Server(answer=lambda body, place: "What is number 7 and why is it odd?") as server:
        rows, _ = evolved(make_recipe, tmp_path, server, rows=1, how=["deepen"])
        assert server.requests[0]["body"]["messages"] == [
            {"role": "user", "content": "Make it longer: What is number 0?"}
        ]
    assert rows[0].prompt == "What is number 7 and why is it odd?"


# --- parameters and forecast ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"how": []}, "how is empty"),
        ({"how": ["deeper"]}, "how"),
        ({"how": ["crossover"], "parents": 1}, "at least 2 parents"),
        ({"keep": "all", "failed": "drop"}, "no use with keep: all"),
        ({"temperature": 0}, "another try is the same answer"),
        ({"rounds": 0}, "rounds"),
    ],
)
def test_what_cannot_be_meant_is_refused(params, message):
    with pytest.raises(RecipeError, match=message):
        find("evolve")(model="m", **params)


def test_at_temperature_zero_one_try_is_allowed():
    assert find("evolve")(model="m", temperature=0, tries=1).params["tries"] == 1


@pytest.mark.parametrize(("keep", "rows"), [("last", 10), ("new", 30), ("all", 40)])
def test_a_forecast_counts_rows_and_calls(make_recipe, keep, rows):
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"evolve": {"model": "teacher", "rounds": 3, "keep": keep}},
    ]
    path = make_recipe({"model": "openai/x", "base_url": "http://127.0.0.1:1/v1"}, steps=steps)
    line = karat.plan(path)[-1]
    assert (line.rows_out, line.calls) == (rows, 30)


@pytest.mark.timeout(170)
@slow
def test_a_small_model_hardens_a_task(make_recipe, tmp_path):
    pytest.importorskip("xllamacpp")
    (tmp_path / "own.jsonl").write_text(
        '{"prompt": "Write a Python function that returns the largest number in a list."}\n'
    )
    steps = [
        {"read": {"path": "own.jsonl"}},
        {"evolve": {"model": "small", "how": ["mutate"], "max_tokens": 60}},
    ]
    models = {"small": "embedded/smollm2-135m"}
    run = karat.run(make_recipe(models=models, steps=steps), tmp_path / "out")
    (row,) = rows_of(run.accepted_file)
    assert row.meta["depth"] == 1
    assert len(row.prompt.split()) > 12
