"""Balance and coverage of a column's values."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.balance import balance


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 20), max_size=6))
def test_every_figure_is_in_its_range(counts):
    found = balance(counts)
    held = {value: count for value, count in counts.items() if count}
    assert found == json.loads(json.dumps(found))
    assert found["values"] == len(held)
    assert 0 <= found["evenness"] <= 1 + 1e-12
    assert found["effective"] <= len(held) + 1e-9
    if held:
        assert found["largest"] == max(held.values()) / sum(held.values())
        assert held[found["commonest"]] == max(held.values())
        assert found["effective"] >= 1 - 1e-9


def test_equal_shares_one_value_and_none():
    assert balance({"a": 5, "b": 5, "c": 5})["evenness"] == pytest.approx(1)
    assert balance({"a": 5, "b": 5, "c": 5})["effective"] == pytest.approx(3)
    assert balance({"a": 5})["evenness"] == balance({"a": 5})["effective"] == 1
    assert balance({}) == {
        "values": 0, "evenness": 0.0, "effective": 0.0, "largest": 0.0, "commonest": "",
    }  # fmt: skip


def test_evenness_by_hand():
    found = balance({"a": 3, "b": 1})
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["evenness"] == pytest.approx(entropy / math.log(2))
    assert found["effective"] == pytest.approx(math.exp(entropy))
    assert (found["largest"], found["commonest"]) == (0.75, "a")


@pytest.mark.parametrize(
    ("counts", "expected", "coverage", "missing"),
    [
        ({"a": 1, "b": 2}, ["a", "b"], 1.0, 0),
        ({"a": 1}, ["a", "b", "b", "c", "d"], 0.25, 3),
        ({"a": 1, "x": 1, "b": 0}, ["a", "b"], 0.5, 1),
        ({}, [], 1.0, 0),
        ({}, ["a"], 0.0, 1),
    ],
)
def test_coverage(counts, expected, coverage, missing):
    found = balance(counts, expected)
    assert (found["coverage"], found["missing"]) == (pytest.approx(coverage), missing)
