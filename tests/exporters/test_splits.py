"""One file for each part of the data, where rows say which part they are of."""

from __future__ import annotations

from pathlib import Path

import pytest
from kept import lines, response, row, run_of

from karat.exporters import jsonl, trl_preference, trl_sft
from karat.row import Row

EXPORTERS = {"data": jsonl, "trl-sft": trl_sft, "trl-preference": trl_preference}


def rows(*splits: object) -> list[Row]:
    return [
        row(i, response(f"yes {i}", 2.0, True), response("no", 1.0, False),
            meta={} if split is None else {"split": split})
        for i, split in enumerate(splits)
    ]  # fmt: skip


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_file_for_each_part(tmp_path: Path, name: str) -> None:
    made = rows("train", "test", "train", None, "dev", 7)
    made.append(row(9, meta={"split": "train"}))
    done = EXPORTERS[name].export(run_of(tmp_path, made), tmp_path / "export")
    assert {key: path.name for key, path in done.files.items()} == {
        "train": f"{name}.train.jsonl",
        "test": f"{name}.test.jsonl",
    }
    assert {path.name for path in (tmp_path / "export").iterdir()} == {
        f"{name}.train.jsonl",
        f"{name}.test.jsonl",
    }
    assert [len(lines(path)) for path in done.files.values()] == [2, 1]
    assert done.rows == 3
    assert done.left_out["no split"] == 3
    assert sum(done.left_out.values()) == 4
    assert "yes 1" in done.files["test"].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXPORTERS)
def test_one_file_where_no_row_is_of_a_part(tmp_path: Path, name: str) -> None:
    run = run_of(tmp_path, rows(None, "dev", {"split": "train"}))
    done = EXPORTERS[name].export(run, tmp_path / "export")
    assert [path.name for path in done.files.values()] == [f"{name}.jsonl"]
    assert len(lines(tmp_path / f"export/{name}.jsonl")) == 3
    assert done.left_out == {}


def test_files_that_an_export_may_write_are_named(tmp_path: Path) -> None:
    for name, module in EXPORTERS.items():
        assert (
            f"{name}.jsonl", f"{name}.train.jsonl", f"{name}.validation.jsonl", f"{name}.test.jsonl"
        ) == module.FILES  # fmt: skip
