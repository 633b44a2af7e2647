"""documents: passages that say where they stand, files that cannot be read, neighbours."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import rows_of
from pdf import LOCKED, pdf
from reading import Ctx

import karat
from karat.errors import RecipeError
from karat.planning import plan
from karat.recipe import Recipe
from karat.row import Row, digest
from karat.step import find
from karat.steps._documents import read_document
from karat.steps.documents import documents

TIDES = "# Tides\n\nThe tide rises twice a day.\n\n## Spring tides\n\n" + "".join(
    f"On day {day} it is high. " for day in range(20)
)
PARAMS = {"size": 20, "overlap": 5, "candidates": 0}


def made(path: Path, **params: Any) -> list[Row]:
    call = documents(path=str(path), **{**PARAMS, **params})
    return list(call.step.function(Ctx(), **call.params))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "documents"
    (place / "deep").mkdir(parents=True)
    (place / "tides.md").write_text(TIDES)
    (place / "b.html").write_text(
        "<h1>Bees</h1><p>" + " ".join(f"Bees make {n} jars." for n in range(30))
    )
    (place / "deep/c.pdf").write_bytes(pdf([["Salt comes from the sea."], ["Page two."]]))
    (place / ".hidden.txt").write_text("hidden")
    (place / "data.csv").write_text("not,a,document")
    return place


# --- passages ------------------------------------------------------------------------------------


def test_each_passage_says_where_it_stands(folder: Path) -> None:
    rows = made(folder, licence="CC-BY-4.0", source="human")
    assert list(dict.fromkeys(row.meta["file"] for row in rows)) == [
        "b.html", "deep/c.pdf", "tides.md",
    ]  # fmt: skip
    for row in rows:
        data = (folder / row.meta["file"]).read_bytes()
        text = read_document(folder / row.meta["file"], data).text
        assert text[row.meta["start"] : row.meta["end"]] == row.meta["passage"]
        assert row.meta["document"] == digest(data).hex()
        assert (row.meta["licence"], row.source) == ("CC-BY-4.0", "human")
        assert (row.messages, row.responses, row.dropped) == ([], [], None)
    assert len({row.id for row in rows}) == len(rows)


def test_markdown_and_text_spans_are_spans_of_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes(b"---\r\nx: 1\r\n---\r\n" + TIDES.replace("\n", "\r\n").encode())
    text = path.read_text()
    for row in made(path):
        assert text[row.meta["start"] : row.meta["end"]] == row.meta["passage"]
        assert row.meta["file"] == "a.md"
        assert "x: 1" not in row.meta["passage"]


def test_headings_and_pages_are_the_nearest_ones(folder: Path) -> None:
    tides = [r.meta["heading"] for r in made(folder, glob="*.md")]
    assert tides[0] == "Tides"
    assert set(tides[1:]) == {"Spring tides"}
    pages = pdf([["Salt comes from the sea, and the sea is wide."] * 4, ["Snow falls now."] * 9])
    (folder / "d.pdf").write_bytes(pages)
    rows = made(folder / "d.pdf", size=30)
    assert [row.meta["page"] for row in rows] == [1, 1, 2]
    assert ["Salt" in row.meta["passage"] for row in rows] == [True, True, False]
    assert not any("heading" in row.meta for row in rows)
    (folder / "e.md").write_text("Before.\n\n# First\n\nText.")
    (row,) = made(folder / "e.md")
    assert row.meta["heading"] == "First"


def test_the_same_rows_each_time_and_the_same_ids_in_a_changed_folder(folder: Path) -> None:
    before = made(folder)
    assert made(folder) == before
    (folder / "a.txt").write_text("A new file that comes first.")
    (folder / "b.html").rename(folder / "z.html")
    ids = {row.meta["passage"]: row.id for row in made(folder, licence="MIT")}
    assert all(ids[row.meta["passage"]] == row.id for row in before)


def test_glob_chooses_and_a_file_is_a_folder_of_one(folder: Path) -> None:
    assert {r.meta["file"] for r in made(folder, glob="**/*.pdf")} == {"deep/c.pdf"}
    assert {r.meta["file"] for r in made(folder / "tides.md")} == {"tides.md"}
    with pytest.raises(RecipeError, match=r"data.csv: its name must end in txt, text, rst, md"):
        made(folder, glob="*.csv")
    with pytest.raises(RecipeError, match=r"no file in .* matches \*\.rst"):
        made(folder, glob="*.rst")


# --- files that cannot be read -------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_one_dropped_row(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"\xff\xfe\xfd")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (folder / "empty.md").write_text("\n")
    (folder / "locked.pdf").write_bytes(pdf([["x"]], trailer=LOCKED))
    (folder / "scan.pdf").write_bytes(pdf([[]]))
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    for candidates in (0, 2):
        rows = made(folder, candidates=candidates)
        lost = {row.meta["file"]: row.dropped for row in rows if row.dropped}
        assert lost == {
            "a.txt": "unreadable text (a.txt: not UTF-16)",
            "broken.pdf": "broken PDF (broken.pdf: Failed to load document (PDFium: Data format "
            "error).)",
            "empty.md": "no text (empty.md: it is empty)",
            "locked.pdf": "encrypted PDF (locked.pdf: it needs a password; save it without)",
            "scan.pdf": "no text (scan.pdf: 1 pages without a letter; run text recognition on it "
            "first)",
        }
        assert {row.meta["file"] for row in rows if not row.dropped} == {
            "b.html", "deep/c.pdf", "tides.md",
        }  # fmt: skip
        assert len({row.id for row in rows}) == len(rows)


def test_a_file_that_may_not_be_opened_is_a_dropped_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "tides.md":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    lost = [row.dropped for row in made(folder) if row.dropped]
    assert lost == ["unreadable file (tides.md: Permission denied)"]


def test_a_name_that_is_not_utf8_is_a_dropped_row(folder: Path, tmp_path: Path) -> None:
    odd = os.fsencode(folder) + b"/caf\xe9.txt"
    try:
        Path(os.fsdecode(odd)).write_text("The tide rises.")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    for candidates in (0, 2):
        lost = [row for row in made(folder, candidates=candidates) if row.dropped]
        assert [row.dropped for row in lost] == [
            r"unreadable file name (caf\xe9.txt: not UTF-8; rename it)"
        ]
        assert lost[0].meta == {"file": r"caf\xe9.txt"}
    (tmp_path / "r.yaml").write_text(
        "name: d\nsteps:\n  - documents: {path: documents, size: 20, overlap: 5, candidates: 0}\n"
    )
    recipe = Recipe.load(tmp_path / "r.yaml")
    forecast = find("documents").forecast(1, recipe=recipe, **recipe.steps[0].params)
    run = karat.run(recipe, tmp_path / "out")
    assert len(rows_of(run.accepted_file)) == forecast.rows
    assert [row.meta["file"] for row in rows_of(run.dropped_file)] == [r"caf\xe9.txt"]


@pytest.mark.parametrize("target", ["nowhere", "self"])
def test_a_link_to_nowhere_is_passed_over(folder: Path, tmp_path: Path, target: str) -> None:
    (folder / "self").symlink_to(target)  # an editor's lock, or a link to itself
    (tmp_path / "r.yaml").write_text(
        "name: d\nsteps: [documents: {path: documents, candidates: 0}]\n"
    )
    recipe = Recipe.load(tmp_path / "r.yaml")
    assert plan(recipe, tmp_path / "none.sqlite", tmp_path)[0].rows_out == 3
    assert len(rows_of(karat.run(recipe, tmp_path / "out").accepted_file)) == 3


def test_no_text_at_all_is_an_error_that_names_the_first_problem(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(RecipeError, match=r"holds no text; the first problem: no text \(a.txt: it"):
        made(tmp_path)


@pytest.mark.parametrize(("parser", "file"), [("pypdfium2", "c.pdf"), ("selectolax", "b.html")])
def test_a_missing_parser_is_an_error_only_where_it_is_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, parser: str, file: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == parser]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, parser, None)
    assert made(folder, glob="*.md")
    recipe = karat.Recipe([documents(path=str(folder), **PARAMS)])
    for refused in (
        lambda: made(folder),
        lambda: find("documents").forecast(1, recipe=recipe, **recipe.steps[0].params),
    ):
        with pytest.raises(RecipeError, match=rf"{file} needs a parser: pip install 'karat\[docum"):
            refused()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"path": "https://example.org/a"}, "path must be on this machine"),
        ({"path": "docs/*.md"}, r"write path: FOLDER and glob: '\*.md'"),
        ({"path": ".", "size": 100, "overlap": 51}, r"at most half of size \(50\), got 51"),
        ({"path": ".", "encoding": "utf-88"}, "no encoding 'utf-88'"),
        ({"path": ".", "encoding": "undefined"}, "no encoding 'undefined'"),
        ({"path": ".", "encoding": "unicode_escape"}, "no encoding 'unicode_escape'"),
        ({"path": ".", "encoding": "a\0b"}, r"no encoding 'a\\x00b'; name one of text that"),
        ({"path": ".", "size": 5}, "size"),
        ({"path": ".", "candidates": -1}, "candidates"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        documents(**params)


# --- in a recipe ---------------------------------------------------------------------------------


def test_a_plan_says_how_many_rows_a_run_reads(folder: Path, tmp_path: Path) -> None:
    (folder / "a.txt").write_text("")
    (tmp_path / "recipe.yaml").write_text(
        "name: d\nsteps:\n  - documents: {path: documents, size: 20, overlap: 5, candidates: 2}\n"
    )
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    forecast = find("documents").forecast(1, recipe=recipe, **recipe.steps[0].params)
    run = karat.run(recipe, tmp_path / "out")
    rows = rows_of(run.accepted_file)
    assert forecast.rows == len(rows) == run.report["funnel"][0]["rows_out"]
    assert forecast.calls == []
    assert max(len(row.meta["candidates"]) for row in rows) == 2
    assert run.report["funnel"][0]["dropped"] == {"no text": 1}


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: d\nsteps: [documents: {path: documents}]\n")
    with pytest.raises(RecipeError, match=r"step 1 'documents': path: no file .*documents"):
        Recipe.load(tmp_path / "recipe.yaml")
