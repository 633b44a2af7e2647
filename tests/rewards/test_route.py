"""A route: verifiers first, a reward where it is sure, a judge for the rest, then a person."""

from __future__ import annotations

import json

import msgspec
import pytest
from conftest import rows_of
from judging import graded
from server import Server

import karat
from karat.errors import RecipeError
from karat.recipe import Recipe
from karat.scoring.calibration import Calibration
from karat.steps._route import VALUE, Calibrations, Trusted

REWARDS = {"helpsteer2": "embedded/helpsteer2", "judge": {"reward": "judge/teacher"}}
PRICE = {"input": 1.0, "output": 2.0}
QUESTION = "What is 6 times 7?"
GOOD, POOR = "good good good, in short: it is 42.", "I would not know."


@pytest.fixture
def world(make_recipe, tmp_path):
    """Runs a route over rows of (prompt, responses, fields). A judge counts how often a text says
    good. `sure` has the confidence from which each grader decides."""

    def run(server, route, rows, sure=None, rewards=None, **params):
        lines = [{"prompt": p, "responses": texts, **meta} for p, texts, meta in rows]
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        read = {"read": {"path": "rows.jsonl"}}
        rewards = {**REWARDS, **(rewards or {})}
        if sure is not None:
            loaded = Recipe.load(make_recipe(server.model(price=PRICE), 0, [read], rewards=rewards))
            made = {
                name: Trusted(
                    loaded.identity(name), "reward",
                    Calibration(name, 1.0, 1.0, threshold, 0.9, 0.8, 0.5, 200),
                )
                for name, threshold in sure.items()
            }  # fmt: skip
            file = tmp_path / "sure.json"
            file.write_bytes(msgspec.json.encode(Calibrations(made, 0.8, 0.1, 200)))
            params["calibration"] = "sure.json"
        steps = [read, {"grade": {"route": route, **params}}]
        return karat.run(
            make_recipe(server.model(price=PRICE), 0, steps, rewards=rewards), tmp_path / "out"
        )

    return run


def values(row):
    return [response.scores.get(VALUE) for response in row.responses]


def test_a_verifier_that_knows_the_answer_decides_and_nobody_is_paid(world):
    rows = [(QUESTION, ["It is 42.", "So it is 42"], {"answer": "42"})]
    with Server(answer=graded) as server:
        run = world(server, ["math", "judge"], rows)
        assert server.requests == []
    (row,) = rows_of(run.accepted_file)
    assert values(row) == [1.0, 1.0]
    assert row.meta["graded"] == {"by": "math", "confidence": 1.0}


def test_what_a_verifier_fails_is_out_and_is_not_graded_further(world):
    rows = [(QUESTION, ["It is 43.", "good good: 42", "42"], {"answer": "42"})]
    with Server(answer=graded) as server:
        (row,) = rows_of(world(server, ["math", "judge"], rows).accepted_file)
        assert len(server.requests) == 0  # of what is left math knows that it is right
        assert values(row) == [0.0, 1.0, 1.0]
        rows = [("Hi?", ["I cannot help with that.", GOOD, POOR], {})]
        (row,) = rows_of(world(server, ["refusal", "judge"], rows).accepted_file)
        assert len(server.requests) == 2
    assert values(row) == [0.0, 1.0, 0.0]
    assert row.meta["graded"]["by"] == "judge"


def test_all_failed_is_decided_by_the_verifier(world):
    with Server(answer=graded) as server:
        run = world(server, ["math", "judge"], [(QUESTION, ["41", "43"], {"answer": "42"})])
        assert server.requests == []
    (row,) = rows_of(run.accepted_file)
    assert values(row) == [0.0, 0.0]
    assert row.meta["graded"]["by"] == "math"


LONG = "A tide is the rise and fall of the sea, which the moon's pull makes twice a day."


@pytest.mark.parametrize(
    ("threshold", "asked", "by"), [(0.5, 0, "helpsteer2"), (0.999, 2, "judge")]
)
def test_a_reward_decides_where_it_is_sure_and_a_judge_the_rest(world, threshold, asked, by):
    rows = [("What is a tide?", [f"good {LONG}", POOR], {})]
    with Server(answer=graded) as server:
        run = world(server, ["helpsteer2", "judge"], rows, sure={"helpsteer2": threshold})
        assert len(server.requests) == asked
        again = world(server, ["helpsteer2", "judge"], rows, sure={"helpsteer2": threshold})
        assert len(server.requests) == asked
    assert again.accepted_file.read_bytes() == run.accepted_file.read_bytes()
    (row,) = rows_of(run.accepted_file)
    assert row.meta["graded"]["by"] == by
    assert values(row)[0] > 0.5 > values(row)[1]
    assert sum(values(row)) == pytest.approx(1)
    told = run.report["grading"]["graded"]["grade"]
    assert told["decided"] == {by: 1}
    assert (told["cost_per_row_usd"] > 0) == (by == "judge")


