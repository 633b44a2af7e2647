"""The README says only what runs: its recipe is checked, its Python is executed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import karat
from karat.recipe import Recipe

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [{"prompt": "Why is the sky blue?"}, {"prompt": "Name three fruits."}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "prompts.jsonl").write_text(text)
    (tmp_path / "human.jsonl").write_text('{"prompt": "Hi?", "response": "Hello."}\n')
    return tmp_path


def test_the_recipe_is_a_recipe(desk):
    (recipe,) = [body for kind, body in BLOCKS if kind == "yaml"]
    (desk / "preference.yaml").write_text(recipe)
    loaded = Recipe.load("preference.yaml")
    assert loaded.labels == ["topics", "prompts", "dedupe", "respond", "grade", "reject", "mix"]
    plan = karat.plan(loaded)
    assert sum(line.calls for line in plan) > 1000


def test_the_python_runs_from_top_to_bottom(desk, capsys):
    blocks = [body for kind, body in BLOCKS if kind == "python"]
    for number, body in enumerate(blocks):
        exec(compile(body, f"README python block {number}", "exec"), {"__name__": "readme"})
    mean, record = capsys.readouterr().out.splitlines()
    assert float(mean) > 0
    assert record.startswith("('embedded/smollm2-135m', 'respond', ")


def test_a_step_of_the_users_own_is_found_by_name(desk):
    (body,) = [body for kind, body in BLOCKS if "async def shout" in body]
    (desk / "my_steps.py").write_text(body)
    steps = "steps:\n  - read: {path: prompts.jsonl}\n  - my_steps:shout: {times: 2}\n"
    (desk / "own.yaml").write_text(f"name: own\n{steps}")
    try:
        assert Recipe.load("own.yaml").steps[1].params == {"times": 2}
    finally:
        sys.modules.pop("my_steps", None)
