"""A row's page tells the terms that its run resolved, and whose each licence is."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
import ran
import requests
from server import Server
from serving import Serving

import karat
from karat.rundir import Run, first_rows
from karat.web.rows.terms import owners, terms

SLOW = "openai/slow"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Answers of a model of the user's own server, graded."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "prompts.jsonl").write_text('{"prompt": "Why tides?", "licence": "MIT"}\n')
    with Server() as server, ran.rewards():
        recipe = ran.write_recipe(
            folder, models={"slow": {"model": SLOW, "base_url": server.url, "stream": True}},
            steps=[{"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["slow"], "n": 2}},
                   {"grade": {"reward": "mine"}}],
        )  # fmt: skip
        return karat.run(recipe, folder / "runs" / "own")


@pytest.fixture
def facts(run: Run) -> str:
    """What the page of its one row says is known of it."""
    (identity,) = run.accepted["id"].to_pylist()
    with Serving(run.path.parent) as server:
        found = requests.get(f"{server.url}/run/own/row/{identity}", timeout=20)
    return " ".join(
        unescape(re.sub(r"<[^>]+>", " ", found.text.split("is known of it")[1])).split()
    )


def test_a_model_of_ones_own_server_is_on_its_own_terms(run: Run, facts: str) -> None:
    assert "OpenAI" not in facts
    assert "openai/slow unknown; training: unknown" in facts
    assert pq.read_table(run.accepted_file)["training"].to_pylist() == ["unknown"]


def test_it_says_whose_each_licence_is(facts: str) -> None:
    assert f"licences unknown of {SLOW}" in facts
    assert "MIT of the row itself" in facts


def test_before_there_is_a_report_the_recipe_says_it(run: Run, tmp_path: Path) -> None:
    young = Run(tmp_path)
    young.recipe.write_bytes(run.recipe.read_bytes())
    assert terms(young, [SLOW], [])[SLOW].licence == "unknown"
    young.recipe.write_text("models: [}")
    assert terms(young, [SLOW], [])[SLOW].licence == "OpenAI terms"  # by its name alone
    assert terms(Run(tmp_path / "none"), [], ["qwen/qwen3-8b"])["qwen/qwen3-8b"].training == "yes"


def test_the_report_says_more_than_the_recipe_and_names_graders(run: Run, tmp_path: Path) -> None:
    old = Run(tmp_path)
    old.recipe.write_bytes(run.recipe.read_bytes())
    told = {"role": "generator", "name": SLOW, "licence": "Ours", "training": "conditions"}
    grader = {"role": "grader", "name": "embedded/helpsteer2", "licence": "CC-BY-4.0"}
    old.report_file.write_bytes(orjson.dumps({"licences": {"sources": [told, grader], "x": 1}}))
    known = terms(old, [SLOW], [])
    assert known[SLOW].licence == "Ours"
    (row,) = first_rows(run.accepted_file, 9)
    assert owners(old, row, ["Ours", "CC-BY-4.0", "MIT", "gone"], known) == [
        ("Ours", SLOW), ("CC-BY-4.0", "embedded/helpsteer2 (a grader of the run)"),
        ("MIT", "the row itself"), ("gone", ""),
    ]  # fmt: skip
    old.report_file.write_text("[]")
    assert terms(old, [SLOW], [])[SLOW].licence == "unknown"
