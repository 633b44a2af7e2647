"""Tables: a file or a folder of parts, read alike, whole or not there."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folded import fold

from karat import parquet
from karat.stage import written
from karat.table import SCHEMA


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows.parquet"
    said = {b"karat": json.dumps({"address": "a"}).encode()}
    rows = pa.table({"id": [str(n) for n in range(50)], "n": range(50)})
    pq.write_table(rows.replace_schema_metadata(said), path, row_group_size=12)
    return path


def test_a_folder_of_parts_reads_as_the_file_does(table):
    whole = parquet.Parts(table)
    before = whole.read().to_pylist(), parquet.meta(table), parquet.schema(table).names
    folder = parquet.Parts(fold(table))
    assert parquet.is_folder(table)
    assert len(folder.files) == 3
    assert (folder.read().to_pylist(), parquet.meta(table), parquet.schema(table).names) == before
    assert folder.num_rows == parquet.count(table) == 50
    ids = [i for batch in folder.iter_batches(7, ["id"]) for i in batch.column("id").to_pylist()]
    assert ids == [str(n) for n in range(50)]


def test_row_groups_are_numbered_through_all_parts(table):
    groups = parquet.Parts(fold(table)).groups()
    assert [group.first for group in groups] == [0, *_sums([group.rows for group in groups])][:-1]
    assert sum(group.rows for group in groups) == 50
    for group in groups:
        (batch,) = parquet.batches(group.file, 100, ["n"], [group.number])
        assert batch.column("n").to_pylist()[0] == group.first


def _sums(sizes):
    return [sum(sizes[: n + 1]) for n in range(len(sizes))]


def test_a_folder_without_its_list_is_not_whole(table):
    folder = fold(table)
    assert parquet.exists(folder)
    assert parquet.stamp(folder) is not None
    parquet.begin_parts(folder)  # another run begins to write it
    assert len(list(folder.iterdir())) == 3
    assert not parquet.exists(folder)
    assert parquet.stamp(folder) is None
    assert parquet.meta(folder) == {}
    with pytest.raises(FileNotFoundError):
        parquet.Parts(folder)


def test_what_is_no_part_any_more_is_removed(table):
    folder = fold(table)
    (folder / "part-000009.parquet").write_bytes(b"of a killed process")
    parquet.list_parts(folder, [("part-000001.parquet", 17)], {})
    assert sorted(path.name for path in folder.iterdir()) == ["_karat.json", "part-000001.parquet"]


@pytest.mark.parametrize(
    "said",
    [
        b"", b"[]", b"{}", b'{"parts": [{"file": "a", "rows": "x"}], "meta": {}}',
        b'{"parts": [{"file": "../rows.parquet", "rows": 1}], "meta": {}}',
        b'{"parts": [{"file": "/etc/passwd", "rows": 1}], "meta": {}}',
        b'{"parts": [{"file": "..", "rows": 1}], "meta": {}}',
        b'{"parts": [{"file": "", "rows": 1}], "meta": {}}',
        b'{"parts": [{"file": "a", "rows": -1}], "meta": {}}',
        b'{"parts": [{"file": "a", "rows": 1}], "meta": []}',
    ],
)  # fmt: skip
def test_a_list_that_names_files_elsewhere_or_is_no_list_is_refused(tmp_path, said):
    folder = tmp_path / "rows.parquet"
    folder.mkdir()
    (folder / parquet.LISTED).write_bytes(said)
    with pytest.raises(OSError, match="not as karat writes it"):
        parquet.files(folder)
    assert parquet.meta(folder) == {}


def test_a_file_takes_the_place_of_a_folder_and_a_folder_that_of_a_file(table):
    fold(table)
    with written(table, {"again": True}) as writer:
        writer.add_batch(pa.RecordBatch.from_pylist([], schema=SCHEMA))
    assert table.is_file()
    assert parquet.meta(table) == {"again": True}
    parquet.begin_parts(table)
    assert table.is_dir()


def test_the_tables_of_a_folder(table):
    (table.parent / "notes.txt").write_text("x")
    (table.parent / "another.parquet").mkdir()
    assert [path.name for path in parquet.tables(table.parent)] == [
        "another.parquet", "rows.parquet",
    ]  # fmt: skip
    assert parquet.tables(table.parent / "nowhere") == []
