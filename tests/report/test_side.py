"""A side of a comparison as columns: the same as row by row, whatever the rows hold."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karat.columns import first_kept
from karat.curation.shingles import digests, normalise
from karat.errors import RecipeError
from karat.report.differences import between, matched
from karat.report.side import SHARES, WORDS, read_side, reasons
from karat.row import Message, Response, Row
from karat.table import from_batch, to_batch

sys.path.append(str(Path(__file__).parent.parent / "web"))

from rows_made import as_written, make_rows, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with every odd thing in its rows."""
    return write_run(tmp_path_factory.mktemp("side") / "run", make_rows(200))


def by_row(rows):
    """The same in plain Python."""
    asked = ["\n".join(m.content for m in row.messages if m.role != "system") for row in rows]
    chosen = [(row.kept() or [Response("")])[0] for row in rows]
    keys = lambda texts: digests(normalise(pa.array(texts, pa.string())))  # noqa: E731
    return keys(asked), keys([one.content for one in chosen]), asked, chosen


def test_columns_say_what_rows_say(run):
    side = read_side(run.path, "x")
    table = pq.read_table(run.accepted_file)
    rows = [row for batch in table.to_batches() for row in from_batch(batch)]
    prompts, answers, _, chosen = by_row(rows)
    assert side.rows == len(rows) > 40
    assert (side.prompts_N == prompts).all()
    assert (side.answers_N == answers).all()
    assert (side.places_N == np.arange(len(rows))).all()
    for key in ("r.one", "r.two", "odd key'\""):
        for found, one in zip(side.numbers[key], chosen, strict=True):
            value = one.scores.get(key, math.nan)
            assert found == value or (math.isnan(found) and not math.isfinite(value))
    assert side.shares["source"] == Counter(row.source for row in rows)
    assert side.shares["model"] == Counter(one.model or "given" for one in chosen)
    tasks = [row.meta["task"] for row in rows if isinstance(row.meta.get("task"), str)]
    assert side.shares["task"] == Counter(tasks)
    assert (side.numbers["responses a row"] == [len(row.responses) for row in rows]).all()
    assert set(side.scores).isdisjoint(WORDS)


def test_places_are_those_in_the_file_where_some_rows_are_dropped(run, tmp_path):
    path = tmp_path / "all.parquet"
    rows = [as_written(row) for row in make_rows(100)]
    pq.write_table(pa.Table.from_batches([to_batch(rows)]), path)
    side = read_side(path)
    assert side.places_N.tolist() == [i for i, row in enumerate(rows) if row.dropped is None]
    assert side.name == str(path)


def test_a_file_of_anybody_is_read_the_same(tmp_path):
    path = tmp_path / "set.jsonl"
    asks = [f"Say   {i}, please" for i in range(5)]
    lines = [{"prompt": ask, "response": f"two words {i}"} for i, ask in enumerate(asks)]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    side = read_side(path)
    assert side.numbers["words of the answer"].tolist() == [3.0] * 5
    assert side.numbers["words of the prompt"].tolist() == [3.0] * 5
    rows = [Row("a", [Message("system", "be kind"), Message("user", asks[3].upper())])]
    pq.write_table(pa.Table.from_batches([to_batch(rows)]), tmp_path / "one.parquet")
    other = read_side(tmp_path / "one.parquet")
    assert matched(side.prompts_N, other.prompts_N).tolist() == [[3, 0]]


@pytest.mark.parametrize("key", ["response", "completion"])
def test_rows_of_a_file_that_cannot_be_taken_are_counted(tmp_path, key):
    """One in the first rows, from which the columns are told, is a row like any other."""
    answers = ["fine", [{"role": "assistant", "content": "\0"}], "\0", "good"]
    lines = [{"prompt": f"ask {i}", key: one} for i, one in enumerate(answers)]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    side = read_side(tmp_path / "a.jsonl")
    assert side.rows == 2
    assert side.left_out == {"NUL in the text": 2}


def test_answers_cut_off_are_counted(tmp_path):
    rows = [
        Row("a", responses=[Response("x", finish_reason="length"), Response("y", kept=True)]),
        Row("b", responses=[Response("x", finish_reason="length", kept=True)]),
        Row("c", responses=[Response("x", finish_reason="length")]),
    ]
    pq.write_table(pa.Table.from_batches([to_batch(rows)]), tmp_path / "a.parquet")
    assert read_side(tmp_path / "a.parquet").cut_off == 2
    assert len(first_kept(to_batch(rows).column("responses"))) == 3


def test_of_a_prompt_that_comes_twice_the_last_counts_and_the_order_is_the_first_ones():
    a, b = np.array([7, 5, 7, 9], np.uint64), np.array([9, 7, 1, 9], np.uint64)
    assert matched(a, b).tolist() == [[2, 1], [3, 3]]
    nothing = np.zeros(0, np.uint64)
    assert matched(a, nothing).tolist() == matched(nothing, a).tolist() == []


def test_reasons_count_each_prompt_once(run):
    dropped = pq.read_table(run.dropped_file)
    rows = [row for batch in dropped.to_batches() for row in from_batch(batch)]
    keys, *_ = by_row(rows)
    first = {}
    for key, row in zip(keys.tolist(), rows, strict=True):
        first.setdefault(key, row.dropped.partition(" (")[0])
    assert reasons(run.dropped_file, keys) == Counter(first.values())
    assert reasons(run.dropped_file, np.array([1], np.uint64)) == Counter()


def test_a_run_against_itself_differs_in_nothing(run):
    side = read_side(run.path)
    found = between(side, side, run.dropped_file, run.dropped_file)
    assert (found.answered, found.gone, found.new) == (0, {}, {})
    for one, other in [both for name in found.shares for both in found.shares[name].values()]:
        assert one == other
    assert set(found.shares) <= set(SHARES)


def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path, run):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "recipe.yaml").write_text("name: r\n")
    with pytest.raises(RecipeError, match="run it to the end"):
        read_side(tmp_path / "r")
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(run.accepted_file.read_bytes()[:-50])
    with pytest.raises(RecipeError, match="is not Parquet"):
        read_side(torn)
