"""A decision written into a stage, against plain loops over its rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat import RunError
from karat.columns import Decision
from karat.decided import apply_decision
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.table import from_batch

TEXT = st.text("ab", max_size=3)
KEYS = st.dictionaries(st.sampled_from(["r.a", "r.b"]), st.floats(-4, 4), max_size=2)
ROW = st.builds(
    Row, st.just(""), st.lists(st.builds(Message, st.just("user"), TEXT), max_size=3),
    st.lists(
        st.builds(Response, TEXT, scores=KEYS, kept=st.none() | st.booleans()), max_size=4
    ),
    meta=st.dictionaries(st.sampled_from("xy"), st.integers(0, 9), max_size=2),
    dropped=st.none() | st.none() | st.just("earlier: bad"),
)  # fmt: skip
ROWS = st.lists(ROW, max_size=8)
VALUE = st.just(math.nan) | st.floats(-9, 9)


def stage(folder, rows):
    path = folder / "stage.parquet"
    writer = StageWriter(path)
    for number, row in enumerate(rows):
        row.id = f"r{number}"
    writer.add(rows)
    writer.close({})
    return path


@pytest.mark.parametrize("size", [1024, 3])
def test_reasons_flags_scores_and_fields_reach_live_rows_only(tmp_path_factory, monkeypatch, size):
    monkeypatch.setattr("karat.decided.READ_ROWS", size)

    @settings(max_examples=40, deadline=None)
    @given(ROWS, st.data())
    def check(rows, data):
        path = stage(tmp_path_factory.mktemp("decided"), rows)
        live = [row for row in rows if row.dropped is None]
        flat = [response for row in live for response in row.responses]
        some = st.lists(VALUE, min_size=len(flat), max_size=len(flat))
        flags = st.lists(st.booleans(), min_size=len(flat), max_size=len(flat))
        drop = {row.id: "bad (1)" for row in rows if data.draw(st.booleans())}
        meta = {row.id: {"x": 10, "z": [1]} for row in rows if data.draw(st.booleans())}
        keep = data.draw(st.none() | flags)
        scores = data.draw(st.dictionaries(st.sampled_from(["r.a", "new"]), some))
        decision = Decision(
            drop, None if keep is None else np.array(keep, bool),
            {key: np.array(values, float) for key, values in scores.items()}, meta,
        )  # fmt: skip
        found, reasons = [], []
        for batch, here in apply_decision(path, decision, "pick"):
            batch.validate(full=True)
            found += from_batch(batch)
            reasons += here
        for place, response in enumerate(flat):
            if keep is not None:
                response.kept = keep[place]
            new = {key: values[place] for key, values in scores.items()}
            response.scores |= {key: value for key, value in new.items() if not math.isnan(value)}
        for row in live:
            row.meta |= meta.get(row.id, {})
            if row.id in drop:
                row.dropped = "pick: bad (1)"
        assert found == rows
        assert reasons == ["bad (1)"] * sum(row.id in drop for row in live)

    check()


@pytest.mark.parametrize("surplus", [-1, 1])
@pytest.mark.parametrize("what", ["keep", "scores"])
def test_a_decision_with_too_few_or_too_many_values_is_refused(tmp_path, what, surplus):
    path = stage(tmp_path, [Row("", responses=[Response("x"), Response("y")])])
    values = np.ones(2 + surplus)
    decision = Decision(keep=values > 0) if what == "keep" else Decision(scores={"r.a": values})
    with pytest.raises(RunError, match=f"step 'pick': {what}.* must have one value per response"):
        list(apply_decision(path, decision, "pick"))
