"""Surface representation of a response, and of how it answers its prompt.

A hidden state of a language model costs seconds of CPU per response; what a small head can learn
from a thousand ratings is mostly visible on the surface: how long, how structured, how repetitive,
whether it ends, whether it refuses, whether it speaks of what was asked. These features cost about
a millisecond, need no weights, and never fail on any text.
"""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from math import log, log1p
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from karat.rewards.asks import ASK_NAMES, STOPWORDS, Ask, non_ascii_share, read_ask, words_of

if TYPE_CHECKING:
    from karat.row import Message

VERSION = 1
MAX_CHARS = 16_000

_SENTENCE_END = re.compile(r"[.!?。！？…]+[\"')\]*_]*(?:\s+|$)|\n+")
_BULLET = re.compile(r"^[ \t]*[-*•+] +\S", re.M)
_NUMBERED = re.compile(r"^[ \t]*(?:\*\*)?\(?(?:\d{1,3}|[a-zA-Z])[.):] +\S", re.M)
_HEADER = re.compile(r"^(?:#{1,6} +\S|\*\*[^*\n]{2,80}\*\*:?\s*$)", re.M)
_TABLE_ROW = re.compile(r"^\|.*\|[ \t]*$", re.M)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*")
_CODE_LINE = re.compile(
    r"^(?: {4}|\t)\S|[;{}]\s*$|^(?:def|import|from|class|SELECT|#include)\b", re.M
)
_LABEL = re.compile(r":[ \t]*$", re.M)
_URL = re.compile(r"https?://|www\.")
_PLACEHOLDER = re.compile(r"\[[A-Z][^\]\n]{2,40}\]")
_ENDS_WELL = tuple(".!?。！？\"”')]}>|*…$`")

_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able|afraid|not (?:sure|certain))"
    r"|i (?:can(?:'t|not|not)|could ?n(?:o|')t|do(?:n't| not) (?:have|know|understand|feel)"
    r"|won't|will not|apologi[sz]e)|unfortunately|my apologies|as an ai|as a language model"
    r"|it (?:is|'s) not (?:possible|appropriate|clear)|(?:could|can) you (?:please )?"
    r"(?:clarify|provide|be more|tell me|share|give|explain|specify)"
    r"|please (?:provide|clarify|specify|share))\b"
)
_OPENER = re.compile(
    r"\W*(?:sure|certainly|of course|absolutely|great|okay|ok|yes|no|here(?:'s| is| are)|thank)\b"
)
_CLOSER = re.compile(
    r"\b(?:i hope|let me know|feel free|hope this|if you have any|please note|happy to|good luck)\b"
)
_SUMMARY = re.compile(r"\b(?:in conclusion|in summary|overall|to summarize|ultimately|in short)\b")
_META = re.compile(r"<\|?[a-z_]{2,20}\|?>|\b(?:user|assistant|human)\s*:|<extra_id")

_VOCABULARY = {
    "hedges": "may might could perhaps possibly maybe seems appears probably likely generally"
    " typically",
    "links": "however therefore because since thus although moreover furthermore additionally first"
    " second third finally next then while whereas instead example instance specifically such",
    "first_person": "i i'm i've i'll my me mine i’m",
    "second_person": "you your you're yours you’re yourself",
    "negations": "not no never cannot can't don't doesn't isn't won't without none nothing",
}
_WORD_SETS = tuple(frozenset(words.split()) for words in _VOCABULARY.values())

