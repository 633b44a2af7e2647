"""A run whose tables are folders of parts: whatever reads a run says the same of it."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path

import licensed_runs
import numpy as np
import pyarrow.parquet as pq
import pytest
from folded import fold, folded
from rich.console import Console
from seen_run import seen_run

from karat import Recipe, Run, parquet
from karat.api import run as run_recipe
from karat.columns import Table
from karat.exporters.base import accepted_rows, ranking
from karat.licensing import solve_run
from karat.licensing.counting import count
from karat.report.differences import differences
from karat.report.run_best_of import curves_of
from karat.report.run_report import page
from karat.report.run_sample import random_rows
from karat.report.side import read_side
from karat.report.text import print_report
from karat.report.voices import voices
from karat.reviewing.pool import Pool
from karat.rundir import first_rows
from karat.steps.read import read
from karat.training.student_source import lessons

EXPORTS = (
    "jsonl", "trl-sft", "trl-preference", "trl-grpo", "trl-kto", "nemo-rl-sft", "retrieval",
    "nemo-aligner-steerlm", "nemo-rl-preference", "beir",
)  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(a run, the same run in parts), under one name."""
    root = tmp_path_factory.mktemp("runs")
    one = Path(shutil.copytree(seen_run().path, root / "one" / "seen"))
    return Run(one), folded(seen_run(), root / "parts" / "seen")


def test_its_rows_are_the_same(both):
    one, parts = both
    assert parts.accepted_file.is_dir()
    assert len(parquet.files(parts.accepted_file)) == 3
    assert parts.accepted.equals(one.accepted)
    assert parts.dropped.equals(one.dropped)
    for name in ("accepted_file", "dropped_file"):
        a, b = getattr(one, name), getattr(parts, name)
        assert list(accepted_rows(a)) == list(accepted_rows(b))
        assert first_rows(a, 3) == first_rows(b, 3)
        assert random_rows(a, 9, 5) == random_rows(b, 9, 5)
        assert Table(a).ids() == Table(b).ids()
    assert ranking(parts.accepted_file) == ranking(one.accepted_file)
    shown = []
    for found in both:
        console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        print_report(console, found)
        console.file.close()
        shown.append(console.export_text().replace(str(found.path), "RUN"))
    assert shown[0] == shown[1]


def test_its_report_is_the_same(both):
    one, parts = both
    assert _plain(page(one), one) == _plain(page(parts), parts)
    assert voices(one, "mine.reward") == voices(parts, "mine.reward")
    found = [curves_of(run, run.report)[0].curve["rungs"] for run in both]
    assert found[0] == found[1]


def _plain(text, run):
    return text.replace(str(run.path), "RUN")


@pytest.mark.parametrize("name", EXPORTS)
def test_its_exports_are_the_same_bytes(both, tmp_path, name):
    exporter = importlib.import_module(f"karat.exporters.{name.replace('-', '_')}")
    written = []
    for number, run in enumerate(both):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = exporter.export(run, folder)
        files = {key: path.read_bytes() for key, path in made.files.items()}
        written.append((files, made.rows, made.left_out))
    assert written[0] == written[1]


