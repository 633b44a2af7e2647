"""The papers of a run as files, and the command that writes them."""

from __future__ import annotations

import json
import re
from collections import Counter

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from conftest import rows_of
from licensed_runs import STEPS, made, run

from karat.cli import main
from karat.errors import RunError
from karat.publishing.measured import SAMPLED, measure
from karat.publishing.papers import write_papers
from karat.rundir import Run

NAMES = ["README.md", "LICENCES.md", "eu-summary.md", "croissant.json"]


def test_all_papers_are_written_and_written_the_same_again(tmp_path):
    paths = write_papers(run(), tmp_path / "deep/papers")
    assert paths == [tmp_path / "deep/papers" / name for name in NAMES]
    before = {path.name: path.read_bytes() for path in paths[:3]}
    again = write_papers(run(), tmp_path / "deep/papers")
    assert {path.name: path.read_bytes() for path in again[:3]} == before
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(NAMES)
    described = json.loads(paths[3].read_text())
    assert "sc:Dataset" in str(described["@type"])
    folder = str(run().path.parent)
    assert all(folder.encode() not in path.read_bytes() for path in paths)


def test_what_a_person_filled_in_is_never_written_over(tmp_path):
    readme = write_papers(run(), tmp_path)[0]
    filled = readme.read_text().replace("**[to be filled in]**", "for science", 1)
    readme.write_text(filled)
    for _ in range(2):
        paths = write_papers(run(), tmp_path, "cc-by-sa-4.0")
        assert [path.name for path in paths] == ["README.new.md", *NAMES[1:]]
        assert readme.read_text() == filled
        assert "not chosen by anybody" not in paths[0].read_text()
    (tmp_path / "LICENCES.md").write_text("")
    assert [path.name for path in write_papers(run(), tmp_path)][1] == "LICENCES.new.md"


def test_licences_have_texts_to_paste_and_say_where_terms_are_written(tmp_path):
    write_papers(run(), tmp_path)
    text = (tmp_path / "LICENCES.md").read_text()
    assert "    Built with Llama" in text
    assert (
        "    Contains material from given.jsonl by [author: to be filled in], under CC BY 4.0"
        in (text)
    )
    assert "Llama 3.1 Community License 2024-07-23, 1.b.i" in text
    assert "<https://www.llama.com/llama3_1/license/>" in text
    assert "read 2026-11-30" in text
    assert text.count("not legal advice") == 1
    assert text.split("## Blockers")[1].split("##")[0].strip() == "None found."


def test_papers_are_measured_from_the_rows():
    found = measure(run())
    rows = rows_of(run().accepted_file)
    sizes: Counter[str] = Counter()
    for row in rows:
        texts = [m.content for m in row.messages] + [r.content for r in row.responses]
        sizes[row.source] += sum(len(text.encode()) for text in texts)
    assert found.rows == len(rows)
    assert found.tokens == {name: size // 4 for name, size in sorted(sizes.items())}
    assert sum(found.languages.values()) == pytest.approx(1)
    assert found.first <= found.last


def test_a_sample_is_from_all_over_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("karat.publishing.measured.AT_ONCE", 300)
    monkeypatch.setattr("karat.publishing.measured.language_of", lambda text: text[:2])
    table = pq.read_table(run().accepted_file).slice(0, 1)
    rows = pa.concat_tables([table] * (3 * SAMPLED))
    place = rows.schema.get_field_index("response")
    texts = ["aa"] * (2 * SAMPLED) + ["bb"] * SAMPLED
    pq.write_table(rows.set_column(place, "response", [texts]), tmp_path / "accepted.parquet")
    found = measure(Run(tmp_path)).languages
    assert found == pytest.approx({"aa": 2 / 3, "bb": 1 / 3}, abs=0.01)


def test_without_a_detector_no_language_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr("karat.publishing.measured.can_tell", lambda: False)
    write_papers(run(), tmp_path)
    head = (tmp_path / "README.md").read_text().split("---")[1]
    assert "language:" not in head
    assert "languages: no detector was installed" in (tmp_path / "README.md").read_text()
    assert "no language was detected" in (tmp_path / "eu-summary.md").read_text()


def test_the_command_writes_into_the_run_and_says_what_it_wrote(tmp_path):
    folder = made(tmp_path)
    done = CliRunner().invoke(main, ["card", str(folder.path)])
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(folder.path / "papers" / name) for name in NAMES]
    assert "release as  CC-BY-SA-4.0; with the terms of: Llama Community" in done.stderr
    # The run goes on as if nothing had been put beside it.
    assert Run.open(folder.path).report["rows"]["accepted"]


def test_blockers_are_loud_but_the_papers_are_written(tmp_path):
    steps = [{"read": {"path": "given.jsonl"}}, *STEPS[1:]]
    folder = made(tmp_path, steps=steps)
    done = CliRunner().invoke(main, ["card", str(folder.path), "--out", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    assert re.search(r"BLOCKER\s+no licence stated", done.stderr)
    assert "NOT CLEARED: 1 blocker" in done.stderr
    assert "license_name: not-cleared" in (tmp_path / "p/README.md").read_text()
    assert "(unknown): Say under which licence" in (tmp_path / "p/LICENCES.md").read_text()


def test_a_chosen_licence_is_written_and_one_that_does_not_fit_is_refused(tmp_path):
    out = ["--out", str(tmp_path / "p")]
    done = CliRunner().invoke(main, ["card", str(run().path), "--licence", "cc-by-sa-4.0", *out])
    assert done.exit_code == 0, done.output
    assert "not chosen by anybody" not in (tmp_path / "p/README.md").read_text()
    done = CliRunner().invoke(main, ["card", str(run().path), "--licence", "cc0-1.0", *out])
    assert done.exit_code == 2
    assert "cannot be released under cc0-1.0: these fit: CC-BY-SA-4.0" in done.output


def test_what_is_no_finished_run_is_said_in_a_sentence(tmp_path):
    done = CliRunner().invoke(main, ["card", str(tmp_path)])
    assert (done.exit_code, "is not a run" in done.output) == (2, True)
    (tmp_path / "recipe.yaml").write_text("name: x\nsteps: [topics]\n")
    done = CliRunner().invoke(main, ["card", str(tmp_path)])
    assert (done.exit_code, "has no report yet" in done.output) == (2, True)


def test_a_folder_that_cannot_be_written_is_said():
    with pytest.raises(RunError, match=r"cannot write into /proc/papers"):
        write_papers(run(), Run("/proc/papers").path)


def test_a_run_of_before_has_its_papers_too(tmp_path):
    folder = made(tmp_path)
    report = folder.report
    del report["licences"]
    folder.report_file.write_bytes(orjson.dumps(report))
    write_papers(folder, tmp_path / "p")
    assert "Begin the name of a model" in (tmp_path / "p/README.md").read_text()
    assert "graders, and names of files, are not known" in (tmp_path / "p/LICENCES.md").read_text()
