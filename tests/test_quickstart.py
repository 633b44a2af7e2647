"""The shipped quickstart end to end: a real model, a real reward, and files others can open."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import polars
import pytest

import karat

SMALL = [
    "topics.given=[cooking, the night sky]", "prompts.per_topic=1", "prompts.max_tokens=56",
    "respond.n=2", "respond.max_tokens=20",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = karat.Recipe.load("quickstart", SMALL)
    return karat.run(recipe, tmp_path_factory.mktemp("quick") / "out")


def test_it_ends_with_graded_accepted_rows(run):
    report = run.report
    assert report["rows"]["accepted"] >= 2
    reward = report["scores"]["helpsteer2.reward"]
    assert reward["accepted"]["mean"] > reward["all"]["mean"]
    assert report["cost_usd"] == 0
    (writer,) = [m for m in report["models"] if m["role"] == "teacher"]
    assert writer["completion_tokens"] > 50
    assert not writer["tokens_estimated"]
    assert writer["latency_ms"]["p50"] > 0


def test_a_second_run_calls_no_model(run):
    before = run.accepted_file.read_bytes()
    again = karat.run(karat.Recipe.load("quickstart", SMALL), run.path)
    assert again.report["this_run"]["calls"] == 0
    assert again.accepted_file.read_bytes() == before


def test_the_journal_alone_makes_the_same_rows(run):
    """Without its stages a run replays what the model once wrote, to the same bytes."""
    before = run.accepted_file.read_bytes()
    for stage in run.stages.iterdir():
        stage.unlink()
    again = karat.run(karat.Recipe.load("quickstart", SMALL), run.path)
    assert again.report["this_run"]["calls"] == 0
    assert again.report["this_run"]["replayed"] > 0
    assert again.accepted_file.read_bytes() == before


def test_every_kept_response_is_in_the_ledger(run):
    with sqlite3.connect(run.journal) as journal:
        keys = {key.hex() for (key,) in journal.execute("SELECT key FROM calls")}
    for response in run.accepted["responses"].to_pylist():
        assert {candidate["call"] for candidate in response} <= keys


def test_ordinary_tools_open_everything(run):
    datasets = pytest.importorskip("datasets")
    path = str(run.accepted_file)
    rows = run.report["rows"]["accepted"]
    # In a process of its own: DuckDB's bindings complain at exit when torch was loaded beside them.
    query = f"import duckdb; duckdb.sql(\"SELECT count(response) FROM '{path}'\").show()"
    shown = subprocess.run(
        [sys.executable, "-c", query], capture_output=True, check=True, text=True
    )
    assert f" {rows} " in shown.stdout
    assert polars.read_parquet(path).height == rows
    loaded = datasets.load_dataset("parquet", data_files=path, split="train")
    assert loaded.num_rows == rows
    for name in ("jsonl", "trl-sft"):
        (file,) = run.report["exports"][name]["files"].values()
        written = str(run.path / file)
        assert datasets.load_dataset("json", data_files=written, split="train").num_rows == rows
