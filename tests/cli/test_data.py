"""`karat diversity` as a command: what it prints, where the page goes, mistakes in one line."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import run_karat
from rich.console import Console
from server import Server

import karat
from karat.cli import data as module
from karat.cli import main
from karat.cli.data import _page_of

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
    assert "12 prompts, in meaning as varied as" in " ".join(done.output.split())
    assert done.output.endswith("page  prompts-diversity.html\n")
    assert "<svg" in (tmp_path / "prompts-diversity.html").read_text(encoding="utf-8")


def test_json_is_for_programs_and_comes_without_a_page(prompts, tmp_path):
    status, out, err = run_karat("diversity", prompts.name, "--json", "--clusters", 2, cwd=tmp_path)
    assert status == 0
    assert err.splitlines() == [
        "reading prompts.jsonl …", "measuring 12 prompts …", "looking for clusters and repeats …",
    ]  # fmt: skip
    found = json.loads(out)
    assert found["measures"]["rows"] == 12
    assert len(found["clusters"]) == 2
    assert not list(tmp_path.glob("*.html"))


def test_a_page_can_be_asked_for_as_well(prompts, tmp_path):
    status, out, err = run_karat("diversity", prompts, "--json", "--html", "x.html", cwd=tmp_path)
    assert status == 0
    assert err.splitlines()[-2:] == ["drawing the map …", "page  x.html"]
    assert json.loads(out)
    assert (tmp_path / "x.html").is_file()


def test_where_no_page_can_be_written_nothing_is_measured(prompts):
    assert "measuring" not in diversity(prompts, "--html", "no/where.html").output


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("a.b.jsonl", "a.b-diversity.html"),
        ("seeds.JSONL.gz", "seeds-diversity.html"),
        ("seeds.csv.zst", "seeds-diversity.html"),
        ("folder", "folder-diversity.html"),
        ("folder.json/", "folder-diversity.html"),
        (".", "here-diversity.html"),
        (".jsonl", "data-diversity.html"),
    ],
)
def test_a_page_is_called_after_its_data(tmp_path, monkeypatch, name, page):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert str(_page_of(Path(name))) == page


def test_the_text_may_be_in_any_column(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ({"label": "x", "text": text, "all": [{"in": f"{text}?"}]} for text in TEXTS)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    without = diversity("a.jsonl")
    assert without.exit_code == 2
    assert "name the text: --column text\n" in without.output
    assert "prompt:" not in without.output
    done = diversity("a.jsonl", "--column", "text")
    assert done.exit_code == 0, done.output
    assert "a.jsonl: 12 texts, in meaning as varied as" in " ".join(done.output.split())
    assert "those of the column 'text'" in done.output
    inside = diversity("a.jsonl", "--column", "all.0.in", "--json")
    assert '"column": "all.0.in"' in inside.output
    assert '"rows": 12' in inside.output


def test_on_a_terminal_what_is_done_is_told_in_a_line_that_goes(prompts, monkeypatch):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    monkeypatch.setattr(module, "terminal", lambda stderr=False: console)
    with module._telling() as say:
        say("measuring [bold]12[/bold] prompts")
        time.sleep(0.2)
    assert "measuring [bold]12[/bold] prompts …" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[1A\x1b[2K")  # up a line, and the line cleared


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
        (["prompts.jsonl", "--html", "no/where.html"], 2,
         "cannot write no/where.html: there is no folder no; make it"),
        (["prompts.jsonl", "--html", "."], 2, "cannot write .: it is a folder"),
        (["prompts.jsonl", "--column", "prompt", "--on", "response"], 2, "leave one out"),
        (["prompts.jsonl", "--column", "promt"], 2,
         "no column 'promt' in prompts.jsonl; did you mean 'prompt'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_no_page(prompts, tmp_path, args, status, message):
    done = diversity(*args)
    assert not list(tmp_path.rglob("*.html"))
    assert message in done.output
    assert done.exit_code == status
    assert isinstance(done.exception, SystemExit)
