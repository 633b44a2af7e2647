"""Draws and checks of a hundred kilobytes: prompts and responses have any author."""

from __future__ import annotations

import random
import time

import pytest
from conftest import mostly_slow

from karat.row import Message
from karat.steps._transcript import _TURN, transcript
from karat.verifiers._checks import CHECKS
from karat.verifiers._draws import DRAWS, topic_words
from karat.verifiers._language import can_tell
from karat.verifiers._sentences import count_sentences
from karat.verifiers._words import count_capital_words, count_words, is_english
from karat.verifiers.instructions import LANGUAGE, compose

SIZE = 100_000
ATOMS = [
    "\n", " ", " \n", "\n ", "\r", "a", "a ", "A", "1", "1,", "1.", "-", "*", "**", "*a", "* a\n",
    "[", "[a", "]", "{", '"', "'", "a'", "can't ", "`", ".", "...", "?", "!", ". ", "a. ", "e.g. ",
    "P.S", "p. ", "p.\n", "Part ", "Part 1", "***", "******", "<<", ">>", "<<a", "is a ", "is a? ",
    "or ", "```json", "My answer is ", "--", ",", "你", "。", "\n\n", '".', "1.1", "--- user ",
    "--- user\n", "\n*",
]  # fmt: skip
KWARGS = {
    "keywords:existence": {"keywords": ["aaab", "tea"]},
    "keywords:frequency": {"keyword": "aaab", "frequency": 2, "relation": "at least"},
    "keywords:forbidden_words": {"forbidden_words": ["aaab", "a-a"]},
    "keywords:letter_frequency": {"letter": "a", "let_frequency": 2, "let_relation": "at least"},
    "language:response_language": {"language": "en"},
    "length_constraints:number_words": {"num_words": 9, "relation": "at least"},
    "length_constraints:number_sentences": {"num_sentences": 9, "relation": "at least"},
    "length_constraints:number_paragraphs": {"num_paragraphs": 2},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": 2, "nth_paragraph": 2, "first_word": "a",
    },
    "detectable_content:number_placeholders": {"num_placeholders": 2},
    "detectable_content:postscript": {"postscript_marker": "P.P.S"},
    "detectable_format:number_bullet_lists": {"num_bullets": 2},
    "detectable_format:number_highlighted_sections": {"num_highlights": 2},
    "detectable_format:multiple_sections": {"section_spliter": "Part", "num_sections": 2},
    "combination:repeat_prompt": {"prompt_to_repeat": "a" * 300},
    "startend:end_checker": {"end_phrase": "a"},
    "change_case:capital_word_frequency": {"capital_frequency": 2, "capital_relation": "at least"},
}  # fmt: skip


def texts(atom):
    many = atom * (SIZE // len(atom))
    return many, f"Is it so?{many}x", f"x{many}?"


def seconds(work, *args, **kwargs):
    started = time.process_time()
    work(*args, **kwargs)
    return time.process_time() - started


@pytest.mark.parametrize("atom", mostly_slow(ATOMS, 4))
def test_every_check_reads_a_hundred_kilobytes_at_once(atom):
    text = texts(atom)[ATOMS.index(atom) % 3]
    for kind, check in CHECKS.items():
        if kind != LANGUAGE or can_tell():
            assert seconds(check, text, **KWARGS.get(kind, {})) < 1, kind
    for count in (count_words, count_sentences, count_capital_words, is_english):
        assert seconds(count, text) < 1, count


@pytest.mark.parametrize("atom", mostly_slow(ATOMS, 4))
def test_every_draw_reads_a_hundred_kilobytes_at_once(atom):
    text = texts(atom)[ATOMS.index(atom) % 3]
    for kind, draw in DRAWS.items():
        assert seconds(draw, random.Random(0), text) < 1, kind
    assert seconds(topic_words, text) < 1
    assert seconds(compose, random.Random(0), text, 5) < 2


@pytest.mark.parametrize("atom", mostly_slow(ATOMS, 4))
def test_a_transcript_takes_a_hundred_kilobytes_at_once(atom):
    for text in texts(atom):
        assert seconds(transcript, [Message("user", text)]) < 1
        assert seconds(_TURN.sub, " ", text) < 1
