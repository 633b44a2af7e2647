"""Rows into Arrow and back: nothing is lost but what UTF-8 and JSON cannot hold."""

from __future__ import annotations

import datetime
import json
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.row import Message, Response, Row
from karat.table import SCHEMA, from_batch, plain, to_batch

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
FLOAT = st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
RESPONSES = st.builds(
    Response, TEXT, TEXT, st.integers(0, 2**31 - 1), TEXT, TEXT,
    st.dictionaries(TEXT, FLOAT, max_size=2), st.none() | st.booleans(),
)  # fmt: skip
ROWS = st.lists(
    st.builds(
        Row, TEXT, st.lists(st.builds(Message, TEXT, TEXT), max_size=2),
        st.lists(RESPONSES, max_size=3), TEXT, st.dictionaries(TEXT, JSON, max_size=2),
        st.lists(TEXT, max_size=2), st.none() | TEXT, st.booleans(),
    ),
    max_size=6,
)  # fmt: skip


@given(ROWS, st.data())
def test_rows_come_back_whole_and_in_slices(rows, data):
    batch = to_batch(rows)
    assert batch.schema == SCHEMA
    batch.validate(full=True)
    assert from_batch(batch) == rows
    start = data.draw(st.integers(0, len(rows)))
    length = data.draw(st.integers(0, len(rows) - start))
    assert from_batch(batch.slice(start, length)) == rows[start : start + length]


@given(ROWS)
def test_rows_come_back_from_parquet(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "rows.parquet"
    pq.write_table(pa.Table.from_batches([to_batch(rows)]), path)
    found = [row for batch in pq.read_table(path).to_batches() for row in from_batch(batch)]
    assert found == rows


def test_a_lone_surrogate_becomes_a_question_mark_wherever_it_stands():
    bad = "a\ud83db"
    row = Row(
        "x", [Message("user", bad)], [Response(bad, bad, 0, bad, bad, {bad: 1.0})], bad,
        {"k": bad, bad: [bad]}, [bad], bad,
    )  # fmt: skip
    (found,) = from_batch(to_batch([row]))
    good = "a?b"
    assert found == Row(
        "x", [Message("user", good)], [Response(good, good, 0, good, good, {good: 1.0})], good,
        {"k": good, good: [good]}, [good], good,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "stands"),
    [
        (2**64, lambda v: str(v) in (str(2**64), str(float(2**64)))),
        (-(2**200), lambda v: float(v) == float(-(2**200))),
        (datetime.date(2024, 2, 3), lambda v: v == "2024-02-03"),
        (UUID(int=5), lambda v: v == str(UUID(int=5))),
        (b"ab", lambda v: "ab" in v),
        ((1, 2), lambda v: v == [1, 2]),
        ({1: 2}, lambda v: v == {"1": 2}),
        ({3}, lambda v: isinstance(v, str)),
        (2**63, lambda v: v == 2**63),
        (np.float64(0.5), lambda v: v == 0.5),
        (np.arange(2), lambda v: v == [0, 1]),
        (np.datetime64("2024-02-03"), lambda v: v == "2024-02-03"),
        (np.longdouble(2), lambda v: v == "2.0"),
        (float("inf"), lambda v: v is None or isinstance(v, str)),
    ],
)
def test_meta_beyond_json_is_kept_as_the_nearest_json(value, stands):
    (found,) = from_batch(to_batch([Row("x", meta={"k": value, "other": "kept"})]))
    assert stands(found.meta["k"])
    assert found.meta["other"] == "kept"


@given(JSON)
def test_plain_leaves_json_alone(value):
    assert plain(value) == value
    json.dumps(plain(value))


def test_no_rows_make_an_empty_batch():
    assert from_batch(to_batch([])) == []
    assert to_batch([]).num_rows == 0


def test_polars_and_duckdb_read_the_schema(tmp_path):
    import duckdb
    import polars

    path = tmp_path / "rows.parquet"
    rows = [Row("a", [Message("user", "hi")], [Response("yo", scores={"r.x": 2.5})]), Row("b")]
    pq.write_table(pa.Table.from_batches([to_batch(rows)]), path)
    assert polars.read_parquet(path)["responses"][0][0]["scores"][0]["value"] == 2.5
    query = "select id, responses[1].content from read_parquet(?) order by id"
    with duckdb.connect() as base:
        assert base.execute(query, [str(path)]).fetchall() == [("a", "yo"), ("b", None)]
