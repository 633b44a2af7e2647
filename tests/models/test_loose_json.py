"""JSON in the dress models give it: what it means is read, what it might mean is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.models.loose_json import MAX_STARTS, read_values

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAF | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
BRACKETED = VALUES.filter(lambda value: isinstance(value, dict | list))
PROSE = st.text(st.characters(exclude_characters="[]{}`", exclude_categories=("Cs",)), max_size=30)


def read(text, close=True):
    """The values of the first reading that holds any."""
    return next((found for found in read_values(text, close=close) if found), [])


def only(text, close=True):
    ((value, repairs),) = read(text, close)
    return value, repairs


def python_style(value):
    """The value as Python's own words and single quotes, with a comma after every item."""
    if isinstance(value, dict):
        items = (f"{python_style(k)}: {python_style(v)}," for k, v in value.items())
        return "{" + " ".join(items) + "}"
    if isinstance(value, list):
        return "[" + " ".join(f"{python_style(v)}," for v in value) + "]"
    if isinstance(value, str):
        inner = json.dumps(value)[1:-1].replace('\\"', '"').replace("'", "\\'")
        return f"'{inner}'"
    return repr(value)


@given(VALUES)
def test_json_is_read_as_it_is(value):
    assert only(json.dumps(value)) == (value, ())
    assert only(f" \n{json.dumps(value, indent=1, ensure_ascii=False)}\n") == (value, ())


@given(VALUES, PROSE, PROSE, st.sampled_from(["json", "JSON", "", " json "]))
def test_a_fence_comes_off(value, before, after, name):
    text = f"{before}\n```{name}\n{json.dumps(value, indent=2)}\n```\n{after}"
    found, repairs = only(text)
    assert found == value
    assert repairs == ("fence",)


@given(BRACKETED, PROSE, PROSE)
def test_prose_around_a_value_comes_off(value, before, after):
    found, repairs = only(f"Sure: {before}{json.dumps(value)}{after}.")
    assert found == value
    assert repairs == ("text around it",)


@given(BRACKETED)
def test_single_quotes_pythons_words_and_trailing_commas_are_read(value):
    found, repairs = only(python_style(value))
    assert found == value
    if value:
        assert "trailing comma" in repairs


@given(BRACKETED.filter(bool))
def test_open_brackets_are_closed_unless_the_text_was_cut(value):
    text = json.dumps(value).rstrip("]}")
    assert only(text, close=True)[0] == value
    whole = next(read_values(text, close=False), [])
    assert all(found != value for found, _ in whole)


@given(BRACKETED.filter(bool), st.integers(0, 200))
def test_a_cut_text_gives_nothing_that_was_not_whole(value, size):
    text = json.dumps(value)
    size = min(size, len(text) - 1)
    for found in read_values(text[:size], close=False):
        for part, _ in found:  # a whole value within, such as a list in a list: never the outer one
            assert json.dumps(part) in text[1:]


@pytest.mark.parametrize(
    ("text", "value", "repair"),
    [
        ('{"a": "one\ntwo"}', {"a": "one\ntwo"}, "line break in a string"),
        ('{"a": True, "b": None}', {"a": True, "b": None}, "Python's words"),
        ("{'a': 'the dog\\'s \"bone\"'}", {"a": 'the dog\'s "bone"'}, "single quotes"),
        ("{'a': 'it's here'}", {"a": "it's here"}, "single quotes"),
        ("{'a': 'C:\\\\'}", {"a": "C:\\"}, "single quotes"),
        ('{"a": [1, 2', {"a": [1, 2]}, "open bracket"),
        ('{"a": 1} // note', {"a": 1}, "text around it"),
        ('<think>x</think>{"a": 1}', {"a": 1}, "text around it"),
        ('```json {"a": 1}```', {"a": 1}, "text around it"),
    ],
)
def test_repairs_are_named(text, value, repair):
    found, repairs = only(text)
    assert found == value
    assert repair in repairs


@pytest.mark.parametrize(
    "text",
    ["", "  ", "I do not know.", '{"a" 1}', '{"a": }', "{a: 1}", '{"a": 1 "b": 2}', '{"a": "x',
     '{"a": NaN}', '{"a": 01}', '{"a": tru}', '{"a": 1x}', "{'a': 'b', c'}", "['a", "{'a': 'x\\",
     '{"a": 1, \'a\': 2}', '[1,, 2]', "```\n```", "Infinity", "{]"],
)  # fmt: skip
def test_what_could_mean_anything_means_nothing(text):
    assert read(text) == []


def test_every_value_in_prose_is_given_and_none_within_another():
    assert [value for value, _ in read('First [1], then {"a": [2]}.')] == [[1], {"a": [2]}]


def test_a_wall_of_brackets_is_given_up_on():
    assert read("[" * 100_000) == []
    assert read("{" * MAX_STARTS + '{"a": 1}') == []
    assert read("{" * (MAX_STARTS - 1) + '{"a": 1}')[0][0] == {"a": 1}
