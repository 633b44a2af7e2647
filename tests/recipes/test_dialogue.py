"""The shipped recipe `dialogue` end to end, small: two real models talk, a real reward decides."""

from __future__ import annotations

import json

import pytest
from conftest import rows_of, slow

import karat

SMALL = [
    "topics.given=[cooking]", "prompts.per_topic=2", "prompts.max_tokens=40", "dialogue.turns=2",
    "dialogue.max_tokens=12", "dialogue.user_max_tokens=24", "reject.minimum=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = karat.Recipe.load("dialogue", SMALL)
    return karat.run(recipe, tmp_path_factory.mktemp("dialogue") / "out")


@slow
def test_it_ends_with_graded_dialogues(run):
    rows = rows_of(run.accepted_file)
    assert rows
    for row in rows:
        roles = [message.role for message in row.messages]
        assert roles[0] == "system"
        assert roles[1:] == ["user", "assistant"] * (row.meta["user_turns"] - 1) + ["user"]
        assert row.meta["user_persona"] in ("normal", "complex", "concise")
        (response,) = row.kept()
        assert 0 <= response.scores["helpsteer2.reward"] <= 4
        assert response.call
    counts = next(f for f in run.report["funnel"] if f["label"] == "dialogue")["notes"]["counts"]
    ended = sum(count for name, count in counts.items() if name.startswith("ended: "))
    assert ended == len(rows) + len([r for r in rows_of(run.dropped_file)
                                     if "user_turns" in r.meta])  # fmt: skip


@slow
def test_a_dialogue_is_one_training_example(run):
    (file,) = run.report["exports"]["trl-sft"]["files"].values()
    lines = [json.loads(line) for line in (run.path / file).read_text("utf-8").splitlines()]
    assert [line["prompt"] for line in lines] == [
        [{"role": m.role, "content": m.content} for m in row.messages]
        for row in rows_of(run.accepted_file)
    ]
    assert all(len(line["completion"]) == 1 for line in lines)


def test_the_recipe_as_shipped_loads_and_its_plan_knows_the_calls(tmp_path):
    recipe = karat.Recipe.load("dialogue")
    assert recipe.labels == ["topics", "prompts", "dedupe", "dialogue", "grade", "reject"]
    params = recipe.steps[3].params
    forecast = recipe.steps[3].step.forecast(15, **params)
    assert sum(call.calls for call in forecast.calls) == 15 * (3 + 2)
