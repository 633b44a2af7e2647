"""instructions as a verifier: the verdict on all, the share, what is broken, and loose reading."""

from __future__ import annotations

import pytest
from answers_read import item

from karat.errors import RowError
from karat.verifiers.base import Verdict
from karat.verifiers.instructions import verify

COMMA = {"id": "punctuation:no_comma", "kwargs": {}}
FOUR = {"id": "length_constraints:number_words", "kwargs": {"num_words": 4, "relation": "at least"}}


@pytest.mark.parametrize(
    ("response", "passed", "share", "broken"),
    [
        ("one two three four", True, 1.0, ""),
        ("one two three, four", False, 0.5, "punctuation:no_comma"),
        ("one", False, 0.5, "length_constraints:number_words"),
        ("", False, 0.0, "punctuation:no_comma, length_constraints:number_words"),
    ],
)
def test_a_verdict_is_on_all_and_says_which_are_broken(response, passed, share, broken):
    verdict = verify(item(response, "Count.", constraints=[COMMA, FOUR]))
    assert (verdict.passed, verdict.share) == (passed, share)
    assert verdict.reason == (f"does not follow {broken}" if broken else "")


def test_where_nothing_is_asked_nothing_is_broken():
    assert (
        verify(item("anything"))
        == verify(item("", constraints=[]))
        == Verdict(passed=True, share=1.0)
    )


def test_loose_forgives_a_line_around_the_answer_and_stars():
    asked = [{"id": "startend:end_checker", "kwargs": {"end_phrase": "the end"}}, COMMA]
    framed = "Sure, here it is:\nOnce upon a time. The end\nI hope that helps!"
    starred = "Once upon a time. **The end**"
    for text in (framed, starred):
        assert verify(item(text, constraints=asked)).passed is False
        assert verify(item(text, constraints=asked), loose=True).passed is True
    wrong = "a, b\nc, d\ne, f\ng, h"
    assert verify(item(wrong, constraints=asked), loose=True).passed is False


def test_the_prompt_stands_in_for_the_request_to_repeat():
    asked = [{"id": "combination:repeat_prompt", "kwargs": {}}]
    assert verify(item("Count. One, two.", "Count.", constraints=asked)).passed is True
    assert verify(item("One, two.", "Count.", constraints=asked)).passed is False


def test_instructions_that_cannot_be_read_are_said_so():
    with pytest.raises(RowError, match="constraints must be a list"):
        verify(item("x", constraints="none"))
    with pytest.raises(RowError, match="same length"):
        verify(item("x", instruction_id_list=["punctuation:no_comma"]))
