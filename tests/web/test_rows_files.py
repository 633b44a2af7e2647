"""The files behind a page of rows: the index, states of a run, the database's limits, downloads."""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows_made import LONG, Made, as_written, make_rows, oracle, score, write_run

from karat.errors import RunError
from karat.rundir import Run
from karat.web.rows import downloads
from karat.web.rows.asked import Filter, View
from karat.web.rows.engine import Engine, Stop, StoppedError
from karat.web.rows.files import MovedError, NoRowsError, holding
from karat.web.rows.index import build, fresh
from karat.web.rows.search import Search
from karat.web.tables import parquet_pieces


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("rows") / "run")


# --- the index as a file -------------------------------------------------------------------------


def test_an_index_is_made_anew_for_another_state_of_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_rows(20))
    path, _ = build(run, holding(run))
    assert path.parent == run.path / ".index"
    assert fresh(run, holding(run)) is not None
    with pytest.raises(NoRowsError):
        holding(Run(tmp_path / "none"))
    run.accepted_file.unlink()
    shutil.rmtree(run.stages)
    before = holding(write_run(tmp_path / "other", make_rows(5)))
    shutil.copy(before.parts[0].path, run.accepted_file)
    assert fresh(run, holding(run)) is None


def test_files_that_change_under_a_page_are_noticed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_rows(50))
    held = holding(run)
    pq.write_table(pq.read_table(run.accepted_file).slice(1), run.accepted_file)
    with pytest.raises(MovedError):
        held.read([0], ["id"])
    run.accepted_file.unlink()
    with pytest.raises(MovedError):
        build(run, held)
    assert not list((run.path / ".index").iterdir())  # nothing half made is left


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_rows(20))
    path, _ = build(run, holding(run))
    path.write_bytes(path.read_bytes()[:200])
    assert fresh(run, holding(run)) is None


def test_a_run_that_may_not_be_written_is_indexed_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KARAT_CACHE", str(tmp_path / "cache"))
    run = write_run(tmp_path / "run", make_rows(20))
    (run.path / ".index").write_text("a file where the folder would be")
    path, _ = build(run, holding(run))
    assert path.is_relative_to(tmp_path / "cache")
    found = fresh(run, holding(run))
    assert found is not None
    assert found[0] == path


def test_a_run_under_way_is_seen_as_its_newest_stage(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_rows(60))
    run.accepted_file.unlink()
    held = holding(run)
    assert (held.final, held.count) == (False, 60)
    engine = Engine(*build(run, held))
    rows = [as_written(row) for row in make_rows(60)]
    view = View(Filter(kept="accepted"), sort="responses")
    assert engine.places(view, LONG).tolist() == oracle(rows, view)


def test_the_database_opens_its_index_and_nothing_else(made: Made, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden")
    ask: Any = made.engine._ask
    with pytest.raises(RunError, match=r"disabled|Permission"):
        ask(LONG, f"SELECT ?, content FROM read_text('{secret}')")
    with pytest.raises(RunError, match=r"disabled|Permission"):
        ask(LONG, f"COPY (SELECT ?) TO '{tmp_path / 'out.csv'}'")
    base: Any = made.engine._base
    for change in ("SET threads = 1", "SET enable_external_access = true", "LOAD httpfs"):
        with pytest.raises(duckdb.Error, match=r"locked|disabled|Cannot"):
            base.execute(change)
    assert not (tmp_path / "out.csv").exists()


def test_a_question_ends_in_time(made: Made) -> None:
    with pytest.raises(StoppedError):
        made.engine.places(View(), Stop(0))
    slow = "SELECT count(*) FROM range(100000000000) a, range(999) b WHERE ? <> '' AND a.range = 3"
    with pytest.raises(StoppedError):
        made.engine._ask(Stop(0.2), slow)
    assert made.engine.places(View(), LONG, 0, 1).tolist() == [0]  # and it answers on


# --- downloads -----------------------------------------------------------------------------------


def stream(made: Made, asked: Filter) -> Iterator[pa.RecordBatch]:
    return downloads.batches(made.held, made.engine.places(View(asked), LONG), LONG)


def test_parquet_and_json_hold_whole_rows(made: Made) -> None:
    asked = Filter(kept="dropped", source="human")
    wanted = [made.rows[place] for place in oracle(made.rows, View(asked))]
    shape = pq.read_schema(made.run.accepted_file).remove_metadata()
    whole = b"".join(parquet_pieces(stream(made, asked), shape))
    table = pq.read_table(io.BytesIO(whole))
    assert table.column("id").to_pylist() == [row.id for row in wanted]
    assert table.schema.names == shape.names
    listed = orjson.loads(b"".join(downloads.json(stream(made, asked))))
    assert [row["id"] for row in listed] == [row.id for row in wanted]
    assert [len(row["responses"]) for row in listed] == [len(row.responses) for row in wanted]
    assert listed[0]["meta"] == wanted[0].meta
    assert b"".join(downloads.json(iter([]))) == b"[]\n"


def test_no_cell_of_a_csv_is_a_formula(made: Made) -> None:
    shape = pq.read_schema(made.run.accepted_file)
    text = b"".join(downloads.csv(stream(made, Filter()), shape, made.names)).decode()
    heading, *lines = csv.reader(io.StringIO(text))
    assert len(lines) == 300
    assert len({len(line) for line in lines} | {len(heading)}) == 1
    cells = [cell for line in lines for cell in line]
    bad = [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert not [cell for cell in bad if not _is_number(cell)]
    at = heading.index("r.one")
    assert [_number(line[at]) for line in lines] == [score(row, "r.one") for row in made.rows]
    empty = b"".join(downloads.csv(iter([]), shape, made.names)).decode()
    assert next(csv.reader([empty]))[0] == "id"


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def test_a_search_is_downloaded_to_its_end(made: Made) -> None:
    found = downloads.found(made.held, Search(made.held, "words"), LONG)
    ids = [identity for batch in found for identity in batch.column("id").to_pylist()]
    wanted = oracle(made.rows, View(Filter(q="words")))
    assert ids == [made.rows[place].id for place in wanted]


def test_a_download_takes_few_rows_at_a_time(made: Made) -> None:
    sizes = [batch.num_rows for batch in downloads.batches(made.held, None, LONG)]
    assert sum(sizes) == 300
    assert max(sizes) <= 37
    some = downloads.batches(made.held, np.array([0, 40, 299]), LONG)
    assert [b.num_rows for b in some] == [1, 1, 1]
