"""copied: an echo of the prompt fails; who was given a text to work on may repeat it."""

from __future__ import annotations

import pytest
from answers_read import RATINGS, item, rated
from hypothesis import given
from hypothesis import strategies as st

from karat.verifiers.copied import _copied, verify

ASK = (
    "My neighbour plays the drums every night until two in the morning and I have asked him three "
    "times to stop. What would you do in my place, and how do I stay friends with him?"
)


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("How often do the skills of tech workers become outdated", None),
        ("What should I call you?", "what should I call you?"),
        (ASK, ASK),
        (ASK, f"{ASK} I hope that somebody can help me, since I do not know what to do any more."),
        (ASK, f"User: {ASK.upper()}"),
    ],
)
def test_an_echo_fails(prompt, response):
    verdict = verify(item(response or f"{prompt}?", prompt))
    assert verdict.passed is False
    assert verdict.share < 0.5
    assert "stands in the prompt" in verdict.reason


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("What is the capital of France?", "The capital of France is Paris."),
        ("What is the smallest number that five and seven divide", "35 is the smallest number "
         "that five and seven divide."),
        (ASK, "Knock on a Sunday morning with cake, and agree on ten o'clock. " * 2),
        (ASK, "You ask: “What would you do in my place, and how do I stay friends with him?” "
         "Knock on a Sunday with cake in your hands, tell him how you sleep, agree on ten o'clock "
         "as the hour when the drums rest, and lend him your cellar for the loud days."),
    ],
)  # fmt: skip
def test_an_answer_passes_though_it_says_the_question_once_more(prompt, response):
    assert verify(item(response, prompt)).passed is True


@pytest.mark.parametrize(
    "task",
    [
        "Correct the mistakes in this: {}",
        "Translate into German: {}",
        "{}\nRepeat the question first.",
        "Which sentence of the passage is about drums?\n\n{}",
        "Quote what I said: {}",
        "Summarise: {}",
    ],
)
def test_who_was_given_a_text_may_repeat_it(task):
    verdict = verify(item(ASK, task.format(ASK)))
    assert verdict.passed is None
    assert verdict.share == 0


def test_prompts_in_other_languages_are_undecided():
    french = "Mon voisin joue du tambour toute la nuit. Que feriez-vous à ma place, mes amis ?"
    assert verify(item(french, french)).passed is None
    assert verify(item("Frappez chez lui un dimanche, avec un gâteau.", french)).passed is True


def test_too_little_is_undecided():
    assert verify(item("Paris.", "What is the capital of France?")).passed is None
    assert verify(item("Knock on a Sunday with cake.", "")).passed is None
    assert verify(item("", ASK)).passed is None


def test_options_move_the_limits():
    half = f"{ASK} " + " ".join(f"word{n}" for n in range(40))
    assert verify(item(half, ASK)).passed is True
    assert verify(item(half, ASK), most=0.3).passed is False
    pieces = ASK.replace("night", "day").replace("have", "had").replace("would", "will")
    longer = f"{pieces} " + " ".join(f"word{n}" for n in range(20))
    assert verify(item(longer, ASK), most=0.1).passed is False
    assert verify(item(longer, ASK), most=0.1, span=20).passed is True


LETTERS = st.lists(st.sampled_from("abc"), max_size=14)


@given(LETTERS, LETTERS, st.integers(1, 4))
def test_the_share_is_that_of_brute_force(said, prompt, span):
    inside = [False] * len(said)
    for start in range(len(said) - span + 1):
        piece = said[start : start + span]
        if any(piece == prompt[at : at + span] for at in range(len(prompt) - span + 1)):
            inside[start : start + span] = [True] * span
    if said:
        assert _copied(said, prompt, span) == sum(inside) / len(said)


@pytest.mark.skipif(not RATINGS.exists(), reason="the shared data are not here")
def test_of_real_answers_one_fails_and_it_is_an_echo():
    (one,) = [(item, rating) for item, rating in rated() if verify(item).passed is False]
    assert one[0].response.rstrip("?") == one[0].prompt[-1].content
    assert one[1]["helpfulness"] == 0
