"""Decisions asked of a model that only chats, read from the first token it would write."""

from __future__ import annotations

import math
from string import ascii_lowercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import ProviderError
from karat.models.asks import DecideRequest, Option, Question, Verdict
from karat.models.asks_as_chat import MIN_MASS, as_chat, from_chat
from karat.models.chat import Choice, TokenLogprob
from karat.row import Message

SAID = (Message("user", "My card was charged twice."),)
ASKED = DecideRequest(
    SAID,
    (
        Question("The customer wants money back."),
        Question("Which team?", "choice", "team", (Option("billing", "payments"), Option("sales"))),
        Question(
            "How angry?",
            "score",
            "anger",
            (Option("calm"), Option("cross"), Option("furious", "shouts")),
        ),
    ),
)


def answer(top, token=None, **more):
    """A reply whose first token has these alternatives, by probability."""
    logs = [(text, math.log(p)) for text, p in top.items()]
    token = token or logs[0][0]
    return Choice(token, "stop", logprobs=[TokenLogprob(token, dict(logs)[token], logs)], **more)


def only(question, reply):
    (verdict,) = from_chat(DecideRequest(SAID, (question,)), [reply])
    return verdict


def test_each_question_is_one_lettered_request():
    chats = as_chat(ASKED)
    assert len(chats) == 3
    for chat in chats:
        assert (chat.n, chat.temperature, chat.max_tokens, chat.logprobs) == (1, 0.0, 1, 20)
        (message,) = chat.messages  # the user's turn goes on: no two in a row
        assert message.content.startswith("My card was charged twice.\n\n")
    assert chats[0].messages[0].content.endswith("Answer with yes or no and nothing else.")
    assert chats[1].messages[0].content.endswith("Answer with one letter and nothing else.")
    assert "A: billing - payments\nB: sales" in chats[1].messages[0].content
    assert "A: calm\nB: cross\nC: furious - shouts" in chats[2].messages[0].content
    after = as_chat(DecideRequest((*SAID, Message("assistant", "Sorry.")), ASKED.questions[:1]), 4)
    assert [m.role for m in after[0].messages] == ["user", "assistant", "user"]
    assert after[0].max_tokens == 4


def test_spellings_of_a_letter_are_added_up():
    reply = answer({"A": 0.3, " A": 0.2, "a": 0.1, "**B": 0.2, "C": 0.1, "The": 0.1})
    verdict = only(ASKED.questions[1], reply)
    assert verdict.name == "team"
    assert verdict.value == "billing"
    assert dict(verdict.probabilities) == pytest.approx({"billing": 0.75, "sales": 0.25})


def test_a_score_is_the_expected_level():
    verdict = only(ASKED.questions[2], answer({"C": 0.5, "A": 0.25, "B": 0.25}))
    assert verdict.score == pytest.approx(1.25)
    assert verdict.value == "furious"
    assert verdict.probability == pytest.approx(0.5)


def test_a_predicate_says_how_likely_it_is_true():
    verdict = only(ASKED.questions[0], answer({"No": 0.4, " no": 0.2, "Yes": 0.2, "Nothing": 0.2}))
    assert (verdict.value, verdict.score) == ("no", None)
    assert verdict.probability == pytest.approx(0.25)


def test_a_token_that_is_missing_from_its_own_alternatives_counts():
    reply = Choice("yes", logprobs=[TokenLogprob("yes", math.log(0.9), [("no", math.log(0.1))])])
    assert only(ASKED.questions[0], reply).probability == pytest.approx(0.9)


def test_a_blank_first_token_is_passed_over():
    reply = answer({"Yes": 0.75, "No": 0.25})
    blank = TokenLogprob("\n", -0.1, [("\n", -0.1)])
    assert only(ASKED.questions[0], Choice("\nYes", logprobs=[blank, *reply.logprobs])) == only(
        ASKED.questions[0], reply
    )


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Choice("Yes"), "without log-probabilities"),
        (answer({"<think>": 1 - MIN_MASS + 0.01, "Yes": MIN_MASS - 0.01}), "turn reasoning off"),
    ],
)
def test_an_answer_that_falls_short_says_what_to_do(reply, words):
    with pytest.raises(ProviderError, match=words) as caught:
        only(ASKED.questions[0], reply)
    assert caught.value.kind == "row"


def test_a_filtered_answer_is_a_refusal():
    assert only(ASKED.questions[1], Choice("", "content_filter")) == Verdict("team")


@pytest.mark.parametrize("size", [0, 1, 21])
def test_too_few_or_too_many_options_are_refused(size):
    options = tuple(Option(letter) for letter in ascii_lowercase[:size])
    asked = DecideRequest(SAID, (Question("Which?", "choice", options=options),))
    with pytest.raises(ProviderError, match=f"not {size}") as caught:
        as_chat(asked)
    assert caught.value.kind == "row"


@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=20), st.floats(0.51, 1.0))
def test_verdicts_are_distributions(weights, mass):
    shares = [mass * w / sum(weights) for w in weights]
    options = tuple(Option(f"option {i}") for i in range(len(weights)))
    top = {"ABCDEFGHIJKLMNOPQRST"[i]: share for i, share in enumerate(shares)}
    verdict = only(Question("Which?", "score", options=options), answer(top))
    probabilities = [p for _, p in verdict.probabilities]
    assert sum(probabilities) == pytest.approx(1.0)
    assert verdict.probability == max(probabilities)
    assert 0 <= verdict.score <= len(weights) - 1
    assert verdict.score == pytest.approx(sum(i * p for i, p in enumerate(probabilities)))
