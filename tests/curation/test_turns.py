"""Turns: what says nothing new, and where a cut-off text can end."""

from __future__ import annotations

import time

import pytest
from conftest import mostly_slow
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.turns import repeats, unquoted, whole_sentences

FIRST = "How do I keep basil alive on my windowsill?"


@pytest.mark.parametrize(
    "turn",
    [
        FIRST,
        "how do I keep BASIL alive on my windowsill",
        "Can you tell me how to keep basil alive on the windowsill?",
        "What should I do to keep my basil alive on my windowsill, please?",
        "Keep basil alive on my windowsill",
    ],
)
def test_the_same_question_in_other_dress_is_a_repeat(turn):
    assert repeats(turn, ["Something else.", FIRST])


@pytest.mark.parametrize(
    "turn",
    [
        "How do I keep parsley alive on my windowsill?",
        "How do I keep basil alive on my windowsill in 30 degrees?",
        "Why?",
        "And then?",
        "What about basil?",
        "How much water does it need?",
        "",
    ],
)
def test_one_new_word_or_a_short_reference_is_none(turn):
    assert not repeats(turn, [FIRST])


def test_a_piece_of_an_answer_said_again_is_a_repeat():
    answer = "Basil needs light. You can use a grow light in winter. Water it twice a week."
    assert repeats("You can use a grow light in winter.", [answer])
    assert not repeats("a grow light", [answer])  # a name is no sentence


def test_scripts_without_spaces_are_compared_by_character():
    assert repeats("月亮为什么会亮", ["月亮为什么会亮？"])
    assert not repeats("太阳为什么会亮？", ["月亮为什么会亮？"])


def test_texts_without_words_repeat_only_each_other():
    assert repeats("???", ["!"])
    assert not repeats("???", ["Why?"])
    assert not repeats("Why?", [])


@given(st.text(max_size=80))
def test_every_text_repeats_itself(text):
    assert repeats(text, [text])
    assert repeats(text.upper(), [text.upper()])


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ("One. Two. Thr", "One. Two."),
        ("Is it? Yes! And th", "Is it? Yes!"),
        ('He said "no." And th', 'He said "no."'),
        ("It costs 3.5 dollars an", ""),
        ("Do this:\n1. Boil the water\n2. Wait fo", "Do this:\n1. Boil the water"),
        ("It is done. 2. Wait fo", "It is done."),
        ("It is done.\n\nIngredients:\n- ", "It is done."),
        ("It is done.\n\nIngredients:\n- a\n- b", "It is done.\n\nIngredients:\n- a"),
        ("It is done. Ingredients:\n- ", "It is done."),
        ("nothing whole", ""),
        ("Run this:\n```py\nx = 1.\ny", ""),
        ("It is easy. Run this:\n```py\nx = 1.\ny", "It is easy."),
        ("```py\nx = 1\n```\nIt adds. Then", "```py\nx = 1\n```\nIt adds."),
        ("水要八十度。再等两", "水要八十度。"),
        ("A whole one.", "A whole one."),
        ("", ""),
    ],
)
def test_a_cut_text_ends_with_its_last_whole_sentence_or_line(cut, kept):
    assert whole_sentences(cut) == kept


@given(st.text(alphabet="ab .?!\n:`1。", max_size=60))
def test_what_is_kept_is_a_beginning(text):
    assert text.startswith(whole_sentences(text))


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ('"a b"', "a b"), ("“a b”", "a b"), ("**a b**", "a b"), ('**"a b"**', "a b"),
        ('"a" and "b"', '"a" and "b"'), ("**a** b **c**", "**a** b **c**"), ('""', '""'), ("", ""),
        ("'tis a test", "'tis a test"),
    ],
)  # fmt: skip
def test_quotes_go_only_around_the_whole(text, bare):
    assert unquoted(text) == bare


@pytest.mark.parametrize(
    "atom",
    mostly_slow([
        "a. ", "?!", "1.", "\n", ":", " ", "*", "_", "a'", "``` ", "。", "」", '"', "a_", "你",
        ".)", "ﷺ",
    ], 3),
)  # fmt: skip
def test_a_hundred_kilobytes_of_anything_take_no_time(atom):
    many = atom * (100_000 // len(atom))
    for text in (many, f"One.{many}x", f'"{many}"', f"**{many}**"):
        started = time.process_time()
        whole_sentences(text)
        unquoted(text)
        repeats(text, [text + "x"])
        assert time.process_time() - started < 2
