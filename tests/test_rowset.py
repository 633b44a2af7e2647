"""Rows of a run: the same whichever way they are asked for, and as frames."""

from __future__ import annotations

import sys

import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cells import safe
from conftest import rows_of
from folded import folded
from hypothesis import given, settings
from hypothesis import strategies as st
from seen_run import seen_run
from server import Server

import karat
from karat import Message, RecipeError, Response, Row
from karat.flat import flat_table
from karat.row import row_id
from karat.table import SCHEMA, from_batch, to_batch


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The run of the tests of pages, in parts."""
    return folded(seen_run(), tmp_path_factory.mktemp("parts") / "seen")


@pytest.mark.parametrize("where", ["one", "parts"])
def test_rows_are_those_on_disk_whichever_way_they_are_asked_for(where, parts):
    run = seen_run() if where == "one" else parts
    rows, want = run.accepted, rows_of(seen_run().accepted_file)
    assert (len(rows), rows.num_rows, bool(rows)) == (len(want), len(want), True)
    assert list(rows) == want
    assert [rows[i] for i in range(len(want))] == want
    assert rows[-1] == want[-1]
    assert rows[::-1] == want[::-1]
    assert rows[2:9:3] == want[2:9:3]
    assert rows[5:5] == []
    assert rows["id"].to_pylist() == [row.id for row in want]
    assert rows.select(["id", "score"]).column_names == ["id", "score"]
    assert rows.column_names[:3] == rows.schema.names[:3] == ["prompt", "response", "score"]
    assert rows.to_arrow().equals(pq.read_table(seen_run().accepted_file))
    assert rows.equals(seen_run().accepted)
    assert not rows.equals(run.dropped)
    assert [line["id"] for line in rows.to_pylist()] == [row.id for row in want]


def test_what_takes_arrow_takes_rows_as_they_are():
    rows = seen_run().accepted
    assert polars.DataFrame(rows).height == pa.table(rows).num_rows == len(rows)
    assert rows.to_polars().columns == rows.column_names


@pytest.mark.parametrize(
    ("key", "error", "said"),
    [
        (10**6, IndexError, "there are"),
        ("promt", KeyError, "did you mean 'prompt'"),
        (1.5, TypeError, "a slice such as"),
        (None, TypeError, "the name of a column"),
    ],
)
def test_a_wrong_index_is_told_in_words(key, error, said):
    with pytest.raises(error, match=said):
        seen_run().accepted[key]


def test_a_wrong_name_is_answered_with_the_right_one():
    rows = seen_run().accepted
    with pytest.raises(AttributeError, match="did you mean 'to_pandas'"):
        rows.to_panda  # noqa: B018
    with pytest.raises(AttributeError, match=r"rows\.to_arrow\(\)\.group_by"):
        rows.group_by  # noqa: B018
    with pytest.raises(ValueError, match="True for one line a row, or 'responses'"):
        rows.to_arrow(flat="rows")


@pytest.mark.parametrize(
    ("method", "package", "said"),
    [("to_pandas", "pandas", r"pip install 'karat\[frames\]'"),
     ("to_polars", "polars", r"pip install 'karat\[frames\]'"),
     ("to_hf", "datasets", r"pip install 'karat\[hf\]'")],
)  # fmt: skip
def test_a_library_that_is_missing_is_told_with_its_cure(monkeypatch, method, package, said):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecipeError, match=f"{method} needs {package}: {said}"):
        getattr(seen_run().accepted, method)()


def test_a_flat_frame_has_a_line_a_row_with_its_best_response():
    rows = seen_run().accepted
    frame = rows.to_pandas(flat=True)
    assert len(frame) == len(rows)
    assert list(frame.columns[:4]) == ["id", "prompt", "response", "model"]
    for line, row in zip(frame.to_dict("records"), rows, strict=True):
        (best,) = row.kept()
        assert (line["prompt"], line["response"]) == (row.prompt, best.content)
        assert line["model"] == best.model
        assert {k: line[k] for k in best.scores} == best.scores
        assert line["meta.topic"] == row.meta["topic"]
    assert frame["mine.reward"].min() >= 2.5


def test_a_flat_frame_has_a_line_a_response():
    rows = seen_run().dropped
    frame = rows.to_polars(flat="responses")
    want = [(row, one) for row in rows for one in row.responses]
    assert frame.height == len(want)
    for line, (row, one) in zip(frame.to_dicts(), want, strict=True):
        assert (line["id"], line["response"], line["index"]) == (row.id, one.content, one.index)
        assert (line["kept"], line["dropped"]) == (one.kept, row.dropped)
        assert all(line[key] == value for key, value in one.scores.items())
    assert rows.to_polars(flat=True).height == len(rows)


KEYS = st.sampled_from(["a.reward", "b.reward", "id", "meta", "prompt", "x.y"])
RESPONSES = st.builds(
    Response, content=st.text(max_size=4), model=st.sampled_from(["", "m"]),
    scores=st.dictionaries(KEYS, st.floats(-9, 9), max_size=3),
    kept=st.sampled_from([None, True, False]),
)  # fmt: skip
VALUES = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(), st.text(max_size=3), st.lists(st.integers(0, 9), max_size=2), st.none(),
)  # fmt: skip
METAS = st.dictionaries(st.sampled_from(["topic", "n", "", "a.b"]), VALUES, max_size=3)


def made_row(number, responses, meta):
    turns = [Message("user", f"p{number}")]
    return Row(f"{row_id(turns, {})}{number}", turns, responses, meta=meta)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.lists(RESPONSES, max_size=3), METAS), max_size=6), st.integers(1, 4))
def test_flat_tables_hold_what_rows_hold(made, size):
    """Against the rows themselves, cut into batches anyhow."""
    rows = [made_row(number, *one) for number, one in enumerate(made)]
    batches = []
    for start in range(0, len(rows), size):
        batch = to_batch(rows[start : start + size])
        prompts = pa.array([row.prompt for row in rows[start : start + size]], pa.string())
        batches.append(batch.append_column("prompt", prompts))
    (stored,) = [[row for batch in batches for row in rows_in(batch)]]
    flat = flat_table(batches, each_response=True).to_pylist()
    assert [(line["id"], line["response"]) for line in flat] == [
        (row.id, one.content) for row in stored for one in row.responses
    ]
    for line, one in zip(flat, (r for row in stored for r in row.responses), strict=True):
        for key, value in one.scores.items():
            held = line[f"scores.{key}"] if key in ("id", "meta", "prompt") else line[key]
            assert held == value
    lines = flat_table(batches, each_response=False).to_pylist()
    assert [line["id"] for line in lines] == [row.id for row in stored]
    for line, row in zip(lines, stored, strict=True):
        kept = row.kept()
        assert line["response"] == (kept[0].content if kept else None)
        for key, value in row.meta.items():
            if isinstance(value, str | int | float):
                assert line[f"meta.{key}"] in (value, str(value), float(value) if type(value) is int
                                               else value)  # fmt: skip


def rows_in(batch):
    return from_batch(batch.select(SCHEMA.names))


def test_a_dataset_is_one_without_a_file_of_its_own():
    rows = seen_run().accepted
    data = rows.to_hf()
    assert data.num_rows == len(rows)
    assert data[0]["prompt"] == rows[0].prompt
    assert data.cache_files == []
    assert rows.to_hf(flat=True).column_names[:2] == ["id", "prompt"]


def test_a_run_that_accepted_nothing_has_rows_that_are_none(user_module, make_recipe, tmp_path):
    user_module("mine_none", "@step\nasync def f(row, ctx):\n row.dropped = 'no'\n return row\n")
    steps = [{"read": {"path": "prompts.jsonl"}}, "mine_none:f"]
    run = karat.run(make_recipe(steps=steps), tmp_path / "out")
    rows = run.accepted
    assert (len(rows), list(rows), rows[:3], bool(rows)) == (0, [], [], False)
    assert rows.to_pandas(flat=True).empty
    assert rows.to_polars(flat="responses").columns[:4] == ["id", "prompt", "response", "model"]
    assert "0 accepted rows" in safe(rows._repr_html_())
    assert "0 accepted, 10 dropped" in safe(run._repr_html_())
    assert "f: no" in safe(run.dropped._repr_html_())
    assert len(run.dropped.to_pandas(flat=True)) == 10  # a row without a response has its line
    assert run.dropped.to_polars(flat="responses").height == 0
    with pytest.raises(IndexError, match="there are 0 rows"):
        rows[0]


def test_rows_read_what_is_there_now(make_recipe, tmp_path):
    with Server() as server:
        run = karat.run(make_recipe(server.model(), 3), tmp_path / "out")
        rows = run.accepted
        karat.run(make_recipe(server.model(), 5), tmp_path / "out")
    assert len(rows) == 5
