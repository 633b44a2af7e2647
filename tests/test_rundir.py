"""The run directory: what is missing or broken in it is told in words, and one process holds it."""

from __future__ import annotations

import errno
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karat import RecipeError, RunError
from karat.rundir import Lock, Run, first_rows, write_atomic


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "has no report yet: run it to the end first"),
        (b"", r"cannot be read .*remove it and run the recipe again"),
        (b"{", "cannot be read"),
        (b"[]", r"cannot be read \(no cost_usd\)"),
        (b"{}", r"cannot be read \(no cost_usd\)"),
    ],
)
def test_a_report_is_whole_or_an_error(tmp_path, data, message):
    run = Run(tmp_path)
    if data is not None:
        run.report_file.write_bytes(data)
    with pytest.raises(RecipeError, match=message):
        run.report  # noqa: B018


@pytest.mark.parametrize("data", [None, b"", b"PAR1" * 9, "other columns", "folder"])
def test_results_are_whole_or_an_error(tmp_path, data):
    run = Run(tmp_path)
    if isinstance(data, bytes):
        run.accepted_file.write_bytes(data)
    elif data == "folder":
        run.accepted_file.mkdir()
    elif data is not None:
        pq.write_table(pa.table({"a": [1]}), run.accepted_file)
    lacking = data in (None, "folder")  # a folder of parts is not whole without its list
    message = "has no accepted.parquet" if lacking else "accepted.parquet cannot be read"
    with pytest.raises(RecipeError, match=message):
        run.accepted  # noqa: B018
    with pytest.raises(RecipeError, match=message):
        first_rows(run.accepted_file, 3)


@pytest.mark.parametrize("call", ["ftruncate", "write"])
def test_a_lock_on_a_full_disk_is_an_error_in_words(tmp_path, monkeypatch, call):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with (
            pytest.raises(RunError, match="No space left on device; make room"),
            Lock(Run(tmp_path)),
        ):
            pass
    with Lock(Run(tmp_path)):
        pass


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomic(path, b"old")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(RunError, match="No space left on device; make room and run again"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
