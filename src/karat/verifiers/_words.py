"""Words of a text, counted the way IFEval's own scores were.

Three counts need three notions of a word: a run of letters and digits for lengths, what NLTK's
tokeniser calls a token for words in capitals ("DON'T" is two of them), and common English words for
telling English apart without a model.
"""

from __future__ import annotations

import re

# Where NLTK's word tokeniser cuts inside what stands between white space.
_CUTS = re.compile(r"[;@#$%&?!*\[\](){}<>\"“”‘’„«»\u2012-\u2015]|`+|''|--|\.{2,}|[:,](?!\d)")
_CLITIC = re.compile(r"(?<=[^' ])(?:'[smd]|'ll|'re|'ve|n't|')$", re.IGNORECASE)
_JOINED = re.compile(r"(?<=\bcan)(?=not\b)|(?<=\b(?:gim|lem))(?=me\b)|(?<=\bwan)(?=na\b)"
                     r"|(?<=\bgon)(?=na\b)|(?<=\bgot)(?=ta\b)", re.IGNORECASE)  # fmt: skip


def word_set(text: str) -> frozenset[str]:
    """The words of a list written as text."""
    return frozenset(text.split())


# Common in English and rare in every other language: not "a", "as", "do", "in", "of" or "so".
ENGLISH = word_set(
    "about after also and any are because been but by can could did does each every explain from "
    "have here his how if into it its just like made make many more much must my not one only or "
    "other our out people please search she should some such suggest tell than that the their them "
    "then there these they this those through time today used using very way were what when where "
    "which while who why with without would write years you your"
)
LEAST_ENGLISH = 0.05  # of the words; running English has a quarter, other languages below 0.03
SHORT = 12  # words up to which one common word is enough
TERSE = 3  # words up to which Latin letters are enough


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores: "don't" is two."""
    return len(re.findall(r"\w+", text))


def count_capital_words(text: str) -> int:
    """Tokens whose letters are all capitals, as NLTK's word tokeniser cuts them.

    "I" and "A" are such words, "AND/OR" and "WELL-KNOWN" are one each, "DON'T" is two.
    """
    count = 0
    for piece in _CUTS.sub(" ", text).split():
        piece = piece.rstrip(".")
        clitic = _CLITIC.search(piece)
        parts = [piece] if clitic is None else [piece[: clitic.start()], clitic.group()]
        count += sum(word.isupper() for part in parts for word in _JOINED.split(part))
    return count


def is_english(text: str) -> bool:
    """Whether a text is in English by its common words; one without letters counts as English.

    A stand-in for a language detector that needs no model and gives the same verdict everywhere.
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    if len(words) <= TERSE:
        return all(word.isascii() for word in words)
    common = sum(word in ENGLISH for word in words)
    return common >= (1 if len(words) <= SHORT else LEAST_ENGLISH * len(words))
