"""karat curate: the shipped recipe fitted to what the data hold, run without a model."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from conftest import rows_of

import karat
from karat.cli import main
from karat.curating import curation
from karat.errors import RecipeError

ANSWER = "It is the moon's pull that makes the sea rise and fall twice a day. This is answer {}."


def write(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def steps(recipe):
    return recipe.labels


@pytest.fixture
def rated(tmp_path):
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    rows = [
        {"prompt": f"Why are there tides, number {i // 2}, in the sea of planet {i // 2}?",
         "response": ANSWER.format(i), **dict.fromkeys(names, 4 if i % 2 else 1)}
        for i in range(24)
    ]  # fmt: skip
    rows[3]["response"] = "I'm sorry, but I can't help with that."
    return write(tmp_path / "rated.jsonl", rows)


def test_ratings_choose_the_answer_and_its_minimum(rated, tmp_path):
    recipe = curation(rated)
    assert steps(recipe) == ["read", "filters", "dedupe", "reject"]
    run = karat.run(recipe, tmp_path / "out")
    rows = rows_of(run.accepted_file)
    assert all(r.scores["human.helpfulness"] == 4 for row in rows for r in row.kept())
    dropped = [row.dropped for row in rows_of(run.dropped_file)]
    assert any(reason.startswith("reject: below minimum") for reason in dropped)
    assert run.report["this_run"]["calls"] == 0
    assert karat.Recipe.load(run.recipe).labels == steps(recipe)


def test_preferences_rank_without_a_minimum(tmp_path):
    rows = [
        {"prompt": f"What makes tides on planet {i}?", "chosen": ANSWER.format(i),
         "rejected": ANSWER.format(-i - 1)}
        for i in range(5)
    ]  # fmt: skip
    recipe = curation(write(tmp_path / "pairs.jsonl", rows))
    (reject,) = [call for call in recipe.steps if call.step.name == "reject"]
    assert (reject.params["by"], reject.params["minimum"]) == ("human.preferred", None)
    assert curation(str(tmp_path / "pairs.jsonl"), minimum=1.0).steps[3].params["minimum"] == 1


def test_without_ratings_nothing_is_ranked(tmp_path):
    rows = [{"prompt": f"Why tides, {i}?", "response": ANSWER.format(i)} for i in range(4)]
    recipe = curation(write(tmp_path / "plain.jsonl", rows))
    assert steps(recipe) == ["read", "filters", "dedupe"]
    assert recipe.steps[2].params["keep"] == "longest"
    with pytest.raises(RecipeError, match="minimum needs a score"):
        curation(str(tmp_path / "plain.jsonl"), minimum=3)
    with pytest.raises(RecipeError, match=r"has a score 'human\.helpfulness'; there is: none"):
        curation(str(tmp_path / "plain.jsonl"), by="human.helpfulness")


def test_the_command_runs_all_of_it(rated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evals = write(
        tmp_path / "evals.jsonl",
        [{"question": "Why are there tides, number 5, in the sea of planet 5?"}],
    )
    done = CliRunner().invoke(
        main, ["curate", rated, "-o", "out", "--against", evals, "--select", "8", "--split"]
    )
    assert done.exit_code == 0, done.output
    assert "read → filters → dedupe → reject → decontaminate → select → split" in done.output
    (hit,) = [
        r.dropped for r in rows_of(tmp_path / "out" / "dropped.parquet") if "contam" in r.dropped
    ]
    assert "evals" in hit
    assert len(rows_of(tmp_path / "out" / "accepted.parquet")) == 8
    again = CliRunner().invoke(main, ["curate", "out", "-o", "again"])  # a run is data as well
    assert again.exit_code == 0, again.output


def test_a_column_can_be_named(tmp_path):
    data = write(tmp_path / "turns.jsonl", [{"turns": [f"Why tides, {i}?"]} for i in range(3)])
    with pytest.raises(RecipeError, match=r"name one with --set read\.prompt=COLUMN"):
        curation(data)
    recipe = curation(data, overrides=["read.prompt=turns.0"])
    assert recipe.steps[0].params["prompt"] == "turns.0"
    assert karat.run(recipe, tmp_path / "out").report["rows"]["accepted"] > 0


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(RecipeError, match=r"there is no nothing\.jsonl; name a file"):
        curation("nothing.jsonl")
