"""The Python API as a person meets it: the page about it runs, and what is wrong is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from server import Server

import karat
from karat import Recipe, RecipeError
from karat.rowset import Rows

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def test_wrong_arguments_are_answered_with_the_right_ones(make_recipe, tmp_path):
    path = make_recipe({"model": "openai/x", "base_url": "http://127.0.0.1:1"})
    recipe = Recipe.load(path)
    for call, said in (
        (lambda: karat.run(path, ouput="x"), r"run\(\) takes no 'ouput'; there is|did you mean"),
        (lambda: karat.run(path, worker=2), "did you mean 'workers'"),
        (lambda: karat.plan(path, prob=2), "did you mean 'probe'"),
        (lambda: karat.preview(path, m=2), r"preview\(\) takes no 'm'"),
        (lambda: karat.grade("a", ["b"], rewad="x"), "did you mean 'reward'"),
        (lambda: Recipe(recipe.steps, exprt=["jsonl"]), "did you mean 'export'"),
    ):
        with pytest.raises(TypeError, match=said):
            call()
    for call, said in (
        (lambda: karat.grade("a", ["b"], by="rewards"), "did you mean 'reward'"),
        (lambda: karat.grade("a", ["b"], budget_usd=0), "a number above 0"),
        (lambda: karat.grade("a", ["b"], "judg", recipe=recipe), "has no reward 'judg'"),
        (lambda: karat.grade("a", ["b"], {"reward": "x"}, recipe=path), "not both"),
        (lambda: karat.run(recipe.steps, tmp_path), r"not list\. Put the steps into karat\.Recipe"),
        (lambda: karat.run(3), "must be a karat.Recipe, a file, or the name of one"),
        (lambda: karat.run("quikstart"), "did you mean 'quickstart'"),
        (lambda: karat.run(path, executor="rai"), "did you mean 'ray'"),
        (lambda: Recipe(recipe.steps[0]), "steps is a list of steps"),
    ):
        with pytest.raises(RecipeError, match=said):
            call()


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 2
    space = {"__name__": "page"}
    for number, body in enumerate(found):
        exec(compile(body, f"python.md block {number}", "exec"), space)
    assert isinstance(space["run"].accepted, Rows)
    assert space["run"].report["rows"]["accepted"] == len(space["frame"]) == space["data"].num_rows
    assert space["run"].report["rows"]["accepted"] >= 2
    assert "$0" in capsys.readouterr().out


@pytest.mark.parametrize("progress", [None, False, True])
def test_a_script_is_told_of_progress_where_it_asks(
    make_recipe, tmp_path, monkeypatch, capfd, progress
):
    """Plain lines, for the output of a test is no terminal; and nothing unasked."""
    monkeypatch.setattr("karat.report.progress.PLAIN_EVERY_S", 0.02)
    with Server(latency_s=0.05) as server:
        karat.run(make_recipe(server.model(concurrency=4), 20), tmp_path / "out", progress=progress)
    out, err = capfd.readouterr()
    assert out == ""
    assert bool(re.search(r"respond [\d,]+ in, [\d,]+ out, \d+ in flight, .* calls", err)) is (
        progress is True
    )
