"""Which instructions one answer cannot follow together, or not without contortion.

A composition that nothing satisfies would teach a model that instructions may be broken. Kinds that
never go together stand in a table; whether two or three of the others do depends on their kwargs,
and is reckoned: what one forces into the text may not be what another keeps out, the least that all
force must fit below every upper limit, and what is left must read like any other text: no sentence
of fifty words, no long answer without its w.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Drawn = tuple[str, dict[str, Any]]  # an instruction's id and its kwargs

EXISTENCE, FREQUENCY = "keywords:existence", "keywords:frequency"
FORBIDDEN, LETTER = "keywords:forbidden_words", "keywords:letter_frequency"
LANGUAGE = "language:response_language"
WORDS, SENTENCES = "length_constraints:number_words", "length_constraints:number_sentences"
PARAGRAPHS = "length_constraints:number_paragraphs"
FIRST_WORD = "length_constraints:nth_paragraph_first_word"
PLACEHOLDERS, POSTSCRIPT = "detectable_content:number_placeholders", "detectable_content:postscript"
BULLETS = "detectable_format:number_bullet_lists"
CONSTRAINED = "detectable_format:constrained_response"
HIGHLIGHTS = "detectable_format:number_highlighted_sections"
SECTIONS = "detectable_format:multiple_sections"
JSON, TITLE = "detectable_format:json_format", "detectable_format:title"
TWO, REPEAT = "combination:two_responses", "combination:repeat_prompt"
END, QUOTATION = "startend:end_checker", "startend:quotation"
CAPITAL, LOWERCASE = "change_case:english_capital", "change_case:english_lowercase"
CAPITAL_WORDS = "change_case:capital_word_frequency"
NO_COMMA = "punctuation:no_comma"

# These give the whole answer its form and go with few others.
ONLY_WITH: dict[str, frozenset[str]] = {
    CONSTRAINED: frozenset(),
    JSON: frozenset({EXISTENCE, FREQUENCY, FORBIDDEN}),
    TWO: frozenset({EXISTENCE, FORBIDDEN, LANGUAGE, TITLE, CAPITAL, LOWERCASE, NO_COMMA}),
    REPEAT: frozenset({EXISTENCE, TITLE, POSTSCRIPT, END, HIGHLIGHTS, PLACEHOLDERS, NO_COMMA}),
}
NEVER_WITH: dict[str, frozenset[str]] = {
    # English words or English ways of counting in a text of another language
    LANGUAGE: frozenset({
        EXISTENCE, FREQUENCY, FORBIDDEN, LETTER, WORDS, SENTENCES, FIRST_WORD, SECTIONS, END,
        CAPITAL, LOWERCASE, CAPITAL_WORDS, POSTSCRIPT,
    }),
    LOWERCASE: frozenset({CAPITAL, CAPITAL_WORDS, SECTIONS}),
    CAPITAL: frozenset({CAPITAL_WORDS, SECTIONS}),
    SECTIONS: frozenset({PARAGRAPHS, FIRST_WORD, CAPITAL_WORDS}),
    # blank lines around a title, a list or a postscript would count as paragraphs
    FIRST_WORD: frozenset({PARAGRAPHS, BULLETS, TITLE, POSTSCRIPT}),
    # two last words, or something after the last word
    END: frozenset({POSTSCRIPT, QUOTATION}),
}  # fmt: skip

# What a part of an answer takes at the least: words, and sentences, for each one asked for.
_LEAST = {
    PARAGRAPHS: ("num_paragraphs", 10, 1),
    FIRST_WORD: ("num_paragraphs", 10, 1),
    SECTIONS: ("num_sections", 8, 1),
    BULLETS: ("num_bullets", 5, 1),
    HIGHLIGHTS: ("num_highlights", 3, 0),
    PLACEHOLDERS: ("num_placeholders", 2, 0),
}
_AT_LEAST = {
    WORDS: ("num_words", 1, 0),
    SENTENCES: ("num_sentences", 8, 1),
    FREQUENCY: ("frequency", 2, 0),
    CAPITAL_WORDS: ("capital_frequency", 2, 0),
}
# In 5321 prompts that people wrote (HH-RLHF, OpenAssistant, Chatbot Arena, IFEval, MT-Bench,
# Self-Instruct, GSM8K) there is a d for every 7 words and a b for every 17: letters that may be
# asked for. Of those that may be kept rare there is a w for every 11 and a v for every 27.
ASKED_FOR = 8  # words, with some care, for each letter of which there must be many
KEPT_RARE = 10  # words of any text that may hold one of the letters of which there must be few
IN_A_SENTENCE = 15, 25  # words: English has about the first, and nobody must write above the other
_OTHER = {TITLE: (3, 1), POSTSCRIPT: (6, 2), END: (8, 1), EXISTENCE: (6, 0)}


def clashes(first: str, second: str) -> bool:
    """Whether two kinds never go together. Every kind clashes with itself."""
    if first == second:
        return True
    for one, other in ((first, second), (second, first)):
        if other in NEVER_WITH.get(one, ()) or (one in ONLY_WITH and other not in ONLY_WITH[one]):
            return True
    return False


def satisfiable(drawn: Sequence[Drawn]) -> bool:
    """Whether an ordinary answer can follow all of them at once."""
    places = range(len(drawn))
    if any(clashes(drawn[i][0], drawn[j][0]) for i in places for j in places[:i]):
        return False
    forced = " ".join(_forced(*one) for one in drawn)
    return _words_apart(drawn) and _fits(drawn) and all(_allows(*one, forced) for one in drawn)


def _is_limit(kwargs: dict[str, Any]) -> bool:
    return "less than" in kwargs.values()


def _forced(kind: str, kwargs: dict[str, Any]) -> str:
    """The text that must stand in an answer."""
    if kind == EXISTENCE:
        return " ".join(kwargs["keywords"])
    if kind == FREQUENCY and not _is_limit(kwargs):
        return " ".join([kwargs["keyword"]] * kwargs["frequency"])
    if kind == SECTIONS:
        return " ".join([kwargs["section_spliter"]] * kwargs["num_sections"])
    named = ("first_word", "end_phrase", "prompt_to_repeat", "postscript_marker")
    return " ".join(kwargs[name] for name in named if name in kwargs)


def _allows(kind: str, kwargs: dict[str, Any], forced: str) -> bool:
    """Whether one instruction leaves room for what all of them force."""
    text = forced.lower()
    if kind == NO_COMMA:
        return "," not in text
    if kind == FORBIDDEN:
        return not any(re.search(rf"\b{re.escape(w)}\b", text) for w in kwargs["forbidden_words"])
    if not _is_limit(kwargs):
        return True
    if kind == FREQUENCY:
        return text.count(kwargs["keyword"]) < int(kwargs["frequency"])
    if kind == LETTER:
        return text.count(kwargs["letter"]) < int(kwargs["let_frequency"])
    return True


def _words_apart(drawn: Sequence[Drawn]) -> bool:
    """No word is asked for twice, or for its own and inside another: "tea" and "team"."""
    words = [
        word
        for _, kwargs in drawn
        for word in (
            *kwargs.get("keywords", ()),
            *kwargs.get("forbidden_words", ()),
            *([kwargs["keyword"]] if "keyword" in kwargs else ()),
        )
    ]
    pairs = ((a, b) for i, a in enumerate(words) for b in words[:i])
    return not any(a in b or b in a for a, b in pairs)


def _fits(drawn: Sequence[Drawn]) -> bool:
    """Whether the least that all force fits below the upper limits on words, sentences, letters."""
    asked = dict(drawn)
    words = sentences = 0
    for kind, kwargs in drawn:
        name, each_words, each_sentences = _LEAST.get(kind, ("", 0, 0))
        if kind in _AT_LEAST and not _is_limit(kwargs):
            name, each_words, each_sentences = _AT_LEAST[kind]
        count = kwargs[name] if name else 0
        more = _OTHER.get(kind, (0, 0))
        words += count * each_words + more[0]
        sentences += count * each_sentences + more[1]
    usual, most_words = IN_A_SENTENCE
    letters = asked.get(LETTER, {})
    if letters and not _is_limit(letters):
        words = max(words, ASKED_FOR * letters["let_frequency"])
    elif letters and max(words, usual * sentences) >= KEPT_RARE * letters["let_frequency"]:
        return False
    if _is_limit(asked.get(WORDS, {})) and words >= asked[WORDS]["num_words"]:
        return False
    if not _is_limit(asked.get(SENTENCES, {})):
        return True
    most = asked[SENTENCES]["num_sentences"] - 1
    return bool(sentences <= most and words <= most_words * most)
