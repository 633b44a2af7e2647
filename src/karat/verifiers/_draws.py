"""What an instruction asks for in one prompt: its kwargs, drawn by seed from sensible ranges.

Keywords come from the prompt itself, so that an answer can hold them without going astray; IFEval
drew them from all of English. A draw gives None where the instruction would make no sense under
that prompt: no yes or no to a question that wants neither, no placeholders outside a text to send,
no English asked of a prompt in another language.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from karat.verifiers._language import LANGUAGES, can_tell
from karat.verifiers._words import is_english, word_set

Kwargs = dict[str, Any]
Draw = Callable[[random.Random, str], Kwargs | None]

END_PHRASES = (
    "Is there anything else you would like to know?", "I hope this helps.", "That is all for now.",
    "Let me know what you think.", "Thank you for reading.", "Now it is your turn.",
    "Take your time and enjoy it.", "What would you do?",
)  # fmt: skip
FIRST_WORDS = (
    "today", "many", "people", "first", "there", "because", "when", "sometimes", "although",
    "every", "another", "often", "some", "while", "imagine", "most", "here", "since",
)  # fmt: skip
ANYWHERE = (  # words an answer to nearly anything can hold
    "example", "important", "reason", "different", "change", "people", "result", "simple", "begin",
    "learn", "often", "together", "careful", "choice", "useful", "moment", "question", "common",
)  # fmt: skip
OVERUSED = (
    "very", "really", "important", "however", "also", "many", "good", "best", "great", "just",
    "always", "things", "overall", "various", "essential",
)  # fmt: skip
# Letters an answer can do with more of, and those it can do with less of: 100 words hold 4 to 8 of
# each of these, while any answer would keep a limit on the letter q. None of the latter that is in
# the topic: who writes of water needs the w.
MORE_LETTERS, FEWER_LETTERS = "bcdfgmpuwy", "bkvw"
SPLITERS = ("Section", "SECTION", "Part")
MARKERS = ("P.S.", "P.P.S")
LONGEST_TO_REPEAT = 300  # characters
_LEAST_LETTERS = 4
_YES_OR_NO = re.compile(
    r"(?:is|are|am|was|were|do|does|did|can|could|should|would|will|has|have)\s", re.IGNORECASE
)
_OR = re.compile(r"\bor\b", re.IGNORECASE)
_TO_SEND = re.compile(
    r"\b(?:e-?mail|letter|invitation|template|form|speech|advert\w*|announcement|cover|resume|"
    r"message|flyer|contract|proposal|postcard|greeting|itinerary|invoice|memo)\b",
    re.IGNORECASE,
)
_NO_TOPIC = word_set(
    "about above after again against also although among answer anyone anything aren because been "
    "before being below best between both cannot could describe details different does doing "
    "down during each easy else even every everyone example examples explain find first following "
    "from give given good hadn happen have having help here himself hours however into itself just "
    "kind know last less like list lines little long look made make many means more most much must "
    "need needs never often once only other others ourselves over paragraph paragraphs people "
    "person please prefer question questions rather really request right same sentence sentences "
    "several short should show simple some someone something sometimes step steps such summarise "
    "summarize take takes tell than that their them themselves then there these they thing things "
    "think this those three through time times under until using very want ways well were what "
    "when where whether which while whom whose will with within without word words work would "
    "write writing yourself your yours"
)


def topic_words(prompt: str) -> list[str]:
    """The words of a prompt that say what it is about, in lower case and order, each one once."""
    words = re.findall(r"(?<![\w'’-])[^\W\d_]+(?![\w'’-])", prompt)
    lower = dict.fromkeys(word.lower() for word in words if word.isascii())
    return [word for word in lower if len(word) >= _LEAST_LETTERS and word not in _NO_TOPIC]


def _mixed(rng: random.Random, prompt: str, count: int, others: tuple[str, ...]) -> list[str]:
    """`count` words, at most one of them the prompt's own, sorted as IFEval has them."""
    topical = topic_words(prompt)
    words = [rng.choice(topical)] if topical else []
    rest = [word for word in others if word not in words]
    return sorted(words + rng.sample(rest, count - len(words)))


def _relation(rng: random.Random) -> str:
    return rng.choice(["at least", "less than"])


def _existence(rng: random.Random, prompt: str) -> Kwargs:
    return {"keywords": _mixed(rng, prompt, rng.randint(1, 3), ANYWHERE)}


