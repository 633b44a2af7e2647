"""answers: SQuAD's F1 and what goes beyond it, and where a passage says what an answer says."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.answers import agreement, contains, support, token_f1, words

PASSAGE = (
    "Tea came to Europe in 1610 on Dutch ships. At first it was sold as a medicine, and a pound "
    "cost 1,200 guilders."
)
WORDS = st.lists(
    st.sampled_from(["tea", "the", "a", "ship", "1610", "Dutch", "an", "sea"]), max_size=8
)


def squad_f1(prediction: str, truth: str) -> float:
    """As in the official evaluation script, version 1.1, but for two empty answers (2.0)."""

    def normal(text: str) -> list[str]:
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    one, two = normal(prediction), normal(truth)
    if not one or not two:
        return float(one == two)
    shared = sum((Counter(one) & Counter(two)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(one), shared / len(two)
    return 2 * precision * recall / (precision + recall)


@given(WORDS, WORDS)
def test_f1_is_squads(one, two):
    first, second = " ".join(one) + ".", ", ".join(two)
    assert token_f1(first, second) == pytest.approx(squad_f1(first, second.replace(",", "")))
    assert token_f1(first, second) == token_f1(second, first)


@pytest.mark.parametrize(
    ("one", "two", "value"),
    [
        ("well-known", "well known", 1.0),
        ("1,200", "1200", 1.0),
        ("3.5", "35", 0.0),
        ("don’t", "don't", 1.0),
        ("千六百十年", "千六百年", 8 / 9),
        ("", "", 1.0),
        ("the", "tea", 0.0),
    ],
)
def test_f1_in_all_languages(one, two, value):
    assert token_f1(one, two) == pytest.approx(value)


@pytest.mark.parametrize(
    ("one", "two", "question", "value"),
    [
        ("1610", "It was in the year 1610.", "", 1.0),
        ("1610", "It was in 1611.", "", 0.0),
        ("Dutch ships", "ships of the Dutch", "", 0.8),
        (
            "The oldest tree is an oak.",
            "The oldest tree is an elm.",
            "What is the oldest tree?",
            0.0,
        ),
        ("The oldest tree is an oak.", "An oak", "What is the oldest tree?", 1.0),
        ("red", "blue", "Is it red or blue?", 0.0),
        ("red", "It was painted red", "Is it red or blue?", 1.0),
        ("Bread with salt", "It is bread", "What bread is it?", 0.0),
        ("", "1610", "", 0.0),
    ],
)
def test_agreement_counts_what_the_question_has_not_said(one, two, question, value):
    assert agreement(one, two, question) == pytest.approx(value)
    assert agreement(two, one, question) == pytest.approx(value)


def test_an_answer_in_the_passage_is_supported_where_it_stands():
    for answer in ("Dutch ships", "as a medicine", "1200 guilders", "AT FIRST"):
        found = support(PASSAGE, answer)
        assert found.share == 1.0
        assert [w.text for w in words(PASSAGE[slice(*found.span)])] == [
            w.text for w in words(answer)
        ]


@pytest.mark.parametrize(
    ("answer", "question", "text", "share"),
    [
        ("It arrived in 1610 on ships.", "", "1610 on Dutch ships", 2 / 3),
        ("The price of a pound was 1200 guilders.", "", "pound cost 1,200 guilders", 3 / 4),
        ("Tea was first sold as a cure.", "As what was tea first sold?", "", 0.0),
        (
            "Tea was first sold as medicine by apothecaries.",
            "As what was tea first sold?",
            "medicine",
            0.5,
        ),
        ("spaceships", "", "", 0.0),
        ("it is", "", "it", 0.5),
        ("", "", "", 0.0),
    ],
)
def test_the_shortest_stretch_with_the_most_telling_words(answer, question, text, share):
    found = support(PASSAGE, answer, question)
    assert PASSAGE[slice(*found.span)] == text
    assert found.share == pytest.approx(share)


@given(st.lists(st.sampled_from(["tea", "ship", "1610", "is", "of", "sea", "oak"]), max_size=30),
       st.lists(st.sampled_from(["tea", "ship", "is", "elm"]), min_size=1, max_size=4))  # fmt: skip
def test_support_is_a_span_of_words_and_its_share_is_right(inside, wanted):
    passage, answer = " ".join(inside), " ".join(wanted)
    found = support(passage, answer)
    assert 0 <= found.span.start <= found.span.end <= len(passage)
    inside_span = Counter(passage[slice(*found.span)].split())
    if contains(passage, answer):
        assert found.share == 1.0
        assert passage[slice(*found.span)] == answer
    else:
        telling = Counter([w for w in wanted if w != "is"] or wanted)
        assert found.share == pytest.approx((inside_span & telling).total() / telling.total())
        every = {w for w in inside if w in telling}
        assert bool(found.share) == bool(every)


def test_contains_is_by_whole_words():
    assert contains(PASSAGE, "dutch  Ships")
    assert not contains(PASSAGE, "Dutch ship")
    assert not contains(PASSAGE, "")


@pytest.mark.parametrize(
    "text",
    ["not in the text", "The text does not say.", "It doesn't mention it", "unanswerable", "N/A",
     "", "I cannot answer this.", "Unknown", "The year is not stated", "..."],
)  # fmt: skip
def test_answers_that_say_there_is_none(text):
    assert declines(text)


@pytest.mark.parametrize(
    "text", ["1610", "He could not swim", "a knot in the rope", "No", "none of the ships"]
)
def test_answers_that_are_answers(text):
    assert not declines(text)
