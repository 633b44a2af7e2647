"""answers: SQuAD's F1 and what goes beyond it, and where a passage says what an answer says."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.answer_words import words
from karat.curation.answers import agreement, contains, holds, support, token_f1

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


# --- contradictions ------------------------------------------------------------------------------

APART = [
    ("1,5 Liter", "15 Liter"), ("1.5", "15"), (".5", "5"), ("1½", "1"), ("3/4", "3"),
    ("3/4", "3 4"), ("10⁶", "10"), ("10^6", "106"), ("-5 °C", "5 °C"), ("−5", "5"),
    ("minus 5 °C", "5 °C"), ("5 °C", "5 °F"), ("10", "10 000 km"), ("240 metres", "310 metres"),
    ("12:30", "12 and 30"), ("5-10 km", "5-12 km"), ("5%", "$5"), ("€20", "£20"),
    ("20 euros", "£20"), ("€", "£"), ("C++", "C"), ("C#", "C++"), ("O+", "O-"), ("A", "B"),
    ("plan A", "plan B"), ("5 m", "5 g"), ("x > 3", "x < 3"), ("a < b", "a > b"),
    ("x >= 3", "x <= 3"), ("3 + 4", "3 × 4"), ("Yes", "Yes and no"), ("Yes", "No"),
    ("No", "Yes, it was"), ("1871", "not in 1871 but in 1872"), ("salt", "without salt"),
    ("iron", "It wasn't iron"), ("1871", "nicht 1871"),
]  # fmt: skip
ALIKE = [
    ("1,5 Liter", "1.5 Liter"), ("10 000 km", "10000 km"), ("10'000", "10,000"),
    ("1.234,56", "1,234.56"), ("1.200.000", "1,200,000"), ("12,34,567", "1234567"),
    ("10⁶", "10^6"), ("−5 °C", "-5°C"), ("minus 5", "-5"), ("+5", "5"), ("5–10 km", "5-10 km"),
    ("COVID-19", "covid 19"), ("€20", "20 euros"), ("€20", "20"), ("5%", "5 per cent"),
    ("$1,000", "1000 dollars"), ("240 m", "about 240 m (787 ft)"), ("12:30", "at 12:30"),
    ("C++", "C++ and Java"), ("vitamin A", "Vitamin A is"), ("A bridge", "the bridge"),
    ("IT WAS A BRIDGE", "it was bridge"), ("x > 3", "where x > 3"), ("x → y", "x -> y"),
    ("1872", "not in 1871 but in 1872"), ("1871", "It did not open until 1871"),
    ("iron", "iron, not stone"), ("Yes", "Yes, in 1871"), ("No", "No, it was not"),
    ("1871", "No, in 1871"), ("5", "Chanel No. 5"), ("5", "No. 5"), ("π", "π"), ("€", "€"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two"), APART)
def test_answers_that_exclude_each_other_do_not_agree(one, two):
    assert agreement(one, two) == agreement(two, one) == 0.0


@pytest.mark.parametrize(("one", "two"), ALIKE)
def test_the_same_answer_written_otherwise_agrees(one, two):
    assert agreement(one, two) == agreement(two, one) == 1.0


def test_what_the_question_says_is_no_contradiction():
    asked = "Who did not sign the treaty of 1871?"
    assert agreement("Weyland", "Weyland did not sign it in 1871", asked) == 1.0
    assert agreement("5 in 1871", "5", "How many were there in 1871?") == 1.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("-5.0 to +3", ["-5.0", "to", "3"]),
        ("5 -7, (-7), 5-7", ["5", "-7", "-7", "5", "7"]),
        ("10%-20%", ["10", "20"]),
        ("1,2,3", ["1,2,3"]),
        ("0,500", ["0.500"]),
        ("120 340 560", ["120", "340", "560"]),  # columns of a table
        ("1871/72", ["1871", "72"]),
        ("C++, C# and F.", ["c++", "c#", "and", "f"]),
        (
            "a type A plan from A to Z. A plan.",
            ["type", "a", "plan", "from", "a", "to", "z", "plan"],
        ),
        ("A", ["a"]),
        ("The an a", []),
        ("→ €", ["→", "€"]),
        ("... -", []),
    ],
)
def test_words_of_a_passage(text, found):
    assert [word.text for word in words(text)] == found


def test_marks_tell_equal_numbers_apart_in_a_passage():
    passage = "It cost $5, or 5% more."
    assert contains(passage, "$5")
    assert not contains(passage, "£5")
    assert support(passage, "5%").span == (15, 17)
    assert support(passage, "£5").share == 0.0


# --- passages that may hold an answer ------------------------------------------------------------

OPENED = "When was the Arden bridge opened?"
BUILT = "Who built the Arden bridge?"


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        (OPENED, "The bridge was opened in May 1871.", "It was opened by the mayor in May 1871."),
        (OPENED, "In May 1871", "In 1871 - it was May - the Arden bridge was opened."),
        (BUILT, "It was built by Clara Weyland", "Weyland (Clara, born 1831) built it."),
        ("Is it safe?", "it does not contain gluten", "It does not, we hear, contain gluten."),
    ],
)  # fmt: skip
def test_a_passage_that_says_it_in_other_words_may_hold_the_answer(question, answer, text):
    assert not contains(text, answer)
    assert holds(text, answer, question)


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        (OPENED, "In May 1871", "The Brekk bridge was opened in May 1902."),
        (OPENED, "The Arden bridge was opened in May 1871.", "The Arden bridge is painted often."),
        (BUILT, "Clara Weyland", "Clara Schumann played in Arden."),
        (BUILT, "It was built by Clara Weyland", "The Pell mill was built by Otto Brandt."),
        ("How long is it?", "240 metres", "The Brekk bridge is 310 metres long."),
        ("How long is it?", "240 metres", "The tunnel is 1,240 metres long."),
        ("What is it of?", "Wrought iron from Brekk", "Cast iron was used for the station."),
    ],
)
def test_a_passage_that_only_looks_like_it_does_not(question, answer, text):
    assert not holds(text, answer, question)
