"""Columns against plain loops over rows: sliced arrays, dropped rows, empty lists."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.columns import (
    Table,
    best_texts,
    first_kept,
    joined_texts,
    last_texts,
    score_values,
)
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.table import to_batch

TEXT = st.text("ab", max_size=3)
FLAGS = st.none() | st.booleans()
KEYS = st.dictionaries(st.sampled_from(["r.a", "r.b"]), st.floats(-4, 4), max_size=2)
ROW = st.builds(
    Row, st.just(""), st.lists(st.builds(Message, st.just("user"), TEXT), max_size=3),
    st.lists(st.builds(Response, TEXT, scores=KEYS, kept=FLAGS), max_size=4),
    dropped=st.none() | st.none() | st.just("earlier: bad"),
)  # fmt: skip
ROWS = st.lists(ROW, max_size=8)


@st.composite
def sliced(draw):
    """Rows, and the slice of a longer batch that holds them."""
    rows = draw(ROWS)
    start = draw(st.integers(0, len(rows)))
    length = draw(st.integers(0, len(rows) - start))
    return rows[start : start + length], to_batch(rows).slice(start, length)


def first_kept_of(row):
    """The response the docstring names, by its place in the row."""
    chosen = [i for i, response in enumerate(row.responses) if response.kept]
    if chosen:
        return chosen[0]
    return 0 if row.responses and all(r.kept is None for r in row.responses) else None


@given(sliced())
def test_first_kept_is_the_flat_place_of_the_first_kept_response(case):
    rows, batch = case
    starts = itertools.accumulate((len(row.responses) for row in rows), initial=0)
    places = [(start, first_kept_of(row)) for start, row in zip(starts, rows, strict=False)]
    wanted = [None if place is None else start + place for start, place in places]
    assert first_kept(batch.column("responses")).to_pylist() == wanted


@given(sliced())
def test_texts_of_rows(case):
    rows, batch = case
    messages, responses = batch.column("messages"), batch.column("responses")
    last = [row.messages[-1].content if row.messages else None for row in rows]
    assert last_texts(messages).to_pylist() == last
    assert joined_texts(messages).to_pylist() == [
        "\n".join(m.content for m in r.messages) for r in rows
    ]
    places = [first_kept_of(row) for row in rows]
    best = [
        None if p is None else r.responses[p].content for r, p in zip(rows, places, strict=True)
    ]
    assert best_texts(responses).to_pylist() == best


@given(sliced(), st.sampled_from(["r.a", "r.b", "r.none"]))
def test_scores_by_key(case, key):
    rows, batch = case
    found = score_values(batch.column("responses").flatten().field("scores"), key)
    wanted = [r.scores.get(key, np.nan) for row in rows for r in row.responses]
    np.testing.assert_array_equal(found, np.array(wanted, np.float64))


def stage(folder, rows):
    for number, row in enumerate(rows):
        row.id = f"{number:03d}"
    path = folder / "stage.parquet"
    writer = StageWriter(path)
    writer.add(rows)
    writer.close({})
    return path


@pytest.fixture(params=[1024, 3])
def small_batches(request, monkeypatch):
    """Stages read in one batch, and in many small ones."""
    monkeypatch.setattr("karat.columns.READ_ROWS", request.param)


@pytest.mark.usefixtures("small_batches")
def test_a_table_shows_live_rows_in_order(tmp_path_factory):
    @settings(max_examples=25)
    @given(ROWS)
    def check(rows):
        path = stage(tmp_path_factory.mktemp("columns"), rows)
        table, live = Table(path), [row for row in rows if row.dropped is None]
        assert table.count() == len(live)
        assert table.responses() == sum(len(row.responses) for row in live)
        assert table.ids() == [row.id for row in live]
        prompts = [row.messages[-1].content if row.messages else "" for row in live]
        assert [t for batch in table.texts("prompt") for t in batch] == prompts
        counts, values = table.scores("r.a")
        assert counts.tolist() == [len(row.responses) for row in live]
        wanted = [r.scores.get("r.a", np.nan) for row in live for r in row.responses]
        np.testing.assert_array_equal(values, np.array(wanted, np.float64))

    check()


def test_an_array_without_rows():
    empty = to_batch([])
    assert first_kept(empty.column("responses")).to_pylist() == []
    assert last_texts(empty.column("messages")).to_pylist() == []
    assert joined_texts(empty.column("messages")).to_pylist() == []
    bare = pa.array([], empty.schema.field("responses").type)
    assert first_kept(bare).to_pylist() == []
    assert score_values(bare.flatten().field("scores"), "r.a").tolist() == []