def test_it_is_reviewed_the_same(both):
    one, parts = (Pool(run, 3) for run in both)
    assert one.ids.equals(parts.ids)
    assert (one.keys, one.main) == (parts.keys, parts.main)
    assert np.array_equal(one.turn_P, parts.turn_P)
    places = [0, len(one) - 1, len(one) // 2, 3]
    assert list(one.rows(places)) == list(parts.rows(places))
    for a, b in zip(one.scores(one.keys), parts.scores(one.keys), strict=True):
        assert np.array_equal(a, b, equal_nan=True)


def test_it_is_compared_the_same(both):
    one, parts = (read_side(run.path, "side") for run in both)
    assert np.array_equal(one.prompts_N, parts.prompts_N)
    assert np.array_equal(one.places_N, parts.places_N)
    assert one.shares == parts.shares
    found = differences(both[0].path, both[1].path)
    assert found.answered == 0
    assert not found.gone
    assert not found.new
    alone = read_side(both[1].accepted_file, "side")  # the folder by itself
    assert np.array_equal(alone.answers_N, parts.answers_N)


def test_its_licences_are_the_same(tmp_path):
    one = licensed_runs.run()
    parts = folded(one, tmp_path / one.path.name)
    assert solve_run(parts) == solve_run(one)


def test_a_student_learns_the_same(both, tmp_path):
    found = []
    for number, run in enumerate(both):
        copy = Path(shutil.copytree(run.path, tmp_path / str(number) / "seen"))
        shutil.rmtree(copy / "export")  # it is made anew of the rows
        found.append(lessons(copy, "sft"))
    assert found[0] == found[1]
    assert found[0].source.licences


def test_a_recipe_reads_it_and_mixes_it_in(both, tmp_path):
    """Through `read` as a file, and through `mix` as an earlier round: the folder, and its run."""
    rows = []
    for number, run in enumerate(both):
        accepted, place = str(run.accepted_file), tmp_path / str(number)
        steps = [read(path=accepted)]
        made = run_recipe(Recipe(steps, name="again"), place / "read")
        rows.append([row.messages for row in accepted_rows(made.accepted_file)])
        (place / "prompts.jsonl").write_text(json.dumps({"prompt": "One more?"}) + "\n")
        for previous in (accepted, str(run.path)):
            tree = [
                {"read": {"path": str(place / "prompts.jsonl")}},
                {"mix": {"previous": previous, "share": 0.0, "floor": 0.0}},
            ]
            out = place / f"mix-{len(previous)}"
            file = place / "recipe.yaml"
            file.write_text(json.dumps({"name": "mixed", "steps": tree}))
            mixed = run_recipe(file, out)
            assert mixed.report["rows"]["accepted"] == 1 + run.report["rows"]["accepted"]
    assert rows[0] == rows[1]
    assert rows[0]


def test_a_run_of_one_machine_goes_on_where_its_stages_are_in_parts(tmp_path, make_recipe):
    """Sealed stages are used whichever way they were written."""
    recipe = make_recipe(rows=9, steps=[
        {"read": {"path": "prompts.jsonl"}}, {"dedupe": {"on": "prompt", "threshold": 1.0}},
    ])  # fmt: skip
    made = run_recipe(recipe, tmp_path / "out")
    before = made.accepted.to_arrow()
    for path in (made.accepted_file, *parquet.tables(made.stages)):
        fold(path)
    again = run_recipe(recipe, tmp_path / "out")
    assert again.report["this_run"]["stages_reused"] == 2
    assert again.accepted.equals(before)
    changed = recipe.read_text().replace("threshold: 1.0", "threshold: 0.9")
    recipe.write_text(changed)
    run_recipe(recipe, tmp_path / "out")
    kinds = {path.name: path.is_dir() for path in parquet.tables(made.stages)}
    assert sorted(kinds.values()) == [False, True]  # the folder of `dedupe` gave way to a file


def test_a_folder_that_is_not_whole_is_told_of(both, tmp_path):
    broken = folded(both[0], tmp_path / "broken")
    (broken.accepted_file / parquet.LISTED).unlink()
    said = re.escape("has no accepted.parquet: run it to the end")
    with pytest.raises(Exception, match=said):
        broken.accepted  # noqa: B018
    with pytest.raises(Exception, match=said):
        count(broken)


def test_flat_memory_means_a_batch_at_a_time(both):
    file = parquet.Parts(both[1].accepted_file)
    sizes = [batch.num_rows for batch in file.iter_batches(4, ["id"])]
    assert max(sizes) <= 4
    assert sum(sizes) == pq.read_table(both[0].accepted_file).num_rows
