"""The diversity block of a run's report: at the end, at each step that writes, and over topics."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
from conftest import rows_of
from server import Server

import karat
from karat.curation.diversity import diversity
from karat.report import run_diversity as module
from karat.report.run_diversity import diversity_lines

FIRST = "mine_lines:write"
SOURCE = """
import hashlib
from karat.row import Message

@step
async def write(row, ctx) -> list[Row]:
    topic, made = row.meta["topic"], []
    for n in range(4):
        word = hashlib.sha256(f"{topic}{n}".encode()).hexdigest()[:8]
        made.append(Row(f"{topic}-{n}", [Message("user", f"Ask {word} of {topic}")],
                        meta={**row.meta, "task": "qa" if n else "poem"}))
    return made

@step
async def refuse(row, ctx):
    if row.meta["topic"] == "law":
        row.dropped = "dull"
    return row

@step
async def twice(row, ctx) -> list[Row]:
    return [row, Row(f"{row.id}-b", [Message("user", row.prompt + " again")], meta=row.meta)]
"""


@pytest.fixture
def run(make_recipe, user_module, tmp_path):
    user_module("mine_lines", SOURCE)
    steps = [
        {"topics": {"given": ["tea", "rain", "law"]}}, FIRST, "mine_lines:refuse",
        "mine_lines:twice",
    ]  # fmt: skip
    return karat.run(make_recipe(steps=steps), tmp_path / "out")


def test_each_step_that_writes_prompts_is_measured(run):
    found = run.report["diversity"]
    assert list(found["by_step"]) == ["write", "twice"]  # topics have no text
    texts = [row.prompt for row in rows_of(run.accepted_file)]
    assert found["accepted"] == diversity(texts)
    assert found["by_step"]["write"]["rows"] == 12
    assert found["by_step"]["twice"] == diversity(texts)
    assert (
        found["by_step"]["write"]["near_duplicates"] < 0.01 + found["accepted"]["near_duplicates"]
    )
    assert all(math.isfinite(value) for value in found["by_step"]["write"].values())


def test_topics_and_tasks_are_counted_against_all_that_were_made(run):
    topic, task = (run.report["diversity"]["columns"][name] for name in ("topic", "task"))
    assert (topic["values"], topic["missing"]) == (2, 1)
    assert topic["coverage"] == pytest.approx(2 / 3)
    assert topic["evenness"] == pytest.approx(1)
    assert (task["values"], task["largest"], task["commonest"]) == (2, 0.75, "qa")
    assert "macro_topic" not in run.report["diversity"]["columns"]


def test_it_is_told_on_the_terminal(run):
    told = "\n".join(diversity_lines(run.report))
    assert "effective number (Vendi score)" in told
    assert "topics covered: 2 of 3; evenness 1.00, largest 50%" in told
    assert "tasks covered: all 2" in told
    assert "by step: write" in told


def test_a_report_of_an_earlier_karat_is_told_as_far_as_it_goes():
    assert diversity_lines({"diversity": {"accepted": {"distinct_2": 0.5, "vendi": 3}}}) == [
        "prompt diversity: distinct-2 0.5"
    ]


ASKING = """
from karat.row import Message

@step
async def ask(row, ctx, *, all: bool = True) -> list[Row]:
    topic = row.meta["topic"]
    made = []
    for n in range(3):
        meta = {"topic": topic, "passage": "Long.", "question": f"What of {topic} {n}?"}
        if n == 0 and not all:
            del meta["question"]
        prompt = "Long, and the same for all.\\n\\n" + meta.get("question", "Why?")
        made.append(Row(f"{topic}-{n}", [Message("user", prompt)], meta=meta))
    return made

@step
async def refuse(row, ctx):
    row.dropped = "dull"
    return row
"""


@pytest.fixture
def asking(make_recipe, user_module, tmp_path):
    def run(*steps):
        user_module("mine_asking", ASKING)
        given = {"topics": {"given": ["tea", "rain"]}}
        return karat.run(make_recipe(steps=[given, *steps]), tmp_path / "asking")

    return run


def test_of_a_passage_the_question_is_measured_and_that_is_said(asking):
    made = asking("mine_asking:ask")
    found = made.report["diversity"]
    questions = [row.meta["question"] for row in rows_of(made.accepted_file)]
    assert found["accepted"] == found["by_step"]["ask"] == diversity(questions)
    assert found["questions"] == 6
    assert diversity_lines(made.report)[0].startswith("question (without its passage) diversity: ")


def test_where_only_some_rows_have_a_question_that_is_said(asking):
    made = asking({"mine_asking:ask": {"all": False}})
    found = made.report["diversity"]
    texts = [row.meta.get("question") or row.prompt for row in rows_of(made.accepted_file)]
    assert found["accepted"] == diversity(texts)
    assert diversity_lines(made.report)[0].startswith(
        "prompt (of 4 rows the question without its passage) diversity: effective number (Vendi"
    )


def test_of_no_accepted_row_no_measure_is_told(asking):
    made = asking("mine_asking:ask", "mine_asking:refuse")
    found = made.report["diversity"]
    assert (found["accepted"], found["questions"]) == ({"rows": 0}, 0)
    assert found["by_step"]["ask"]["rows"] == 6
    assert diversity_lines(made.report) == []


def test_steps_are_measured_on_a_sample(run, monkeypatch, make_recipe, tmp_path):
    monkeypatch.setattr(module, "STEP_SAMPLE", 5)
    again = karat.run(run.path / "recipe.yaml", tmp_path / "other")
    step = again.report["diversity"]["by_step"]["write"]
    assert (step["rows"], step["sampled"]) == (12, 5)
    assert again.report["diversity"]["accepted"]["sampled"] == 16


def test_rounds_of_one_step_are_measured_together(make_recipe, tmp_path):
    def answer(body, place):
        noise = [hashlib.sha256(f"{body}{i}".encode()).hexdigest() for i in range(4)]
        return "\n".join(f"{i}. Why {n[:6]} with {n[6:12]}?" for i, n in enumerate(noise, 1))

    steps = [
        {"topics": {"given": ["tea", "rain"]}},
        {"prompts": {"model": "teacher", "per_topic": 2}},
        {"respond": {"models": ["teacher"]}},
    ]
    with Server(answer=answer) as server:
        path = make_recipe(server.model(), steps=steps, exactly={"rows": 10})
        made = karat.run(path, tmp_path / "out")
    step = made.report["diversity"]["by_step"]["prompts"]
    assert made.report["exactly"]["rounds"] > 1
    assert step["rows"] >= 10
    assert json.loads(json.dumps(made.report["diversity"])) == made.report["diversity"]
