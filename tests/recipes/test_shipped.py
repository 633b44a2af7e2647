"""Every shipped recipe runs to its end with the embedded model, a few rows of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from conftest import rows_of, slow

import karat
from karat.recipefile import SHIPPED

FEW = ["prompts.per_topic=1", "prompts.max_tokens=40", "prompts.tries=1", "respond.n=2",
       "respond.max_tokens=8"]  # fmt: skip
TALK = ["dialogue.max_tokens=8", "dialogue.user_max_tokens=16", "dialogue.share=0.9",
        "dialogue.tries=1"]  # fmt: skip
SMALL = {
    "nemotron-sft": [*FEW, *TALK, "topics.n=1", "dialogue.turns=2", "constrain.share=0.9"],
    "nemotron-preference": [*FEW, *TALK, "topics.n=1", "prompts.revise=false"],
    "math": [*FEW, "topics.n=1"],
    "code": [*FEW, "topics.n=2", "evolve.max_tokens=24", "evolve.tries=1"],
    "distill": [*FEW, "topics.model=null", "topics.n=null", 'topics.given=["tea"]'],
}
ELSEWHERE = {
    "quickstart", "dialogue", "instruction-following", "rag-closed-qa", "curate-existing", "cycle",
}  # fmt: skip


def test_no_recipe_is_forgotten():
    assert {path.stem for path in SHIPPED.glob("*.yaml")} == {*SMALL, *ELSEWHERE}
    for name in ELSEWHERE - {"quickstart", "curate-existing"}:
        assert Path(__file__).with_name(f"test_{name.replace('-', '_')}.py").is_file()


OFTEN = ("nemotron-preference",)  # the others add a step or two, which have tests of their own


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in OFTEN else [slow]) for name in SMALL]
)
def test_it_runs_with_the_embedded_model(tmp_path, name):
    run = karat.run(karat.Recipe.load(name, SMALL[name]), tmp_path / "out")
    report = run.report
    funnel = {step["label"]: step for step in report["funnel"]}
    assert funnel["prompts"]["rows_out"] > 0
    assert funnel["respond"]["rows_out"] > 0
    answered = [
        row for row in rows_of(run.accepted_file) + rows_of(run.dropped_file) if row.responses
    ]
    assert answered
    for row in answered:
        models = Counter(response.model for response in row.responses)
        assert all(count % 2 == 0 for count in models.values())
        assert row.messages[-1].role == "user"
        assert row.calls
    for row in rows_of(run.accepted_file):
        (best,) = row.kept()
        assert "helpsteer2.reward" in best.scores
    assert report["rows"]["accepted"] + report["rows"]["dropped"] >= len(answered)


def test_helpsteer2_is_curated(tmp_path):
    ratings = Path(__file__).parents[3] / "shared" / "data" / "helpsteer2" / "ratings.jsonl"
    if not ratings.is_file():
        pytest.skip("the ratings are not here")
    overrides = ["read.dataset=null", f"read.path={ratings}"]
    run = karat.run(karat.Recipe.load("curate-existing", overrides), tmp_path / "out")
    lines = [json.loads(line) for line in ratings.read_text().splitlines()]
    helpful = {line["prompt"] for line in lines if line["helpfulness"] > 3}
    rows = rows_of(run.accepted_file)
    assert len(helpful) * 0.95 <= len(rows) <= len(helpful)  # some speak as a model
    for row in rows:
        (best,) = row.kept()
        assert best.scores["human.helpfulness"] == 4
    assert run.report["this_run"]["calls"] == 0
