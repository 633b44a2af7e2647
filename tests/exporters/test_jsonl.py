"""jsonl: every kept response with what a person asks about it, in a shape loaders take."""

from __future__ import annotations

import errno
import json
import tracemalloc
from pathlib import Path

import pytest
from kept import lines, response, row, run_of

from karat.errors import RunError
from karat.exporters.base import Lines
from karat.exporters.jsonl import export
from karat.row import Row


def test_one_line_per_kept_response(tmp_path: Path) -> None:
    rows = [
        row(
            1, response("best", 3.5, True), response("second", 2.0, True), response("bad", 1, False)
        ),
        row(2, response("nobody chose"), meta={"deep": {"a": [1, None]}}),
        row(3, response("bad", 1.0, False)),
    ]
    done = export(run_of(tmp_path, rows), tmp_path / "export")
    assert (done.rows, done.left_out) == (3, {"no kept response": 1})
    first, _, third = lines(done.files["data"])
    assert first == {
        "id": "0" * 15 + "1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Question 1 ä?"},
        ],
        "response": "best",
        "scores": {"rm.helpfulness": 4.5, "rm.reward": 3.5},
        "model": "small",
        "source": "synthetic",
        "meta": '{"topic":"physics"}',
        "call": "ab" * 16,
    }
    assert third["scores"] == {"rm.helpfulness": None, "rm.reward": None}
    assert json.loads(third["meta"]) == {"deep": {"a": [1, None]}}


def test_the_same_run_gives_the_same_bytes_and_an_empty_one_no_file(tmp_path: Path) -> None:
    rows = [row(i, response(f"a{i}", i / 3, True)) for i in range(600)]
    one = export(run_of(tmp_path / "a", rows), tmp_path / "a/export").files["data"]
    two = export(run_of(tmp_path / "b", rows), tmp_path / "b/export").files["data"]
    assert one.read_bytes() == two.read_bytes()
    none = export(run_of(tmp_path / "a", []), tmp_path / "a/export")
    assert (none.files, none.rows) == ({}, 0)
    assert list((tmp_path / "a/export").iterdir()) == []


def test_datasets_loads_rows_of_every_shape(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    graded = [row(i, response("x" * 4000, 1.5, True), meta={"n": i}) for i in range(3000)]
    human = row(9999, response("human", None, True), meta={"n": "text", "other": [1]})
    human.responses[0].scores = {"human.helpfulness": 4.0}
    run = run_of(tmp_path / "run", [*graded, human])
    done = export(run, tmp_path / "export")
    assert done.files["data"].stat().st_size > 12e6  # more than one block of the loader
    loaded = datasets.load_dataset(
        "json", data_files=str(done.files["data"]), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows == 3001
    assert loaded[0]["scores"] == {"rm.helpfulness": 2.5, "rm.reward": 1.5}
    assert json.loads(loaded[3000]["meta"])["scores"] == {"human.helpfulness": 4.0}
    table = datasets.load_dataset(
        "parquet",
        data_files=str(run.accepted_file),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert table.num_rows == 3001


def test_exporting_holds_a_few_rows_only(tmp_path: Path) -> None:
    def made() -> list[Row]:
        return [row(i, response(f"{i} " + "x" * 3000, 1.0, True)) for i in range(4000)]

    run = run_of(tmp_path, made())
    tracemalloc.start()
    done = export(run, tmp_path / "export")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.rows == 4000
    assert peak < 6e6  # the file has 13


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("before")

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    def write() -> None:
        with Lines(path) as out:
            out._stream.close()
            monkeypatch.setattr(out, "_stream", Full())
            out.write({"a": 1})

    with pytest.raises(RunError, match=r"No space left on device; make room and run again"):
        write()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(RunError, match="cannot write"), Lines(path / "inside.jsonl"):
        pass
