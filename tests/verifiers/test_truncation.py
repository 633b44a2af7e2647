"""truncation: what stops before its end fails; lists, verses and code need no full stop."""

from __future__ import annotations

import json

import pytest
from answers_read import RATINGS, item, rated
from hypothesis import given
from hypothesis import strategies as st

from karat.verifiers.truncation import _open_json, verify

WHOLE = "Bread needs flour, water and salt. Knead it well, let it rise, and bake it in a hot oven."


def test_a_token_limit_is_an_end_that_is_none():
    assert verify(item(WHOLE, finish_reason="length")).passed is False
    assert verify(item(WHOLE, finish_reason="stop")).passed is True
    assert verify(item(WHOLE)).passed is True
    assert verify(item(WHOLE), full_stops=True).passed is True


UNFINISHED = [
    "Bread needs flour, water and salt. Knead it well, let it rise, and bake it in a hot",
    f"{WHOLE}\n\n{WHOLE}\n\nOf the many kinds of flour that a baker can buy the most",
    f"1. {WHOLE}\n2. {WHOLE}\n3. Of the many kinds of flour that a baker can buy most",
    "面包需要面粉、水和盐。把面团揉匀，让它在温暖的地方发酵，然后放进很热的",
]


@pytest.mark.parametrize("text", UNFINISHED, ids=range(len(UNFINISHED)))
def test_a_missing_full_stop_fails_where_that_is_asked_and_the_model_did_not_say_it_was_done(text):
    assert verify(item(text)).passed is None
    assert verify(item(text), full_stops=True).passed is False
    assert verify(item(text, finish_reason="stop"), full_stops=True).passed is True


CUT = [
    "Bread needs flour, water and",
    "Bread needs flour, water, salt and time, and an oven that is hot,",
    f"{WHOLE}\n\n```python\nprint(1)",
    f"{WHOLE}\n\n~~~~\n~~~\nx",
    '{"name": "Ann", "tags": ["a", "b"',
    '{"name": "Ann says \\"no\\", {',
    "Here are the five steps that you need for a good loaf of bread:",
    "Man braucht Mehl, Wasser und Salz. Den Teig gut kneten und ihn dann in den",
]


@pytest.mark.parametrize("text", CUT, ids=range(len(CUT)))
def test_what_stops_before_its_end_fails(text):
    verdict = verify(item(text))
    assert verdict.passed is False
    assert verdict.reason


ENDED = [
    WHOLE,
    f"{WHOLE}\n\n- flour\n- water\n- salt",
    f"{WHOLE}\n\nBest regards,\nAnn".replace("Ann", "Ann."),
    f"{WHOLE}\n\n```python\nprint(1)\n```",
    f"{WHOLE} 🙂",
    "So $x = 2$ is the only number that solves it: $$x^2 = 4$$",
    '{"name": "Ann {", "tags": ["a", "b"]}',
    "[Note: the author is not known.]",
    "面包需要面粉、水和盐。把面团揉匀，让它在温暖的地方发酵。",
    "He said: “Bread needs flour, water and salt, and nothing else at all.”",
    "रोटी के लिए आटा, पानी और नमक चाहिए, और उसे गरम तवे पर सेंकना चाहिए।",
    "See https://example.org/a/long/way/down",
]


@pytest.mark.parametrize("text", ENDED, ids=range(len(ENDED)))
def test_what_comes_to_its_end_does_not_fail(text):
    assert verify(item(text), full_stops=True).passed is not False


OPEN = [
    "42",
    "Vincent van Gogh",
    "- flour, water and salt, as much as you like of each one\n- an oven that is hot and large",
    "Shall I compare thee to a summer's day\nThou art more lovely and more temperate\n"
    "Rough winds do shake the darling buds of May\nAnd summer's lease hath all too short a date",
    "ขนมปังต้องใช้แป้ง น้ำ และเกลือ นวดแป้งให้เข้ากันแล้วพักไว้ในที่อบอุ่นก่อนนำไปอบในเตาที่ร้อนจัด",
    "",
]


@pytest.mark.parametrize("text", OPEN, ids=range(len(OPEN)))
def test_what_needs_no_full_stop_is_undecided_unless_the_model_was_done(text):
    assert verify(item(text), full_stops=True).passed is None
    if text:
        assert verify(item(text, finish_reason="stop")).passed is True


def test_a_model_that_was_done_may_leave_out_the_last_full_stop_but_not_the_last_word():
    assert verify(item(WHOLE.rstrip("."), finish_reason="stop")).passed is True
    assert verify(item(f"{WHOLE} Serve it with the", finish_reason="stop")).passed is False
    assert verify(item(f"{WHOLE}\n```", finish_reason="stop")).passed is False


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=4), VALUES, min_size=1), st.data())
def test_json_is_open_exactly_where_it_was_cut(value, data):
    text = json.dumps(value)
    assert not _open_json(text)
    end = data.draw(st.integers(1, len(text) - 1))
    assert _open_json(text[:end]) == ('"' in text[:end])


@pytest.mark.skipif(not RATINGS.exists(), reason="the shared data are not here")
def test_hardly_any_answer_that_people_found_coherent_fails():
    coherent = [one for one, rating in rated() if rating["coherence"] == 4]
    verdicts = [verify(one).passed for one in coherent]
    assert len(verdicts) > 600
    assert verdicts.count(False) == 0
    assert [verify(one, full_stops=True).passed for one in coherent].count(False) <= 2
    assert verdicts.count(None) < 0.06 * len(verdicts)


@pytest.mark.skipif(not RATINGS.exists(), reason="the shared data are not here")
def test_most_answers_that_are_cut_in_a_sentence_are_found():
    found = []
    for one, rating in rated():
        before, _, last = one.response.rstrip().rpartition("\n")
        words = last.split(" ")
        if rating["coherence"] == 4 and last.endswith(".") and len(words) > 24:
            cut = f"{before}\n{' '.join(words[: len(words) // 2])}"
            if cut[-1].isalpha():
                found.append(verify(item(cut), full_stops=True).passed is False)
    assert len(found) > 100
    assert sum(found) > 0.85 * len(found)