RESPONSE_NAMES = (
    "log_chars",
    "log_words",
    "log_sentences",
    "log_lines",
    "log_paragraphs",
    "words_per_sentence",
    "longest_sentence",
    "chars_per_word",
    "long_word_share",
    "stopword_share",
    "root_types",
    "type_share",
    "once_share",
    "repeated_trigrams",
    "repeated_lines",
    "top_word_share",
    "compression",
    "digit_share",
    "punctuation_share",
    "upper_share",
    "non_ascii",
    "bullets",
    "numbered",
    "headers",
    "bold",
    "table_rows",
    "fences",
    "code_lines",
    "labels",
    "urls",
    "placeholders",
    "listed_share",
    "refusal_head",
    "refusals",
    "opener",
    "closer",
    "summary",
    "meta",
    *_VOCABULARY,
    "questions",
    "ends_with_question",
    "exclamations",
    "ends_well",
    "unclosed",
    "empty",
)
RELATION_NAMES = (
    "coverage",
    "on_topic_share",
    "new_content",
    "copied_trigrams",
    "repeats_earlier",
    "echo",
    "log_length_ratio",
    "number_overlap",
    "words_over",
    "words_under",
    "items_missing",
    "items_over",
    "list_unmet",
    "table_unmet",
    "code_unmet",
    "code_unasked",
    "json_unmet",
    "script_mismatch",
    "brief_x_length",
    "detail_x_length",
    "edit_x_ratio",
    "question_x_length",
)
NAMES: tuple[str, ...] = RESPONSE_NAMES + RELATION_NAMES + ASK_NAMES


