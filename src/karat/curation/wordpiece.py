"""BERT's WordPiece, lower case and without accents: text to the row numbers of its pieces.

Written here because the core installs no tokenizer. Each distinct word is cut into pieces once and
looked up from then on, and each distinct character is classified once, so that what remains per
text is one pass of a regular expression or of `str.translate`.

Source: google-research/bert tokenization.py (BasicTokenizer, WordpieceTokenizer); huggingface/
tokenizers normalizers/bert.rs, whose order of dropping, folding and splitting this follows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from itertools import chain

MOST_CHARS = 100  # of a word; a longer one is unknown as a whole
MOST_WORDS = 200_000  # remembered at a time: about 40 MB

_ASCII_WORD = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPiece:
    """Pieces of texts in one vocabulary. A piece that continues a word begins with ##."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._pieces = _Pieces(vocabulary)

    def __call__(self, text: str) -> list[int]:
        """The numbers of the text's pieces, in order; words that do not fit are left out."""
        return list(chain.from_iterable(map(self._pieces.__getitem__, basic_words(text))))


def basic_words(text: str) -> list[str]:
    """Lower-case words without accents; punctuation and Chinese characters stand alone."""
    if text.isascii():
        return _ASCII_WORD.findall(_ASCII_CONTROL.sub("", text).lower())
    return text.translate(_FOLDED).split(" ")


class _Pieces(dict[str, tuple[int, ...]]):
    """The pieces of every word met so far: the longest that fits, from the left."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._longest = max(map(len, vocabulary), default=0)

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= MOST_WORDS:
            self.clear()
        found = self[word] = self._cut(word)
        return found

    def _cut(self, word: str) -> tuple[int, ...]:
        if len(word) > MOST_CHARS:
            return ()
        pieces: list[int] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = self._vocabulary.get(mark + word[start:end])
                if piece is not None:
                    pieces.append(piece)
                    start = end
                    break
            else:
                return ()
        return tuple(pieces)


class _Folding(dict[int, str]):
    """What each character becomes, for `str.translate`: blanks are where words end."""

    def __missing__(self, point: int) -> str:
        found = self[point] = _fold(chr(point))
        return found


def _fold(sign: str) -> str:
    if sign not in "\t\n\r" and (sign == "\ufffd" or unicodedata.category(sign)[0] == "C"):
        return ""
    if sign.isspace():
        return " "
    bare = [x for x in unicodedata.normalize("NFD", sign) if unicodedata.category(x) != "Mn"]
    folded = "".join(_apart(x) for x in "".join(bare).lower())
    return f" {folded} " if _is_chinese(ord(sign)) else folded


def _apart(sign: str) -> str:
    """The character, between blanks where it is punctuation; in ASCII every symbol is."""
    symbol = sign.isascii() and not sign.isalnum()
    return f" {sign} " if symbol or unicodedata.category(sign)[0] == "P" else sign


def _is_chinese(point: int) -> bool:
    return any(first <= point <= last for first, last in _CHINESE)


_FOLDED = _Folding()
