"""Edits: the improved answer out of what a model writes around it, and nothing of the answer."""

from __future__ import annotations

import time

import pytest
from conftest import mostly_slow
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.edits import clean_edit

OLD = "It is bitter because it is."
ASKED = "Why is it bitter?"
GRADES = "The answer is slightly correct (1.2 of 4)."
REQUEST = f"""Here is a conversation between a user and an assistant.

Assistant:

{GRADES}

Write a better answer of the assistant to the user. Write only the answer."""
FAULT = "It never says how hot the water is."
CRITIQUE = f"{FAULT} Boiling water draws more tannins."
NEW = "Use water of about 80 degrees."


def clean(reply, original=OLD, critique=CRITIQUE):
    return clean_edit(reply, original, request=REQUEST, critique=critique, asked=[ASKED, "How?"])


@pytest.mark.parametrize(
    "reply",
    [
        NEW,
        # announced
        f"Here is the improved response:\n\n{NEW}",
        f"Here's a better answer: {NEW}",
        f"Sure! Here's a revised version:\n{NEW}",
        f"Certainly. Below is the corrected answer to the user:\n\n{NEW}",
        f"Here is a revised version of the answer, based on the feedback:\n\n{NEW}",
        f"**Improved answer:**\n\n{NEW}",
        f"Improved Response: {NEW}",
        f"Here is the rewritten answer:\n\n**Revised answer:**\n{NEW}",
        f"A more accurate and helpful answer would be:\n\n{NEW}",
        f'Here is the rewritten answer:\n\n"{NEW}"',
        f"I apologize for the confusion. Here is the corrected response:\n\n{NEW}",
        f"You're right. Here's a better answer:\n\n{NEW}",
        f"Thank you for your feedback. Here is a more detailed answer: {NEW}",
        f"Assistant: {NEW}",
        f"Assistant: Here is the improved answer:\n{NEW}",
        f"Here is the improved answer:\n\nAssistant: {NEW}",
        # what it was told
        f"{GRADES}\n\n{NEW}",
        f"{GRADES} {FAULT}\n\n{NEW}",
        f"- {GRADES}\n- {FAULT}\n\n{NEW}",
        f"{GRADES} {FAULT} {NEW}",
        f"The previous response is not helpful (0.4 of 4) and slightly correct (1.2 of 4).\n{NEW}",
        f"{NEW}\n\n{FAULT}",
        f"{NEW}\n\nWrite only the answer.",
        f"{NEW}\n\nThe answer is partially helpful (1.6 of 4).\n\nHere is",
        f"{NEW}\n\nThe answer is also partially correct (2.1 of 4).",
        f"{NEW}\n\nThe answer is incorrect (1.5 of 4).\n\nYou can use water.",
        # on what it did
        f"{NEW}\n\nI have revised the answer to say how hot the water is.",
        f"{NEW}\n\n(Note: This improved answer says how hot the water is.)",
        # the old answer, the conversation
        f"{OLD}\n\nHere's a slightly better answer:\n\n{NEW}",
        f"User: {ASKED}\n\nAssistant: It is.\n\nUser: How?\n\nAssistant: {NEW}",
        f"User: {ASKED}\n\nAssistant: {NEW}\n\nUser: Thanks!",
    ],
)
def test_only_the_answer_is_left(reply):
    assert clean(reply) == NEW


