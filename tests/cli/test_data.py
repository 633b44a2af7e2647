"""`karat diversity` as a command: what it prints, where the page goes, mistakes in one line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from conftest import run_karat
from server import Server

import karat
from karat.cli import main

TEXTS = [f"Tell me about the {what} of {place}" for what in ("food", "law") for place in "abcdef"]


@pytest.fixture
def prompts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS))
    return path


def diversity(*args):
    return CliRunner().invoke(main, ["diversity", *map(str, args)])


def test_it_prints_and_writes_a_page(prompts, tmp_path):
    done = diversity(prompts)
    assert done.exit_code == 0, done.output
    assert "12 prompts, in meaning as varied as" in done.output
    assert done.output.endswith("page  diversity.html\n")
    assert "<svg" in (tmp_path / "diversity.html").read_text(encoding="utf-8")


def test_json_is_for_programs_and_comes_without_a_page(prompts, tmp_path):
    status, out, err = run_karat("diversity", prompts, "--json", "--clusters", 2, cwd=tmp_path)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["measures"]["rows"] == 12
    assert len(found["clusters"]) == 2
    assert not (tmp_path / "diversity.html").exists()


def test_a_page_can_be_asked_for_as_well(prompts, tmp_path):
    status, out, err = run_karat("diversity", prompts, "--json", "--html", "x.html", cwd=tmp_path)
    assert (status, err) == (0, "page  x.html\n")
    assert json.loads(out)
    assert (tmp_path / "x.html").is_file()


def test_the_page_of_a_run_stands_in_it(make_recipe, tmp_path):
    with Server() as server:
        karat.run(make_recipe(server.model(), 4), tmp_path / "out")
    done = diversity(tmp_path / "out", "--on", "response")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "diversity.html").is_file()


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["nowhere.jsonl"], 2, "no file nowhere.jsonl"),
        (["prompts.jsonl", "--on", "response"], 2, "has no response to measure"),
        (["prompts.jsonl", "--on", "answer"], 2, "Invalid value"),
        (["prompts.jsonl", "--clusters", "1"], 2, "Invalid value"),
        (["prompts.jsonl", "--html", "no/where.html"], 1, "cannot write"),
    ],
)
def test_a_mistake_is_one_line(prompts, args, status, message):
    done = diversity(*args)
    assert message in done.output
    assert done.exit_code == status
    assert isinstance(done.exception, SystemExit)
