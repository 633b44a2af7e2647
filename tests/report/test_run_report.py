"""The report of a run: one file that is whole, honest, inert, and the same for a million rows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from page_reader import Reader
from seen_run import EVIL, seen_run

from karat import Run
from karat.cli import main
from karat.report import run_sample
from karat.report.run_report import page
from karat.report.run_sample import random_rows


@pytest.fixture(scope="module")
def source():
    return page(seen_run())


@pytest.fixture
def copied(tmp_path):
    """A run of one's own, to be damaged."""
    shutil.copytree(seen_run().path, tmp_path / "run")
    return Run(tmp_path / "run")


# --- the file ------------------------------------------------------------------------------------


def test_it_is_one_file_that_runs_and_fetches_nothing(source):
    reader = Reader(source)
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(reader.tags)
    assert len(reader.ids) == len(set(reader.ids))
    assert "default-src 'none'" in source
    assert "http://" not in re.sub(r'xmlns="[^"]*"|http://127\.0\.0\.1:\d+', "", source)
    assert source.count("<style>") == 1  # of charts too
    assert "@media print" in source
    assert "prefers-color-scheme:dark" in source


def test_it_says_what_the_report_says(source):
    text, report = Reader(source).text, seen_run().report
    rows = report["rows"]
    for figure in (rows["in"], rows["accepted"], rows["dropped"]):
        assert f"{figure:,}" in text
    for heading in ("Where rows went", "Rewards", "Best of k", "Diversity", "Guards", "Models",
                    "Licences", "What was measured, and what was not", "Rows that were accepted",
                    "Rows that were dropped"):  # fmt: skip
        assert heading in text
    assert f"{report['scores']['mine.reward']['accepted']['mean']:.2f}" in text
    assert "The service refuses the content" in text


def test_rows_are_random_and_the_seed_is_told(source):
    run = seen_run()
    total = run.report["rows"]["accepted"]
    assert total > 20
    assert f"20, drawn at random from {total} with seed 0" in source
    shown = re.findall(r"<code>([0-9a-f]+)</code>", source)
    kept, gone = (
        [row.id for row in random_rows(path)] for path in (run.accepted_file, run.dropped_file)
    )
    assert shown == [*kept, *gone]
    assert page(run, seed=1) != source
    assert page(run) == source


def test_hostile_text_is_marked_and_inert(source):
    assert EVIL[:20] not in source
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", source)
    assert "⟨U+202E⟩" in source
    assert "⟨U+0000⟩" in source
    assert "&lt;script&gt;" in source


def test_the_command_writes_it_where_it_is_told(tmp_path, monkeypatch):
    out = tmp_path / "told.html"
    made = CliRunner().invoke(main, ["report", str(seen_run().path), "-o", str(out)])
    assert (made.exit_code, made.stdout.strip()) == (0, str(out))
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    for wrong, said in ((tmp_path, "it is a folder"), (tmp_path / "no" / "x.html", "make it")):
        made = CliRunner().invoke(main, ["report", str(seen_run().path), "-o", str(wrong)])
        assert made.exit_code == 2
        assert said in made.stderr


def test_a_run_without_a_report_is_told_to_end_first(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: x\nsteps: []\n")
    made = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert made.exit_code == 2
    assert "run it to the end first" in made.stderr


def test_rows_that_cannot_be_read_are_told_in_a_sentence(copied):
    copied.accepted_file.write_bytes(b"PAR1")
    made = CliRunner().invoke(main, ["report", str(copied.path)])
    assert made.exit_code == 2
    assert "cannot be read" in made.stderr
    assert "nothing is paid for twice" in made.stderr


def test_a_journal_that_was_left_behind_or_is_damaged_leaves_the_rest(copied):
    copied.journal.write_bytes(b"no database" * 100)
    assert "No model was called" in page(copied)
    copied.journal.unlink()
    assert "Rows that were accepted" in page(copied)


def test_all_pages_extend_one_base():
    folder = Path(run_sample.__file__).parent
    pages = [path for path in folder.glob("*.html") if path.stem not in ("base", "run_sections")]
    assert len(pages) >= 7
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert text.startswith('{% extends "base.html" %}'), path.name
        assert "<head>" not in text


def test_a_report_of_an_earlier_karat_is_enough(copied):
    report = orjson.loads(copied.report_file.read_bytes())
    for key in ("failures", "grading", "variety", "ranking", "versions", "licences",
                "cut_off_share", "seed"):  # fmt: skip
        report.pop(key, None)
    copied.report_file.write_bytes(orjson.dumps(report))
    Reader(page(copied))
