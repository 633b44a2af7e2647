"""Edits: the improved answer out of what a model writes around it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.edits import clean_edit

TOLD = "The answer is slightly correct (1.2 of 4). It never says how hot the water is."
NEW = "Use water of about 80 degrees."


@pytest.mark.parametrize(
    "reply",
    [
        NEW,
        f"Here is the improved response:\n\n{NEW}",
        f"Here's a better answer: {NEW}",
        f"Sure! Here's a revised version:\n{NEW}",
        f"Certainly. Below is the corrected answer to the user:\n\n{NEW}",
        f"**Improved answer:**\n\n{NEW}",
        f"Improved Response: {NEW}",
        f"A more accurate and helpful answer would be:\n\n{NEW}",
        f"Answer: {NEW}",
        f"The answer is:\n\n{NEW}",
        f"Assistant: {NEW}",
        f'"{NEW}"',
        f'Here is the rewritten answer:\n\n"{NEW}"',
        f"I apologize for the confusion. {NEW}",
        f"You're right. Here's a better answer:\n\nThe answer is:\n\n{NEW}",
        f"Thank you for your feedback. {NEW}",
        f"The answer is not helpful, it is incorrect.\n\n{NEW}",
        f"The previous response does not say how hot the water is.\n\n{NEW}",
        f"{NEW}\n\nThe answer is partially helpful (1.6 of 4).\n\nHere is",
        f"{NEW}\n\nThe answer is also partially correct (2.1 of 4).",
        f"As for helpfulness, it is low (0.9 of 4).\n\n{NEW}",
        f"{TOLD}\n\n{NEW}",
        f"{NEW}\n\nIt never says how hot the water is.",
        f"{NEW}\n\nI have revised the answer to say how hot the water is.",
        f"{NEW}\n\nFeedback: it is better now.",
        f"It is bitter because it is.\n\nHere's a slightly better answer:\n\n{NEW}",
        f"User: Why is it bitter?\n\nAssistant: It is.\n\nUser: How?\n\nAssistant: {NEW}",
    ],
)
def test_only_the_answer_is_left(reply):
    assert clean_edit(reply, TOLD) == NEW


@pytest.mark.parametrize(
    "answer",
    [
        "The answer is 42.",
        "Twice 21 is 42.\n\nThe answer is 42.",
        "Here are three ways:\n1. Wait\n2. Stir\n3. Pour",
        "Your code has a fault. Here is the corrected version:\n```python\nx = 1\n```",
        "Use it.\n\nNote: do not boil it.",
        'He said "no", and she said "yes".',
        "Better tea:\n\n1. Use soft water.",
        "Dear Sir,\n\nI am sorry for the delay. I have edited the book.",
        "Sure-footed animals are goats.",
        "Hier ist die verbesserte Antwort: 80 Grad.",
        "答案是八十度。",
    ],
)
def test_what_belongs_to_an_answer_stays(answer):
    assert clean_edit(answer, TOLD) == answer


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n",
        TOLD,
        "Here is the improved response:",
        "User: Why?",
        "It never says how hot the water is",
    ],
)
def test_a_reply_without_an_answer_is_empty(reply):
    assert clean_edit(reply, TOLD) == ""


@given(st.text(alphabet=" \n.:*\"AHaeinorstuvw'", max_size=80))
def test_an_answer_is_never_longer_than_the_reply(text):
    found = clean_edit(text, TOLD)
    assert len(found) <= len(text)
    assert found == found.strip()


@pytest.mark.parametrize(
    "text",
    [
        "answer: " * 9000, "\n" * 40000 + "x", "here is " * 9000, "the answer is " * 9000,
        "x\n\n" * 9000,
    ],
    ids=range(5),
)  # fmt: skip
def test_no_text_takes_long(text):
    started = time.process_time()
    clean_edit(text, TOLD)
    assert time.process_time() - started < 3
