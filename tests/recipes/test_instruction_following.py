"""The shipped instruction-following recipe end to end, with the embedded model and reward."""

from __future__ import annotations

import json

import pytest
from conftest import rows_of, slow

import karat
from karat.verifiers.instructions import check_all

SMALL = [
    "topics.given=[tea]", "prompts.per_topic=2", "prompts.max_tokens=60", "respond.n=2",
    "respond.max_tokens=24", "constrain.count=1",
    "constrain.kinds=[punctuation:no_comma, keywords:forbidden_words]",
]  # fmt: skip

FLOORS = ("instructions", "refusal", "repetition")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = karat.Recipe.load("instruction-following", SMALL)
    return karat.run(recipe, tmp_path_factory.mktemp("following") / "out")


@slow
def test_prompts_are_constrained_and_every_answer_is_checked(run):
    rows = rows_of(run.accepted_file) + rows_of(run.dropped_file)
    assert rows
    for row in rows:
        (one,) = row.meta["constraints"]
        assert one["id"] in ("punctuation:no_comma", "keywords:forbidden_words")
        for response in row.responses:
            (followed,) = check_all([one], response.content)
            assert response.scores["verifier.instructions"] == followed
            assert "helpsteer2.reward" in response.scores


@slow
def test_what_is_kept_follows_everything_and_what_is_dropped_nothing_could_save(run):
    for row in rows_of(run.accepted_file):
        assert all(
            response.scores[f"verifier.{one}"] == 1 for response in row.kept() for one in FLOORS
        )
    for row in rows_of(run.dropped_file):
        assert "below floor verifier." in row.dropped
        assert all(any(r.scores[f"verifier.{one}"] == 0 for one in FLOORS) for r in row.responses)


@slow
def test_every_export_is_written_and_knows_what_was_asked(run):
    accepted = run.report["rows"]["accepted"]
    (name,) = run.report["exports"]["jsonl"]["files"].values()
    lines = [json.loads(line) for line in (run.path / name).read_text().splitlines()]
    assert len(lines) == accepted
    assert all(json.loads(line["meta"])["task"] == "instruction" for line in lines)


@slow
def test_a_second_run_calls_no_model(run):
    again = karat.run(karat.Recipe.load("instruction-following", SMALL), run.path)
    assert again.report["this_run"]["calls"] == 0
