"""The shipped rag-closed-qa end to end: three kinds of documents, a real model, and its exports."""

from __future__ import annotations

import io
import json

import pytest
from conftest import rows_of, slow
from pdf import pdf
from rich.console import Console

import karat
from karat.errors import RecipeError
from karat.report.rows import row_panel
from karat.steps._documents import read_document

# A model of 135M parameters seldom writes what the checks let pass, so here they see and let pass.
SMALL = [
    "documents.size=60", "documents.overlap=10", "documents.candidates=2",
    "closed_qa.per_chunk=1", "closed_qa.max_tokens=40", "closed_qa.answer_tokens=16",
    "closed_qa.grounded=0", "closed_qa.answerable=0", "closed_qa.too_easy=null",
    "closed_qa.hardest=null", "respond.max_tokens=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("rag")
    (place / "documents").mkdir()
    (place / "documents/bridge.md").write_text(
        "# The Arden bridge\n\nThe Arden bridge was opened in May 1871 by the engineer Clara "
        "Weyland. It is 240 metres long.\n"
    )
    (place / "documents/orchard.html").write_text(
        "<title>Pell</title><nav>Home</nav><h1>The orchard at Pell</h1><p>The oldest tree in the "
        "orchard is a Grey Reinette. It was planted in 1846.</p>"
    )
    (place / "documents/glacier.pdf").write_bytes(
        pdf([["The Orm glacier has lost two kilometres of its length since the year 1908."]])
    )
    return place


@pytest.fixture(scope="module")
def run(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return karat.run(karat.Recipe.load("rag-closed-qa", SMALL), folder / "out")


@slow
def test_it_ends_with_questions_that_say_where_they_come_from(run, folder):
    rows = rows_of(run.accepted_file)
    assert rows
    for row in rows:
        path = folder / "documents" / row.meta["file"]
        text = read_document(path, path.read_bytes()).text
        assert text[row.meta["start"] : row.meta["end"]] == row.meta["passage"]
        assert row.meta["question"].endswith("?")
        assert row.prompt.startswith(row.meta["passage"])
        assert {len(r.scores) > 0 for r in row.responses} == {True}
        assert 1 <= len(row.responses) <= 3
        assert set(row.meta["checks"]) == {"self_contained", "grounded", "answerable"}
    read = [entry for entry in run.report["funnel"] if entry["label"] == "documents"]
    assert read[0]["rows_out"] == 3


@slow
def test_every_export_is_there(run):
    exports = run.report["exports"]
    assert set(exports) == {"jsonl", "trl-sft", "retrieval", "beir"}
    assert {entry["rows"] for entry in exports.values()} == {run.report["rows"]["accepted"]}
    line = json.loads((run.export / "retrieval.jsonl").read_text().splitlines()[0])
    assert len(line["negatives"]) == 2
    assert len((run.export / "beir/corpus.jsonl").read_text().splitlines()) == 3


@slow
def test_the_terminal_says_which_answer_was_written_with_the_question(run):
    for row in rows_of(run.accepted_file):
        stream = io.StringIO()
        Console(file=stream, width=200).print(row_panel(row))
        marked = [line for line in stream.getvalue().splitlines() if "with the question" in line]
        assert len(marked) == 1
        assert "response by" in marked[0] or "response 1 by" in marked[0]


@slow
def test_a_second_run_calls_no_model(run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = run.accepted_file.read_bytes()
    again = karat.run(karat.Recipe.load("rag-closed-qa", SMALL), run.path)
    assert again.report["this_run"]["calls"] == 0
    assert again.accepted_file.read_bytes() == before


def test_without_the_folder_the_recipe_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        karat.Recipe.load("rag-closed-qa")
    assert str(caught.value).endswith(
        f"step 1 'documents': path: no file or folder {tmp_path}/documents; make it, or --set "
        "documents.path=…"
    )


def test_the_teacher_is_changed_in_one_place(folder, monkeypatch):
    monkeypatch.chdir(folder)
    recipe = karat.Recipe.load("rag-closed-qa", ["models.teacher=embedded/smollm2-135m"])
    named = {name for call in recipe.steps for _, name in call.named("model")}
    assert named == {"teacher"}