def _frequency(rng: random.Random, prompt: str) -> Kwargs:
    word = rng.choice(topic_words(prompt) or list(ANYWHERE))
    return {"keyword": word, "frequency": rng.randint(2, 4), "relation": _relation(rng)}


def _forbidden(rng: random.Random, prompt: str) -> Kwargs:
    return {"forbidden_words": _mixed(rng, prompt, rng.randint(1, 3), OVERUSED)}


def _letter(rng: random.Random, prompt: str) -> Kwargs:
    relation = _relation(rng)
    topical = set().union(*topic_words(prompt))
    fewer = [letter for letter in FEWER_LETTERS if letter not in topical]
    if relation == "less than" and not fewer:
        relation = "at least"
    letters, low, high = (MORE_LETTERS, 4, 12) if relation == "at least" else (fewer, 2, 4)
    count = rng.randint(low, high)
    return {"letter": rng.choice(letters), "let_frequency": count, "let_relation": relation}


def _language(rng: random.Random, prompt: str) -> Kwargs | None:
    others = [code for code in LANGUAGES if code != "en"]
    return {"language": rng.choice(others)} if can_tell() and is_english(prompt) else None


def _words(rng: random.Random, prompt: str) -> Kwargs:
    relation = _relation(rng)
    low, high = (5, 25) if relation == "at least" else (6, 20)
    return {"num_words": 10 * rng.randint(low, high), "relation": relation}


def _sentences(rng: random.Random, prompt: str) -> Kwargs:
    relation = _relation(rng)
    low, high = (3, 10) if relation == "at least" else (4, 10)
    return {"num_sentences": rng.randint(low, high), "relation": relation}


def _first_word(rng: random.Random, prompt: str) -> Kwargs:
    count = rng.randint(2, 4)
    nth = rng.randint(1, count)
    word = rng.choice(FIRST_WORDS)
    return {"first_word": word, "num_paragraphs": count, "nth_paragraph": nth}


def _placeholders(rng: random.Random, prompt: str) -> Kwargs | None:
    return {"num_placeholders": rng.randint(2, 5)} if _TO_SEND.search(prompt) else None


def _sections(rng: random.Random, prompt: str) -> Kwargs:
    return {"section_spliter": rng.choice(SPLITERS), "num_sections": rng.randint(2, 4)}


def _capital_words(rng: random.Random, prompt: str) -> Kwargs:
    # Never "less than": hardly any answer has such words unasked.
    return {"capital_relation": "at least", "capital_frequency": rng.randint(2, 8)}


def _constrained(rng: random.Random, prompt: str) -> Kwargs | None:
    text = prompt.rstrip()
    if not text.endswith("?"):
        return None
    start = max(text.rfind(mark, 0, -1) for mark in ".!?\n") + 1
    asked = text[start:].lstrip()
    return {} if _YES_OR_NO.match(asked) and not _OR.search(asked) else None


def _repeat(rng: random.Random, prompt: str) -> Kwargs | None:
    text = prompt.strip()
    short = 0 < len(text) <= LONGEST_TO_REPEAT and "\n" not in text
    return {"prompt_to_repeat": text} if short else None


def _number(name: str, low: int, high: int) -> Draw:
    return lambda rng, prompt: {name: rng.randint(low, high)}


def _one_of(name: str, choices: tuple[str, ...]) -> Draw:
    return lambda rng, prompt: {name: rng.choice(choices)}


def _nothing(rng: random.Random, prompt: str) -> Kwargs:
    return {}


def _in_english(rng: random.Random, prompt: str) -> Kwargs | None:
    return {} if is_english(prompt) else None


DRAWS: dict[str, Draw] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letter,
    "language:response_language": _language,
    "length_constraints:number_words": _words,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _number("num_paragraphs", 2, 5),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _one_of("postscript_marker", MARKERS),
    "detectable_format:number_bullet_lists": _number("num_bullets", 2, 6),
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _number("num_highlights", 2, 4),
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _nothing,
    "detectable_format:title": _nothing,
    "combination:two_responses": _nothing,
    "combination:repeat_prompt": _repeat,
    "startend:end_checker": _one_of("end_phrase", END_PHRASES),
    "startend:quotation": _nothing,
    "change_case:english_capital": _in_english,
    "change_case:english_lowercase": _in_english,
    "change_case:capital_word_frequency": _capital_words,
    "punctuation:no_comma": _nothing,
}