@pytest.mark.parametrize(
    "answer",
    [
        "The answer is 42.",
        "Twice 21 is 42.\n\nThe answer is 42.",
        "Answer: 42",
        "My answer: 42",
        "Final answer: 42",
        "Final version:\n\nx = 1",
        "Corrected answer: 42",
        "Revised text: Dear Sir",
        "Here is a short answer to the riddle: the moon.",
        "Here are three ways:\n1. Wait\n2. Stir\n3. Pour",
        "Here is the corrected version:\n```python\nx = 1\n```",
        "Your code has a fault. Here is the corrected version:\n```python\nx = 1\n```",
        "Your essay is thin.\n\nHere is a better answer:\n\nThe war began in May.",
        "Use it.\n\nNote: do not boil it.",
        "Use it.\n\nFeedback: it was used.",
        "Use it.\n\nI have revised the contract. Please sign.",
        'He said "no", and she said "yes".',
        '"To be, or not to be."',
        "Better tea:\n\n1. Use soft water.",
        "Dear Sir,\n\nI am sorry for the delay. I have edited the book.",
        # words that may be the answer itself
        "Yes. It is legal in Spain.",
        "Yes! You can eat it.",
        "Sure! The capital is Rome.",
        "Of course. Use two eggs.",
        "I'm sorry to hear about your loss. Here is a letter: Dear Ann",
        "I apologize for the delay in shipping your order. It will arrive Monday.",
        "I apologize for the confusion. It will arrive Monday.",
        "Thank you for your feedback on the product. We will refund you.",
        "Thank you for your feedback. We will refund you.",
        # figures, verdicts
        "Take 3 tablets (1.5 of 4) daily.\nThen rest.",
        "The probability is high (0.8 of 1).\n\nSo bet on it.",
        "The answer is wrong because the plan ignored tides.\n\nTides matter.",
        "The answer is not helpful, it is incorrect.\n\nTides matter.",
        "The response was not good enough for the king, so he left.",
        "The answer is correct (2 of 4 parts).\n\nSo is this.",
        "The response is not loud (0.4 of 4 decibels) here.\n\nSo shout.",
        # what a critic said a good answer says
        "Boiling water draws more tannins.",
        "Boiling water draws more tannins.\n\nSo wait a minute.",
        # fields, code and chats
        "user: int = 3\nx = 1",
        "user: root\npassword: x",
        "User\n: hello",
        "User: open the door.\nAssistant: ok",
        "Assistant: a\nUser: b",
        "Assistant: Hello, who is there?\n\nUser: Me.",
        "Dialogue for your play:\n\nUser: hi\nAssistant: hello",
        "```python\n# user: hi\nuser: int = 3\nassistant: str = ''\n```",
        f"Run it:\n```\n{GRADES}\nUser: {ASKED}\n```\nThen wait.",
        "One.\n\n\n\nTwo.   Three.\n    four",
        # other languages
        "Hier ist die verbesserte Antwort: 80 Grad.",
        "答案是八十度。",
    ],
)
def test_what_may_belong_to_an_answer_stays(answer):
    assert clean(answer) == answer


@pytest.mark.parametrize(
    "opening",
    [
        "Here is a revised version:\n\n{}",
        "**Improved answer:** {}",
        "Assistant: {}",
        "{}\n\nI have revised the answer to be polite.",
        f"{GRADES}\n\n{{}}",
        "Here is a better answer:\n\n\"{}\"",
    ],
)  # fmt: skip
def test_what_the_old_answer_had_too_stays(opening):
    assert clean(opening.format(NEW), opening.format(OLD)) == opening.format(NEW)
    assert clean(opening.format(NEW)) == NEW


def test_quotes_that_the_old_answer_had_stay_behind_an_announcement():
    assert clean(f'Here is a better answer:\n\n"{NEW}"', f'"{OLD}"') == f'"{NEW}"'


def test_code_behind_a_repeated_conversation_is_whole():
    code = "Use this:\n\n```yaml\nUser: root\nAssistant: none\n```"
    assert clean(f"User: {ASKED}\n\nAssistant: {code}") == code


def test_a_conversation_about_something_else_is_an_answer():
    chat = "User: May I come in?\n\nAssistant: Please do."
    assert clean(chat) == chat


def test_the_subject_of_a_critique_is_not_taken_for_the_answer():
    said = "The answer is 42, not 41. It is in Paris, not in Rome. It does not fly."
    for sentence in said.replace(". ", ".\n").split("\n"):
        assert clean(sentence, critique=said) == sentence


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n",
        GRADES,
        f"{GRADES} {FAULT}",
        f"{GRADES}\n\nWrite a better answer of the assistant to the user.",
        "Here is the improved response:",
        "User: Why is it bitter?",
        "It never says how hot the water is",
    ],
)
def test_a_reply_without_an_answer_is_empty(reply):
    assert clean(reply) == ""


@given(st.text(alphabet=" \n.:*\"AHaeinorstuvw'", max_size=80))
def test_an_answer_is_never_longer_than_the_reply(text):
    found = clean(text)
    assert len(found) <= len(text)
    assert found == found.strip()


SIZE = 100_000


@pytest.mark.parametrize("original", mostly_slow([OLD, "here is a better answer:\n" * 4000], 4))
@pytest.mark.parametrize(
    "atom",
    [
        "\n", " ", "\t", "x\n\n", " \n", "*", "_", "> ", "answer: ", "here is ", "the answer is ",
        "here is a better answer: ", "here is a better answer:\n", "more a, more a ", "sure, ",
        "i apologize for the confusion. ", "User: ", "\nUser: a", "User: Why is it bitter?\n\n",
        "Assistant: ", "\nAssistant:\n", "1.2 of 4) ", "the answer is not a (1.2 of 4)",
        f"{GRADES}\n", f"{FAULT} ", ".", "! ", "```\n", "你",
        "\n\n(note: i have revised the answer",
    ],
)  # fmt: skip
def test_a_hundred_kilobytes_of_anything_take_no_time(atom, original):
    for text in (atom * (SIZE // len(atom)), f"What is it?{atom * (SIZE // len(atom))}x"):
        started = time.process_time()
        clean(text, original)
        assert time.process_time() - started < 2