def _clip(text: str) -> str:
    """A text short enough to read: its head and its tail, where answers start and end."""
    if len(text) <= MAX_CHARS:
        return text
    return text[: MAX_CHARS * 3 // 4] + "\n" + text[-MAX_CHARS // 4 :]


def _unclosed(text: str) -> float:
    brackets = min(abs(text.count("(") - text.count(")")), 3) / 3
    return text.count("```") % 2 + brackets + text.count("**") % 2


class _Read:
    """A response cut into words, lines and sentences once, for both groups of features."""

    def __init__(self, response: str) -> None:
        self.size = len(response)
        self.text = _clip(response).strip()
        self.words = words_of(self.text)
        self.n = max(len(self.words), 1)
        self.counts = Counter(self.words)
        self.trigrams = list(zip(self.words, self.words[1:], self.words[2:], strict=False))
        self.lines = [line for line in map(str.strip, self.text.split("\n")) if line]
        self.bullets = len(_BULLET.findall(self.text))
        self.numbered = len(_NUMBERED.findall(self.text))
        self.tables = len(_TABLE_ROW.findall(self.text))
        self.fences = self.text.count("```")
        self.code = len(_CODE_LINE.findall(self.text)) if self.text else 0


def _lexical(read: _Read) -> list[float]:
    """Length and vocabulary: `log_chars` … `non_ascii`."""
    text, words, counts, n = read.text, read.words, read.counts, read.n
    sentences = [s for s in _SENTENCE_END.split(text) if s and not s.isspace()]
    lengths = [s.count(" ") + 1 for s in sentences] or [0]
    raw = text.encode("utf-8", "replace")
    chars = max(len(text), 1)
    letters = sum(map(len, words))
    # A text read in part is as long as it was, so the counts that grow with it are scaled back up.
    grow = max(read.size, 1) / chars if read.size > MAX_CHARS else 1.0
    return [
        log1p(read.size),
        log1p(len(words) * grow),
        log1p(len(sentences) * grow),
        log1p(len(read.lines) * grow),
        log1p(text.count("\n\n") * grow),
        min(sum(lengths) / len(lengths), 80.0),
        log1p(max(lengths)),
        min(letters / n, 20.0),
        sum(c for w, c in counts.items() if len(w) > 7) / n,
        sum(c for w, c in counts.items() if w in STOPWORDS) / n,
        len(counts) / n**0.5,
        len(counts) / n,
        sum(c == 1 for c in counts.values()) / n,
        1.0 - len(set(read.trigrams)) / max(len(read.trigrams), 1),
        1.0 - len(set(read.lines)) / max(len(read.lines), 1),
        max(counts.values(), default=0) / n,
        len(zlib.compress(raw, 1)) / max(len(raw), 1) * log(max(len(raw), 2)),
        sum(map(text.count, "0123456789")) / chars,
        sum(map(text.count, ".,;:!?")) / chars,
        sum(map(str.isupper, text[:2000])) / min(chars, 2000),
        non_ascii_share(text),
    ]


def _style(read: _Read) -> list[float]:
    """Structure, manner and ending: `bullets` … `empty`."""
    text, counts, n = read.text, read.counts, read.n
    lower = text.lower()
    head, tail = lower[:220], lower[-260:]
    return [
        log1p(read.bullets),
        log1p(read.numbered),
        log1p(len(_HEADER.findall(text))),
        log1p(len(_BOLD.findall(text))),
        log1p(read.tables),
        log1p(read.fences),
        log1p(read.code),
        log1p(len(_LABEL.findall(text))),
        log1p(len(_URL.findall(text))),
        log1p(len(_PLACEHOLDER.findall(text))),
        (read.bullets + read.numbered) / max(len(read.lines), 1),
        float(bool(_REFUSAL.search(head))),
        log1p(len(_REFUSAL.findall(lower[:2000]))),
        float(bool(_OPENER.match(head))),
        float(bool(_CLOSER.search(tail))),
        float(bool(_SUMMARY.search(tail))),
        log1p(len(_META.findall(lower))),
        *(100.0 * sum(counts[w] for w in words) / n for words in _WORD_SETS),
        log1p(text.count("?")),
        float(text.endswith("?")),
        log1p(text.count("!")),
        float(text.endswith(_ENDS_WELL)),
        _unclosed(text),
        float(not read.words),
    ]


def _relation(read: _Read, ask: Ask) -> list[float]:
    """How the response answers the prompt: `coverage` … `question_x_length`."""
    text, n = read.text, read.n
    types = read.counts.keys()
    content = [w for w in types if w not in STOPWORDS and len(w) > 2]
    shared = len(ask.content.intersection(types))
    listed = max(read.bullets, read.numbered, read.tables - 2)
    log_words = log1p(len(read.words))
    over = log1p(n) - log1p(ask.words_wanted) if ask.words_wanted else 0.0
    items = ask.items_wanted
    coded = float(read.fences > 1 or read.code > 2)
    ratio = log1p(read.size) - log1p(len(ask.text))
    trigrams = max(len(read.trigrams), 1)
    numbers = ask.numbers.intersection(types)
    return [
        shared / max(len(ask.content), 1),
        shared / max(len(content), 1),
        log1p(len(content) - sum(w in ask.words for w in content)),
        sum(t in ask.trigrams for t in read.trigrams) / trigrams,
        sum(t in ask.earlier_trigrams for t in read.trigrams) / trigrams,
        float(len(text) > 20 and text[:60].lower() in ask.text.lower()),
        ratio,
        len(numbers) / max(len(ask.numbers), 1),
        max(over, 0.0),
        max(-over, 0.0),
        max(items - listed, 0.0) / items if items and listed else 0.0,
        min(max(listed - items, 0.0) / items, 3.0) if items else 0.0,
        ask.wants("list") * float(listed < 2),
        ask.wants("table") * float(read.tables < 3),
        ask.wants("code") * (1.0 - coded),
        (1.0 - ask.wants("code")) * coded,
        ask.wants("json") * float("{" not in text and "<" not in text),
        abs(non_ascii_share(text) - ask.non_ascii),
        ask.wants("brief") * log_words,
        ask.wants("detail") * log_words,
        ask.wants("edit") * ratio,
        ask.wants("explain") * log_words,
    ]


def features_of(ask: Ask, responses: Sequence[str]) -> npt.NDArray[np.float64]:
    """The features `x_NF` of n responses to one prompt already read, F = `len(NAMES)`."""
    x_NF = np.empty((len(responses), len(NAMES)))
    for i, response in enumerate(responses):
        read = _Read(response)
        x_NF[i] = [*_lexical(read), *_style(read), *_relation(read, ask), *ask.values]
    return x_NF


def features(prompt: Sequence["Message"], responses: Sequence[str]) -> npt.NDArray[np.float64]:
    """The features `x_NF` of n responses to one prompt, columns in the order of `NAMES`."""
    return features_of(read_ask(prompt), responses)
