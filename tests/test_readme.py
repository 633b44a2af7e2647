"""The README says only what runs: a recipe, commands, numbers and links that are checked."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import karat
from karat.cli import main
from karat.recipe import Recipe
from karat.recipefile import SHIPPED
from karat.verifiers.base import known

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with the README's recipe and the human rows that it mixes in."""
    monkeypatch.chdir(tmp_path)
    line = json.dumps({"prompt": "Hi?", "response": "Hello."})
    (tmp_path / "human.jsonl").write_text(f"{line}\n")
    (recipe,) = [body for kind, body in BLOCKS if kind == "yaml"]
    (tmp_path / "preference.yaml").write_text(recipe)
    return tmp_path


def test_the_recipe_is_a_recipe(desk):
    loaded = Recipe.load("preference.yaml")
    assert loaded.labels == ["topics", "prompts", "dedupe", "respond", "grade", "reject", "mix"]
    plan = karat.plan(loaded)
    assert sum(line.calls for line in plan) > 1000


def test_every_block_is_of_a_kind_that_is_tested():
    assert {kind for kind, _ in BLOCKS} == {"sh", "yaml"}


def test_what_sends_nothing_runs_and_the_rest_are_commands(desk):
    lines = [line for kind, body in BLOCKS if kind == "sh" for line in body.splitlines()]
    commands = [words for line in lines if (words := shlex.split(line, comments=True))]
    assert {words[0] for words in commands} == {"make", "karat"}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[1] for words in commands if words[0] == "make"} <= targets
    for words in commands:
        if words[0] == "karat":
            asked = words[1:] if words[1] == "plan" else [words[1], "--help"]
            done = CliRunner().invoke(main, asked)
            assert done.exit_code == 0, f"{words}: {done.output}"


def test_its_numbers_are_counted():
    numbers = {"Eleven": len(list(SHIPPED.glob("*.yaml"))), "11 verifiers": len(known())}
    assert numbers == {"Eleven": 11, "11 verifiers": 11}
    assert all(words in README for words in numbers)


def test_its_sections_are_there():
    """A link into a page names a heading of it."""
    found = 0
    for link in re.findall(r"\]\((docs/[^)]+)\)", README):
        page, _, place = link.partition("#")
        if not place:
            continue
        text = (ROOT / page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert place in {re.sub(r"[^\w]+", "-", heading.lower()).strip("-") for heading in headings}
        found += 1
    assert found
