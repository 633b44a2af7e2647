"""json: strict JSON passes, bare or fenced, and must fit the row's schema."""

from __future__ import annotations

import json as stdlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.verifiers.base import Item, find

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


def check(response, schema=None, **options):
    meta = {} if schema is None else {"schema": schema}
    return find("json").verify(Item((), response, "stop", meta), **options)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | FINITE | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_what_python_writes_as_json_passes_bare_and_fenced(value, indent, ascii_only):
    text = stdlib.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert check(text).passed
    if "```" not in text and "~~~" not in text:
        assert check(f"Here you are:\n\n```json\n{text}\n```\n\nThat is all.").passed


@given(st.dictionaries(st.text(), SCALARS, min_size=1), st.data())
def test_a_value_cut_off_does_not_pass(value, data):
    text = stdlib.dumps(value)
    assert check(text[: data.draw(st.integers(0, len(text) - 1))]).passed is False


@pytest.mark.parametrize(
    "response",
    [
        "",
        "I cannot.",
        "{'a': 1}",
        '{"a": 1,}',
        '{"a": 1} // one',
        '{"a": NaN}',
        '{"a": 1e999}',
        "[01]",
        '{"a": 1} and more',
        '"\ud800"',
        "[" * 100_000 + "]" * 100_000,
        "```json\n{a: 1}\n```",
    ],
)
def test_what_is_not_json(response):
    assert check(response).passed is False


def test_two_members_of_one_name():
    verdict = check('{"b": {"a": 1, "c": 2, "a": 3}}')
    assert (verdict.passed, verdict.reason) == (False, "two members are named 'a'")


def test_which_block_is_read():
    assert check("```python\nx = {1}\n```\n```json\n[1]\n```\n```\nnot json\n```").passed
    assert check("```json\n[1\n```\nI mean\n```json\n[1]\n```").passed
    assert check("```json\n[1]\n```", fenced=False).passed is False
    assert check('["```json\\n[1\\n```"]').passed  # a fence inside a value is text


def test_the_schema():
    assert check('{"x": 1}', POINT).passed
    assert check('{"x": 1}', stdlib.dumps(POINT)).passed
    assert check('{"x": "1"}', POINT).reason == '[\'x\']: "1" is not of type "integer"'
    assert check("{}", POINT).reason == '"x" is a required property'
    assert check("[]", False).passed is False


@pytest.mark.parametrize("schema", ["{", 3, {"type": "nothing"}, {"$ref": "http://127.0.0.1:9/s"}])
def test_a_schema_that_cannot_be_used_decides_nothing(schema):
    verdict = check("{}", schema)
    assert verdict.passed is None
    assert verdict.reason.startswith("the row's schema cannot be used")
