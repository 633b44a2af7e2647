"""reject and pairs decide on the parts of a table as on all of it, to the last bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parting import same

from karat.row import Message, Response, Row
from karat.steps.pairs import pairs
from karat.steps.reject import reject

FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karat.columns.READ_ROWS", 16)


def graded(count: int, seed: int = 0) -> list[Row]:
    """Rows of three models and five tasks with scores whose sums round differently in any order."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        responses = []
        for place in range(rng.randrange(6)):
            base = rng.gauss(2, 1) * 10 ** rng.randrange(-6, 3)
            scores = {"r.reward": base, "s.score": rng.gauss(0, 3), "bt.reward": 1e7 + base}
            if rng.random() < 0.1:
                del scores["r.reward"]
            kept = rng.choice([None, None, True, False])
            text = f"answer {rng.randrange(4)}"
            responses.append(Response(text, f"m{place % 3}", place, scores=scores, kept=kept))
        meta = {"task": f"t{rng.randrange(5)}"} if rng.random() < 0.9 else {}
        dropped = "read: no prompt" if rng.random() < 0.05 else None
        ask = [Message("user", f"question {number}")]
        rows.append(Row(f"row{number}", ask, responses, meta=meta, dropped=dropped))
    return rows


REJECTIONS: dict[str, dict[str, Any]] = {
    "best": {"by": "r.reward"},
    "minimum": {"by": "r.reward", "minimum": 1.0, "minimum_sigma": 0.1, "ties": "all"},
    "margin": {"by": "r.reward", "margin_sigma": 0.2, "best": 2, "per": "task"},
    "top": {"by": "r.reward", "top_share": 0.3, "ties": "shortest"},
    "top of each": {"by": "r.reward", "top_share": 0.4, "per": ["task"], "also": {"s.score": 4.0}},
    "floors": {"by": "r.reward", "floors": {"s.score": -1.0}, "per": ["task", "none"]},
    "sum": {"weights": {"r.reward": 1.0, "s.score": -0.5}, "minimum_sigma": -0.5, "ties": "drop"},
    "within": {"by": "bt.reward", "margin_sigma": 0.1},
    "both": {"weights": {"bt.reward": 1.0, "r.reward": 0.5}},
    "drawn": {"by": "r.reward", "rule": "rso", "best": 2, "beta": 2.0},
    "no score": {"by": "x.reward", "per": "task"},
}


@pytest.mark.parametrize("name", sorted(REJECTIONS))
def test_reject_chooses_the_same_however_the_table_is_cut(tmp_path: Path, name: str) -> None:
    rows, notes = same(tmp_path, reject, graded(120), **REJECTIONS[name])
    assert any(row.dropped is None for row in rows) == (name != "no score")
    assert notes["kept"] == sum(
        bool(one.kept) for row in rows for one in row.responses if row.dropped is None
    )


PAIRINGS: dict[str, dict[str, Any]] = {
    "two sigma": {"by": "r.reward"},
    "extremes": {"by": "r.reward", "rule": "max_min", "n": 2, "minimum": 0.5},
    "moderate": {"by": "r.reward", "rule": "moderate_margin"},
    "margins": {"by": "bt.reward", "margin_sigma": [0.01, 1.0]},
    "sum": {"weights": {"r.reward": 1.0, "s.score": 1.0}, "margin_sigma": [0.5]},
    "no score": {"by": "x.reward"},
}


@pytest.mark.parametrize("name", sorted(PAIRINGS))
def test_pairs_are_the_same_however_the_table_is_cut(tmp_path: Path, name: str) -> None:
    rows, notes = same(tmp_path, pairs, graded(120, seed=1), **PAIRINGS[name])
    found = [row for row in rows if "pairs" in row.meta]
    assert len(found) == notes["rows"] == sum(row.dropped is None for row in rows)
    assert (notes["rows"] > 0) == (name != "no score")


def test_a_limit_in_sigma_cuts_at_the_same_place(tmp_path: Path) -> None:
    """The scores lie on mean + 0·σ to the last bit: summed in another order the mean moves."""
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7] * 9
    rows = [
        Row(f"row{i}", [], [Response(f"answer {i}", "m", scores={"r.reward": value})])
        for i, value in enumerate(values)
    ]
    after, notes = same(tmp_path, reject, rows, by="r.reward", minimum_sigma=0.0)
    assert notes["limit"] == 0.4
    assert sum(row.dropped is None for row in after) == 36


# --- any table, any cut --------------------------------------------------------------------------

SCORES = st.sampled_from([0.1, 0.1, 0.2, 0.3, 1e16, -1e-300, 7.0, float("nan"), None])
RESPONSES = st.builds(
    lambda text, model, score, other, kept: Response(
        text, model, kept=kept, scores={
            key: value for key, value in (("r.reward", score), ("s.score", other))
            if value is not None
        },
    ),
    st.sampled_from(["", " \n", "one", "one ", "two", "three"]), st.sampled_from(["a", "b", ""]),
    SCORES, SCORES, st.sampled_from([None, None, True, False]),
)  # fmt: skip
TABLES = st.lists(
    st.tuples(
        st.lists(RESPONSES, max_size=5), st.sampled_from([None, None, None, "gone"]),
        st.sampled_from([{}, {"task": "a"}, {"task": 1}, {"task": "1"}, {"task": None}]),
    ),
    max_size=14,
)  # fmt: skip


def numbered(table: list[tuple[list[Response], str | None, dict[str, Any]]]) -> list[Row]:
    return [
        Row(f"row{i}", [], responses, meta=meta, dropped=dropped)
        for i, (responses, dropped, meta) in enumerate(table)
    ]


@st.composite
def cut_tables(draw: st.DrawFn) -> tuple[list[Row], list[int]]:
    """Rows and where they are cut; some parts are empty."""
    rows = numbered(draw(TABLES))
    return rows, sorted(draw(st.lists(st.integers(0, len(rows)), min_size=1, max_size=4)))


@FEW
@given(
    cut_tables(),
    st.fixed_dictionaries({}, optional={
        "minimum_sigma": st.sampled_from([-0.5, 0.0]), "top_share": st.sampled_from([0.3, 0.5]),
        "per": st.just("task"), "best": st.just(2), "margin_sigma": st.sampled_from([0.0, 0.5]),
        "ties": st.sampled_from(["shortest", "drop", "all"]), "floors": st.just({"s.score": 0.2}),
    }),
    st.sampled_from([{"by": "r.reward"}, {"weights": {"r.reward": 1.0, "s.score": 2.0}}]),
)  # fmt: skip
def test_reject_on_any_parts(tmp_path_factory, made, params, by) -> None:
    rows, cut = made
    same(tmp_path_factory.mktemp("reject"), reject, rows, [cut], **by, **params)


@FEW
@given(
    cut_tables(),
    st.fixed_dictionaries({}, optional={
        "rule": st.sampled_from(["max_min", "moderate_margin"]), "n": st.just(2),
        "margin_sigma": st.sampled_from([[0.0], [0.1, 0.5]]), "minimum": st.just(0.2),
    }),
    st.sampled_from([{"by": "r.reward"}, {"weights": {"r.reward": 1.0, "s.score": 2.0}}]),
)  # fmt: skip
def test_pairs_on_any_parts(tmp_path_factory, made, params, by) -> None:
    rows, cut = made
    same(tmp_path_factory.mktemp("pairs"), pairs, rows, [cut], **by, **params)
