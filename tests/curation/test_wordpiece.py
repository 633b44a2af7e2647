"""WordPiece against transformers' own, on texts of every kind."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from karat.curation import wordpiece
from karat.curation.embedding import ASSET
from karat.curation.wordpiece import WordPiece, basic_words

with np.load(ASSET) as stored:
    TOKENS = bytes(stored["tokens"]).decode().split("\n")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

WRITTEN = [
    "Write a poem about rain.",
    "  tabs\tand\nlines\r\n ",
    "naïve café Ångström Ünïcödé",
    "don't! (really?) a-b_c/d\\e @x #1 $5 50% x^2 `code` ~ | {}",
    "日本語と中文 mixed with English",
    "Привет мир, как дела?",
    "مرحبا بالعالم हिन्दी ไทย 한국어",
    "3.14159 1,000,000 0x1F",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "a" * 100 + " " + "b" * 101,
    "ΑΣΦΑΛΣ İstanbul ẞ ǅ ﬁne",
    "em—dash “quotes” … ¿qué? « guillemets »",
    "null\x00 bell\x07 del\x7f zero\u200bwidth bom\ufeff replaced\ufffd soft\u00adhyphen",
    "nbsp\u00a0em\u2003line\u2028para\u2029ideo\u3000end",
    "\u037e Greek question mark, \u2126 ohm, \u212b angstrom",
]


@pytest.fixture(scope="module")
def theirs():
    transformers = pytest.importorskip("transformers")
    names = [*SPECIAL, *TOKENS]
    return transformers.BertTokenizerFast(vocab={name: i for i, name in enumerate(names)})


@pytest.fixture(scope="module")
def ours():
    return WordPiece({token: row for row, token in enumerate(TOKENS)})


def told(tokenizer, text):
    """The reference's pieces, without what stands for an unknown word."""
    pieces = tokenizer.tokenize(text)
    return [piece for piece in pieces if piece not in SPECIAL]


def both(ours, theirs, text):
    assert [TOKENS[row] for row in ours(text)] == told(theirs, text)


@pytest.mark.parametrize("text", WRITTEN)
def test_written_texts(ours, theirs, text):
    both(ours, theirs, text)


# Characters that were given out by 2002: what is newer depends on each library's Unicode tables.
OLD = st.characters(exclude_categories=("Cs",)).filter(
    lambda sign: (
        unicodedata.ucd_3_2_0.category(sign) != "Cn"
        and unicodedata.ucd_3_2_0.category(sign) == unicodedata.category(sign)
    )
)
WORDS = st.sampled_from(
    ["the", "Running", "unbelievable", "x2", "don't", "re-do", "日本", "é", "Ωmega", "💡", "\u0301"]
)


# Words between brackets are left out: [MASK] is a token to the reference and a word to us.
@given(st.text(OLD.filter(lambda sign: sign not in "[]"), max_size=30))
def test_any_text(ours, theirs, text):
    both(ours, theirs, text)


@given(st.lists(st.one_of(WORDS, st.text(OLD, max_size=2)), max_size=12))
@example(["[", "[", "x"])
def test_words_and_noise(ours, theirs, parts):
    text = " ".join(parts)
    if not any(special[1:-1] in text for special in SPECIAL):
        both(ours, theirs, text)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_words_are_cut_as_any_others(text):
    assert basic_words(text) == text.translate(wordpiece._FOLDED).split()


def test_what_is_remembered_stays_bounded(monkeypatch):
    monkeypatch.setattr(wordpiece, "MOST_WORDS", 3)
    pieces = WordPiece({"a": 0, "b": 1, "##b": 2})
    texts = ["a", "ab", "b", "bb", "abb", "c", "ab"]
    assert [pieces(text) for text in texts] == [[0], [0, 2], [1], [1, 2], [0, 2, 2], [], [0, 2]]
    assert len(pieces._pieces) <= 3


def test_an_empty_vocabulary_knows_nothing():
    assert WordPiece({})("some words") == []
