"""karat diff: rows matched by what they ask, reasons out of a run, figures with limits."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from server import Server

import karat
from karat.cli import main
from karat.errors import RecipeError
from karat.report.differences import differences


def written(path, *rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def ask(number, answer="Yes.", **more):
    return {"prompt": f"What is number {number}?", "response": answer, **more}


def test_rows_are_matched_by_what_they_ask(tmp_path):
    a = written(tmp_path / "a.jsonl", ask(1), ask(2), ask(3), ask(4))
    b = written(
        tmp_path / "b.jsonl", ask(9), ask(3, "No."), {**ask(2), "prompt": "what IS number 2?"}
    )
    found = differences(a, b)
    assert found.rows == (4, 3)
    assert (found.both, found.answered) == (2, 1)
    assert found.gone == {"not there": 2}
    assert found.new == {"not there": 1}
    same = differences(a, a)
    assert (same.both, same.answered, same.gone, same.new) == (4, 0, {}, {})


def test_a_run_says_why_a_row_is_missing(tmp_path, make_recipe, length_reward):
    with Server() as server:
        steps = [
            {"read": {"path": "prompts.jsonl"}},
            {"respond": {"models": ["teacher"], "n": 2}},
            {"grade": {"reward": "r"}},
            {"reject": {"by": "r.reward", "minimum": 2.0}},
        ]
        rewards = {"r": "x/y"}
        run = karat.run(make_recipe(server.model(), 12, steps, rewards=rewards), tmp_path / "out")
    dropped = run.report["rows"]["dropped"]
    assert 0 < dropped < 12
    found = differences(tmp_path / "prompts.jsonl", tmp_path / "out")
    assert found.gone == {"reject: below minimum": dropped}
    assert found.both == 12 - dropped
    assert found.figures["r.reward"]["a"] is None
    (model,) = {name for name in found.shares["model"] if name != "given"}
    assert found.shares["model"][model] == (0, 1)


def test_figures_are_means_with_limits_of_their_difference(tmp_path):
    a = written(tmp_path / "a.jsonl", *(ask(i, "one " * (i + 1)) for i in range(20)))
    b = written(tmp_path / "b.jsonl", *(ask(i, "one " * (i + 6)) for i in range(20)))
    told = differences(a, b).figures["words of the answer"]
    assert (told["a"], told["b"]) == (10.5, 15.5)
    value, low, high = told["change"]
    assert value == 5
    assert low < 5 < high


def test_the_command_prints_all_of_it_and_json(tmp_path):
    a = written(tmp_path / "a.jsonl", *(ask(i) for i in range(5)))
    b = written(tmp_path / "b.jsonl", *(ask(i, "No, not at all.") for i in range(4)))
    done = CliRunner().invoke(main, ["diff", str(a), str(b)])
    assert done.exit_code == 0, done.output
    assert "4 prompts stand in both, 4 of them with another answer" in done.output
    assert "1 only in the first" in done.output
    done = CliRunner().invoke(main, ["diff", str(a), str(b), "--json"])
    assert json.loads(done.stdout)["rows"] == [5, 4]


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(RecipeError):
        differences(tmp_path / "nothing.jsonl", tmp_path / "nothing.jsonl")
