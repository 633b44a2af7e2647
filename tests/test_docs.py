"""The documentation says only what runs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from karat.models.services import own_services
from karat.recipe import Recipe

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCKS = [
    (file.relative_to(DOCS).as_posix(), kind, body)
    for file in PAGES
    for kind, body in re.findall(r"```(\w+)\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL)
]
# Pages whose blocks build on each other, and are done as a whole by tests of their own.
WHOLE = ("tutorial.md", "how-to/", "explanation/", "migration/")


def blocks(kind):
    found = [
        (name, body)
        for name, wanted, body in BLOCKS
        if wanted == kind and (kind == "sh" or not name.startswith(WHOLE))
    ]
    return pytest.mark.parametrize(("name", "body"), found, ids=lambda value: str(value)[:20])


@blocks("yaml")
def test_recipes_are_recipes(tmp_path, monkeypatch, name, body):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "Why is the sky blue?"}) + "\n")
    (tmp_path / "human.jsonl").write_text(json.dumps({"prompt": "Why?", "response": "So."}) + "\n")
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "sky.md").write_text("# The sky\n\nIt is blue by day.\n")
    (tmp_path / "recipe.yaml").write_text(body)
    assert Recipe.load("recipe.yaml").steps


@blocks("toml")
def test_settings_are_settings(tmp_path, name, body):
    (tmp_path / "config.toml").write_text(body)
    assert own_services(tmp_path / "config.toml")


@blocks("python")
def test_python_runs(name, body):
    exec(compile(body, name, "exec"), {"__name__": "docs"})


@blocks("sh")
def test_commands_are_commands(name, body):
    from click import Context

    from karat.cli import main

    for line in body.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["karat"]:
            command = main
            for word in words[1:]:
                found = getattr(command, "commands", {}).get(word)
                if found is None:
                    break
                command = found
            assert command is not main
            options = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)}
            used = {word for word in words if word.startswith("-")}
            assert used <= options, line
            assert Context(command)


def test_every_picture_and_page_that_is_linked_is_there():
    found = 0
    for file in (*PAGES, DOCS.parent / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text(encoding="utf-8")):
            # The reference is made when the site is built, which finds links into it.
            if "://" not in link and "reference/" not in link:
                assert (file.parent / link).exists(), f"{file.name}: {link}"
                found += 1
    assert found > 20
