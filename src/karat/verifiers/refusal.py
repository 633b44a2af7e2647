"""refusal: whether a response declines to do what was asked.

Data that should teach a model to answer is spoilt by refusals, and a reward model likes polite
ones. Only the first sentences are read: a model that declines says so at once, and further on "I
cannot" belongs to a story, a letter or an argument. Not every "I cannot" is one: an answer may open
with a reserve and answer all the same, and one that asks for what is missing is ready to. So there
are three kinds, and by default the first alone fails. What objects without declining ("that would
be illegal") or knows nothing ("I don't know") passes.
"""

from __future__ import annotations

import re
from typing import Literal

from karat.verifiers._refusals import ASKS, BUT, ENGLISH, HEDGE, HELPS, OTHERS, SORRY
from karat.verifiers.base import Item, Verdict

NEEDS: tuple[str, ...] = ()
EXTRA = ""

Kind = Literal["", "declines", "partial", "asks"]
SENTENCES = 3  # of a response that are read
READ = 2000  # characters in which they end, and in which more is asked for
LONG = 900  # characters after a refusal that are an answer, whatever they say
SHORT = 120  # characters after a reserve from which there is an answer
ITEMS = 3  # lines of a list that are an answer
QUOTED = 160  # characters of a reason
_CUT = re.compile(r"(?<=[.!?…])[\"')\]*_]*\s+|(?<=[。！？।])|\n+")
_ITEM = re.compile(r"^\s*(?:[-*•+]|\d{1,2}[.)])\s+\S", re.MULTILINE)
_AFTER_SORRY = re.compile(r"[\s,.;:!–—-]*(?:but\b,?\s*)?", re.IGNORECASE)
_AROUND = " *_\"'#>-“”«»„"
_PLAIN = tuple(
    (re.compile(pattern, re.IGNORECASE), plain)
    for pattern, plain in (
        (r"[’‘]", "'"),
        (r"\bcan(?:'?t|not)\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"\b(i|we)'m\b", r"\1 am"),
        (r"\b(i|we)'d\b", r"\1 would"),
        (r"\b(i|we)'ll\b", r"\1 will"),
        (r"\b(that|this|it|here)'s\b", r"\1 is"),
        (r"\blet's\b", "let us"),
    )
)


def verify(item: Item, *, partial: bool = False, asking: bool = False) -> Verdict:
    """Passes what does not decline. `partial`: what declines and then helps fails too; `asking`:
    so does what declines for want of something that it asks for."""
    found, sentence = refusal(item.response)
    counted = {"declines": True, "partial": partial, "asks": asking}
    if not counted.get(found, False):
        return Verdict(passed=True)
    shown = sentence if len(sentence) <= QUOTED else f"{sentence[:QUOTED]} …"
    return Verdict(passed=False, reason=f"declines: {shown}")


def refusal(response: str) -> tuple[Kind, str]:
    """How a response declines, and the sentence that does; "" where it does not.

    `declines` and no more; `partial`: it declines and helps all the same; `asks` for what it would
    need. In English and 17 other languages.
    """
    text = response.strip()
    at = 0
    sentences = [part for part in _CUT.split(text[:READ]) if part.strip(_AROUND)]
    for sentence in sentences[:SENTENCES]:
        at = text.index(sentence, at) + len(sentence)
        said = _plain(sentence).strip(_AROUND)
        sorry = SORRY.match(said)
        if sorry:
            said = said[sorry.end() :]
            said = _AFTER_SORRY.sub("", said, count=1)
        found = ENGLISH.search(said) or OTHERS.search(said)
        if found and not _quoted(said[: found.start() + 1]):
            rest = _plain(text[at:]).strip()
            return _kind(said, found.end(), rest), sentence.strip()
    return "", ""


def _quoted(before: str) -> bool:
    """Whether a quotation is open where this ends: somebody else declines."""
    marks = sum(before.count(closing) for closing in "”»")
    return before.count('"') % 2 == 1 or before.count("“") + before.count("«") > marks


def _kind(said: str, end: int, rest: str) -> Kind:
    """said: the sentence that declines, up to `end`; rest: what follows it."""
    if ASKS.search(f"{said} {rest[:READ]}"):
        return "asks"
    inside = BUT.search(said, end)
    reserved = HEDGE.search(said) or inside or BUT.match(rest)
    answers = (
        "```" in rest
        or len(_ITEM.findall(rest)) >= ITEMS
        or len(rest) > LONG
        or (len(rest) > SHORT and (HELPS.search(rest) or reserved))
        or (inside is not None and len(said) - inside.end() + len(rest) > SHORT // 4)
    )
    return "partial" if answers else "declines"


def _plain(text: str) -> str:
    """With "not" for "n't", "I am" for "I'm", and straight apostrophes."""
    for pattern, plain in _PLAIN:
        text = pattern.sub(plain, text)
    return text
