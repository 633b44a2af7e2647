"""What a prompt asks for: its words, its kind, the length and the format it wants.

Half of what human raters punish is visible only against the request: a list of five that holds
four, prose where a table was wanted, a thousand words where fifty were allowed, an answer about
something else. So the request is read once per prompt and every response is held against it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from karat.row import Message

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,]\d+)*")
MAX_PROMPT_CHARS = 12_000

_COMMON = """
a about above after again all also am an and any are as at be because been before being but by can
could did do does doing don't down each either else for from further get give given had has have
having he her here him his how i i'm if in into is it it's its just know let like make many may me
more most much must my need no not now of on one only or other our out over own please provide
said same say she should show so some such tell than that the their them then there these they
this those through to too under until up us use used using very want was way we were what when
where which while who whom why will with without would write yes you your
"""
STOPWORDS = frozenset(_COMMON.split())
_NUMBER_WORDS = "one two three four five six seven eight nine ten eleven twelve"
_NUMBERS = {word: value for value, word in enumerate(_NUMBER_WORDS.split(), start=1)}
_KINDS: tuple[tuple[str, str], ...] = (
    (
        "list",
        r"\b(?:list|bullets?|enumerate|ideas?|examples?|suggestions?|tips|steps|names?|ways)\b",
    ),
    ("table", r"\b(?:table|columns?|spreadsheet|csv)\b"),
    (
        "code",
        r"```|\b(?:code|python|javascript|typescript|java|c\+\+|sql|html|css|bash|regex|script"
        r"|function|class|api|algorithm|program|excel|latex)\b",
    ),
    (
        "write",
        r"\b(?:write|essay|poem|story|song|lyrics|email|e-mail|letter|blog|article|speech|script"
        r"|scene|dialogue|novel|compose|draft|headline|slogan|description)\b",
    ),
    (
        "edit",
        r"\b(?:rewrite|re-write|paraphrase|summari[sz]e|summary|rephrase|edit|correct|grammar"
        r"|shorten|translate|proofread|improve|revise|convert|extract|classify)\b",
    ),
    (
        "explain",
        r"\b(?:explain|describe|what|why|how|define|difference|compare|meaning|discuss)\b",
    ),
    (
        "role",
        r"\b(?:act as|you are|your role|pretend|imagine|role-?play|i want you to|persona)\b",
    ),
    (
        "math",
        r"\b(?:calculate|solve|equation|sum|probability|percent|how (?:many|much|far))\b"
        r"|\d\s*[+*/=^]\s*\d",
    ),
    (
        "brief",
        r"\b(?:brief(?:ly)?|short|concise(?:ly)?|in a (?:word|sentence)"
        r"|one (?:sentence|paragraph)|quick)\b",
    ),
    (
        "detail",
        r"\b(?:detail(?:s|ed)?|long|comprehensive|in[- ]depth|thorough(?:ly)?|elaborate"
        r"|extensive)\b",
    ),
    ("json", r"\b(?:json|xml|yaml)\b"),
)
_KIND_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in _KINDS)
_ITEMS = re.compile(
    r"\b(\d{1,3}|" + "|".join(_NUMBERS) + r")\s+(?:[^\W\d_]+[\s-]+){0,3}?"
    r"(?:ideas|examples|ways|tips|steps|reasons|names|questions|words|items|points|titles|bullet|"
    r"sentences|paragraphs|things|facts|options|suggestions|challenges|types|topics|[a-z]{4,}s)\b"
)
_LIMIT = re.compile(
    r"\b(\d{1,3}(?:,\d{3})|\d{1,4}|" + "|".join(_NUMBERS) + r")[\s-]*(?:to\s*\d+\s*)?"
    r"(words?|sentences?|paragraphs?|characters?|lines?)\b"
)
_WORDS_PER = {"w": 1.0, "s": 18.0, "p": 80.0, "c": 1 / 6, "l": 10.0}


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt, read once.

    `kinds` holds one 0/1 flag per entry of `KINDS`; `words_wanted` is the length asked for in words
    and `items_wanted` the number of things asked for, both 0 when the prompt names none.
    """

    text: str
    words: frozenset[str]
    content: frozenset[str]
    trigrams: frozenset[tuple[str, str, str]]
    earlier_trigrams: frozenset[tuple[str, str, str]]
    numbers: frozenset[str]
    kinds: tuple[float, ...]
    words_wanted: float
    items_wanted: float
    non_ascii: float
    values: tuple[float, ...]

    def wants(self, kind: str) -> float:
        """1.0 when the prompt asks for this kind of thing, else 0.0."""
        return self.kinds[KINDS.index(kind)]


KINDS = tuple(name for name, _ in _KINDS)
ASK_NAMES = (
    "ask_log_chars",
    "ask_log_context",
    "ask_turns",
    "ask_question",
    "ask_system",
    "ask_words_wanted",
    "ask_items_wanted",
    "ask_non_ascii",
    *(f"ask_{name}" for name in KINDS),
)


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers, in order."""
    return WORD.findall(text.lower())


def trigrams_of(words: Sequence[str]) -> frozenset[tuple[str, str, str]]:
    """The set of runs of three words."""
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def non_ascii_share(text: str) -> float:
    """Share of the characters outside ASCII, 0–1."""
    if not text or text.isascii():
        return 0.0
    return 1.0 - len(text.encode("ascii", "ignore")) / len(text)


def _number(word: str) -> float:
    return float(_NUMBERS.get(word) or word.replace(",", ""))


def _length_wanted(text: str) -> float:
    found = _LIMIT.search(text)
    if not found:
        return 0.0
    return min(_number(found[1]) * _WORDS_PER[found[2][0]], 5000.0)


def _items_wanted(text: str) -> float:
    found = _ITEMS.search(text)
    if not found or found[0].endswith(("words", "sentences", "paragraphs")):
        return 0.0
    wanted = _number(found[1])
    return wanted if wanted <= 60 else 0.0


def read_ask(prompt: Sequence["Message"]) -> Ask:
    """Read a prompt (chat messages, the last of them the user's) into an `Ask`."""
    users = [m.content for m in prompt if m.role == "user"]
    last = (users[-1] if users else prompt[-1].content if prompt else "")[-MAX_PROMPT_CHARS:]
    context = "\n".join(m.content for m in prompt)[-MAX_PROMPT_CHARS:]
    earlier = "\n".join(m.content for m in prompt if m.role == "assistant")[-MAX_PROMPT_CHARS:]
    # An instruction stands at the head or the tail of a pasted document, seldom within it.
    request = (last if len(last) <= 900 else last[:450] + "\n" + last[-450:]).lower()
    words = words_of(context)
    kinds = tuple(float(bool(pattern.search(request))) for _, pattern in _KIND_PATTERNS)
    words_wanted, items_wanted = _length_wanted(request), _items_wanted(request)
    values = (
        log1p(len(last)),
        log1p(len(context)),
        float(min(len(users), 8)),
        float("?" in request),
        float(any(m.role == "system" for m in prompt)),
        log1p(words_wanted),
        log1p(items_wanted),
        non_ascii_share(last),
        *kinds,
    )
    return Ask(
        text=last,
        words=frozenset(words),
        content=frozenset(w for w in words_of(last) if w not in STOPWORDS and len(w) > 2),
        trigrams=trigrams_of(words),
        earlier_trigrams=trigrams_of(words_of(earlier)),
        numbers=frozenset(w for w in words if w[0].isdigit()),
        kinds=kinds,
        words_wanted=words_wanted,
        items_wanted=items_wanted,
        non_ascii=non_ascii_share(last),
        values=values,
    )
