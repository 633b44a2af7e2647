"""verify: which of a row's instructions each response follows, as scores that reject can use."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import rows_of
from server import Server

import karat
from karat import Recipe, RecipeError
from karat.step import find

ALL = "verifier.instructions_all"
NO_COMMA = {"id": "punctuation:no_comma", "kwargs": {}}
SHORT = {
    "id": "length_constraints:number_words",
    "kwargs": {"num_words": 4, "relation": "less than"},
}
READ = {"read": {"path": "prompts.jsonl"}}
FLOOR = {"reject": {"by": "mine.reward", "floors": {ALL: 1}}}
TEXTS = ["one two", "one, two", "one, two three four", ""]


@pytest.fixture
def verified(make_recipe, tmp_path, length_reward):
    """Four responses to each line, verified; further steps after it."""

    def run(*lines, then=(), out="out"):
        respond = {"respond": {"models": ["teacher"], "n": 4}}
        steps = [READ, respond, {"grade": {"reward": "mine"}}, {"verify": {}}, *then]
        answers = {"answer": lambda body, place: TEXTS[place]}
        with Server(**answers) as server:
            path = make_recipe(server.model(), 0, steps, rewards={"mine": "x/y"})
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            (tmp_path / "prompts.jsonl").write_text(text, encoding="utf-8")
            return karat.run(path, tmp_path / out)

    return run


def scores(row, key):
    return [response.scores.get(f"verifier.{key}") for response in row.responses]


def test_each_response_gets_the_share_it_follows_and_whether_that_is_all(verified):
    run = verified({"prompt": "Count.", "constraints": [NO_COMMA, SHORT]})
    (row,) = rows_of(run.accepted_file)
    assert scores(row, "instructions") == [1, 0.5, 0, 0]
    assert scores(row, "instructions_all") == [1, 0, 0, 0]
    assert all("mine.reward" in response.scores for response in row.responses)
    assert ALL in run.report["scores"]


def test_a_floor_keeps_only_what_follows_everything(verified):
    commas = {"id": "keywords:existence", "kwargs": {"keywords": [",", "six"]}}
    run = verified(
        {"prompt": "Count.", "constraints": [NO_COMMA, SHORT]},
        {"prompt": "Count on.", "constraints": [commas]},
        then=[FLOOR],
    )
    (row,) = rows_of(run.accepted_file)
    assert [response.content for response in row.kept()] == ["one two"]
    (lost,) = rows_of(run.dropped_file)
    assert lost.dropped == f"reject: below floor {ALL} (best 0.00)"


def test_where_nothing_was_asked_nothing_is_broken(verified):
    run = verified({"prompt": "Count."}, {"prompt": "Go on.", "constraints": []}, then=[FLOOR])
    rows = rows_of(run.accepted_file)
    assert len(rows) == 2
    assert all(scores(row, "instructions") == [1, 1, 1, 1] for row in rows)


def test_ifevals_own_columns_are_read(verified):
    line = {
        "prompt": "Count.",
        "instruction_id_list": [NO_COMMA["id"], SHORT["id"]],
        "kwargs": [{"num_words": None}, {**SHORT["kwargs"], "letter": None}],
    }
    (row,) = rows_of(verified(line).accepted_file)
    assert scores(row, "instructions") == [1, 0.5, 0, 0]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"constraints": "no commas"}, "constraints must be a list"),
        ({"constraints": [{"id": "punctuation:no_comma"}]}, "constraints must be a list"),
        ({"constraints": [{"id": "punctuation:none", "kwargs": {}}]}, "no instruction"),
        ({"constraints": [{**NO_COMMA, "kwargs": {"n": 1}}]}, "kwargs of punctuation:no_comma"),
        ({"instruction_id_list": ["punctuation:no_comma"]}, "of the same length"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "of the same length"),
    ],
)
def test_instructions_that_cannot_be_read_drop_their_row(verified, fields, reason):
    (row,) = rows_of(verified({"prompt": "Count.", **fields}).dropped_file)
    assert reason in row.dropped


def test_a_recipe_may_name_its_scores_after_it_and_not_before(length_reward):
    grade, verify = {"grade": {"reward": "mine"}}, {"verify": {}}

    def recipe(*steps):
        return Recipe(
            [find(name)(**params) for one in steps for name, params in one.items()],
            rewards={"mine": "x/y"},
        )

    topics = {"topics": {"given": ["tea"]}}
    assert recipe(topics, grade, verify, FLOOR)
    with pytest.raises(RecipeError, match=f"no score '{ALL}' at this point"):
        recipe(topics, grade, FLOOR, verify)
    typo = {"reject": {"by": "mine.reward", "floors": {"verifier.instruction": 1}}}
    with pytest.raises(RecipeError, match=r"did you mean 'verifier\.instructions'"):
        recipe(topics, grade, verify, typo)
    high = {"reject": {"by": "mine.reward", "floors": {ALL: 2}}}
    with pytest.raises(RecipeError, match="above the scale"):
        recipe(topics, grade, verify, high)


def test_a_check_that_changes_unseals_what_it_decided(monkeypatch, tmp_path):
    from karat.steps.verify import verify

    before = verify.source()
    monkeypatch.setattr(sys.modules["karat.step"], "VERIFIERS", tmp_path)
    assert verify.source() != before


IFEVAL = Path(__file__).parents[3] / "shared" / "data" / "prompts" / "ifeval.jsonl"


@pytest.mark.skipif(not IFEVAL.exists(), reason="the shared data are not here")
def test_the_benchmarks_own_file_can_be_read_and_verified(make_recipe, tmp_path):
    lines = IFEVAL.read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if "response_language" not in line][:200]
    steps = [READ, {"respond": {"models": ["teacher"]}}, {"verify": {}}]
    with Server() as server:
        path = make_recipe(server.model(), 0, steps)
        (tmp_path / "prompts.jsonl").write_text("\n".join(told), encoding="utf-8")
        rows = rows_of(karat.run(path, tmp_path / "out").accepted_file)
    assert len(rows) == 200
    assert {response.scores[ALL] for row in rows for response in row.responses} == {0.0, 1.0}
