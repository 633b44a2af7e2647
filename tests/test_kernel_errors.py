"""The kernel's promises when a directory, a disk or a step goes wrong."""

# ruff: noqa: E501  tables of cases read better on one line each

from __future__ import annotations

import os

import pytest
from conftest import journaled, rows_of, run_karat, start_karat, wait_for
from server import Server, text_for

import karat
from karat import RecipeError, RunError
from karat.rundir import Lock, Run


def test_two_runs_in_one_directory_are_refused_and_the_first_is_unharmed(make_recipe, tmp_path):
    with Server(latency_s=0.1) as server:
        path = make_recipe(server.model(concurrency=4), 60)
        with start_karat("run", path, "--out", tmp_path / "out") as child:
            wait_for(lambda: len(server.requests) > 4)
            with pytest.raises(RunError, match=rf"in use by another karat \(process {child.pid}\)"):
                karat.run(path, tmp_path / "out")
            with pytest.raises(RunError, match="in use by another karat"):
                karat.preview(path, 1, tmp_path / "out")
            _, err = child.communicate(timeout=30)
        assert (child.returncode, err) == (0, "")
        assert len(server.requests) == 60
    assert len(rows_of(tmp_path / "out" / "accepted.parquet")) == 60


def test_a_lock_ends_with_its_holder(tmp_path):
    run = Run(tmp_path / "out")
    with Lock(run):
        assert (tmp_path / "out" / ".lock").read_text() == str(os.getpid())
    with Lock(run):
        pass


def test_a_directory_that_cannot_be_is_a_clear_error(make_recipe, tmp_path):
    path = make_recipe({"model": "openai/x", "base_url": "http://127.0.0.1:1"})
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc/karat"):
        with pytest.raises(RunError, match=r"cannot use .*name another directory in --out"):
            karat.run(path, out)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_of_somebody_else_is_left_alone(make_recipe, tmp_path):
    path = make_recipe({"model": "openai/x", "base_url": "http://127.0.0.1:1"})
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("mine")
    with pytest.raises(RecipeError, match=r"holds other files \(thesis\.tex"):
        karat.run(path, tmp_path / "theirs")
    assert [p.name for p in (tmp_path / "theirs").iterdir()] == ["thesis.tex"]


def test_a_run_killed_before_its_journal_was_there_can_start_again(make_recipe, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("recipe.yaml", ".recipe.yaml.tmp", ".lock"):
        (tmp_path / "out" / name).write_text("")
    with Server() as server:
        karat.run(make_recipe(server.model(), 2), tmp_path / "out")


LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


def test_a_full_disk_keeps_what_was_paid_and_the_next_run_goes_on(make_recipe, tmp_path):
    long = {"answer": lambda body, place: text_for(body, place, 800)}
    with Server(**long) as server:
        path = make_recipe(server.model(concurrency=4), 100)
        status, _, err = run_karat(
            "run", path, "--out", tmp_path / "out", prelude=LIMIT.format(300_000)
        )
        assert (status, "Traceback" in err) == (1, False)
        assert "no space left" in err
        paid, sent = journaled(tmp_path / "out"), len(server.requests)
        assert 0 < paid < 100
        assert sent - paid <= 4
        karat.run(path, tmp_path / "out")
        assert len(server.requests) == sent + 100 - paid
    assert len(rows_of(tmp_path / "out" / "accepted.parquet")) == 100


def test_a_disk_full_of_stages_is_a_clear_error(make_recipe, tmp_path):
    path = make_recipe(steps=[{"read": {"path": "big.jsonl"}}])
    noise = [os.urandom(20_000).hex() for _ in range(40)]
    (tmp_path / "big.jsonl").write_text("".join(f'{{"prompt": "{text}"}}\n' for text in noise))
    status, _, err = run_karat(
        "run", path, "--out", tmp_path / "out", prelude=LIMIT.format(200_000)
    )
    assert (status, "Traceback" in err) == (1, False)
    assert "make room" in err
    assert not [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".parquet", ".tmp")]
    assert karat.run(path, tmp_path / "out").report["rows"]["accepted"] == 40


BROKEN = {
    "row": ("async def f(row, ctx): return row.nothing", "nothing"),
    "row without return": ("async def f(row, ctx): pass", "return"),
    "row of a wrong kind": ("async def f(row, ctx): return 'text'", "return"),
    "list in the middle": ("async def f(row, ctx): return [row, row]", r"list\[Row\]"),
    "fan": ("async def f(row, ctx) -> list[Row]: return [1, 2]", "return"),
    "table": ("def f(table, ctx): return table.nothing", "nothing"),
    "table without return": ("def f(table, ctx): pass", "Decision"),
    "table with a wrong keep": ("def f(table, ctx):\n import numpy as np\n return Decision(keep=np.ones(99, bool))", "keep"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_step_that_breaks_stops_the_run_and_is_named(make_recipe, user_module, tmp_path, name):
    source, word = BROKEN[name]
    user_module("mine_broken", f"@step\n{source}\n")
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"mine_broken:f": {}},
        {"respond": {"models": ["teacher"]}},
    ]
    with Server() as server:
        with pytest.raises(RunError, match=rf"step 'f'.*{word}"):
            karat.run(make_recipe(server.model(), 3, steps), tmp_path / "out")
        assert server.requests == []


def test_a_source_that_breaks_stops_the_run_and_is_named(make_recipe, user_module, tmp_path):
    user_module("mine_source", "@step\ndef f(ctx):\n yield Row('a')\n raise KeyError('gone')\n")
    with pytest.raises(RunError, match=r"step 'f'.*gone"):
        karat.run(make_recipe(steps=[{"mine_source:f": {}}]), tmp_path / "out")