@pytest.mark.parametrize("unsure", ["flag", "drop"])
def test_a_row_nobody_is_sure_of_is_for_a_person(world, unsure):
    rows = [("What is a tide?", [LONG, POOR], {})]  # the judge sees no good in either
    with Server(answer=graded) as server:
        run = world(
            server, ["helpsteer2", "judge"], rows, sure={"helpsteer2": None, "judge": 0.9},
            unsure=unsure,
        )  # fmt: skip
    (row,) = rows_of(run.dropped_file if unsure == "drop" else run.accepted_file)
    assert row.meta["graded"] == {"by": "nobody", "confidence": 0.5}
    assert row.meta["review"] == "judge was 0.50 sure of the first response"


def test_people_decide_where_they_have_rated(world, tmp_path):
    line = {"prompt": "What is a tide?", "helpfulness": 3}
    rated = [{**line, "response": LONG, "helpfulness": 1}, {**line, "response": POOR}]
    (tmp_path / "rated.jsonl").write_text("\n".join(map(json.dumps, rated)), encoding="utf-8")
    rows = [("What is a tide?", [LONG, POOR], {}), ("Another?", [LONG, POOR], {})]
    with Server(answer=graded) as server:
        run = world(
            server, ["judge", "human"], rows, sure={"judge": 0.9},
            rewards={"human": "human/rated.jsonl"},
        )  # fmt: skip
    one, other = rows_of(run.accepted_file)
    assert one.meta["graded"] == {"by": "human", "confidence": 1.0}
    assert values(one) == [0.0, 1.0]
    assert other.meta["review"].startswith("judge was")


def test_a_calibration_of_another_reward_is_refused(world, make_recipe, tmp_path):
    with Server(answer=graded) as server:
        world(server, ["helpsteer2", "judge"], [("Hi?", [GOOD], {})], sure={"helpsteer2": 0.9})
        text = (tmp_path / "sure.json").read_text(encoding="utf-8")
        (tmp_path / "sure.json").write_text(text.replace("embedded/helpsteer2@", "embedded/x@"))
        with pytest.raises(RecipeError, match=r"'helpsteer2' is not what .* was made with"):
            Recipe.load(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"route": ["helpsteer2", "judge"]}, "how sure must 'helpsteer2' be to decide"),
        ({}, "name one reward, or list the graders of a route"),
        ({"route": ["math"], "reward": "judge"}, "name one reward or a route, not both"),
        (
            {"reward": "refusal"},
            r"'refusal' in rewards; it is a verifier: verify: .checks: .refusal",
        ),
        (
            {"route": ["refuse", "judge"]},
            "'refuse' in rewards; .*; of verifiers, did you mean 'refusal'",
        ),
        ({"route": ["judge", "judge"]}, "route lists 'judge' twice"),
        ({"route": ["jugde"]}, "no reward 'jugde' in rewards; did you mean 'judge'"),
        ({"reward": "judge", "calibration": "rows.jsonl"}, "calibration belongs to a route"),
    ],
)
def test_a_mistake_in_a_route_is_told_before_anything_is_asked(make_recipe, tmp_path, step, words):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Hi?"}\n')
    steps = [{"read": {"path": "rows.jsonl"}}, {"grade": step}]
    model = {"model": "openai/x", "base_url": "http://127.0.0.1:9/v1"}
    with pytest.raises(RecipeError, match=words):
        Recipe.load(make_recipe(model, 0, steps, rewards=REWARDS))


def test_a_list_stands_for_a_route(make_recipe, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Hi?"}\n')
    steps = [{"read": {"path": "rows.jsonl"}}, {"grade": ["refusal", "judge"]}]
    steps.append({"reject": {"by": VALUE, "floors": {"verifier.refusal": 1}}})
    model = {"model": "openai/x", "base_url": "http://127.0.0.1:9/v1"}
    loaded = Recipe.load(make_recipe(model, 0, steps, rewards=REWARDS))
    assert loaded.steps[1].params["route"] == ["refusal", "judge"]
    plan = karat.plan(loaded, tmp_path / "out")
    assert [(line.label, line.model) for line in plan if line.model] == [("grade", "openai/x")]
