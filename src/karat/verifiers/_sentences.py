"""How many sentences a text has, counted the way IFEval's own scores were.

Those come from Punkt with the English parameters that NLTK ships, so its rules stand here, odd ones
included: "1." before a capital is a sentence, "e.g." ends one, and the stars after "**Done.**" are
one. Punkt's trained tables are not needed for a count: a short list of abbreviations and one of
words that open sentences stand for them.

Source: Kiss and Strunk 2006, "Unsupervised Multilingual Sentence Boundary Detection", §3 and §4.
"""

from __future__ import annotations

import re

from karat.verifiers._words import word_set

ABBREVIATIONS = word_set(
    # titles
    "dr mr mrs ms messrs prof gen col lt maj sen rep reps st jr sr adm ph.d "
    # months and days
    "jan feb aug sept sep oct nov dec tues wed fri "
    # places, and how they are written in dates, times and addresses
    "ala ariz calif colo conn fla ga ill kan ky mich minn nev okla ore pa tenn va vt wash wis "
    "u.s u.k u.n u.s.a u.s.s.r d.c n.y n.j n.c n.d n.h n.m n.v s.c w.va r.i l.a a.m p.m ave ft yr "
    # firms, and two people's names
    "co cos corp inc ltd bros cie s.p.a s.a b.v vs m.b.a j.p j.r j.k r.j h.g a.a"
)
OPENERS = word_set(
    "a about above after all also although among an and another any are as at be because before "
    "both but by can come could did do does during each either even every first for from get go "
    "have he her here hers his how however i if in instead is it its just later let like many "
    "maybe meanwhile more moreover most much my neither next no nor not now of on once one only or "
    "our out over perhaps please she should since so some sometimes still such take than thanks "
    "that the their then there these they this those though through thus to too under unless until "
    "up using was we well what when where whether which while who why will with without would yes "
    "yet you your"
)
NEVER = frozenset("cdefghklmnprstvw")  # letters that end no sentence: "vitamin C. The"
_SPLITTING = ")\";}]*:@'({[‘’“”«»!?"  # what ends a word besides white space
_END = re.compile(rf"[.?!](?=[{re.escape(_SPLITTING)}]|$)")
_WORDS = re.compile(rf"['‘’“”«»]?[^{re.escape(_SPLITTING)}]+")
_NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*\.")
_CLOSERS = re.compile(r"[\"')\]}‘’“”«»]+?(?:\s+|(?=--)|$)")


def count_sentences(text: str) -> int:
    """The number of sentences.

    A word (what stands between white space) ends at most one, at its last full stop, question or
    exclamation mark. What follows the last of them counts as one more, unless it only closes a
    quotation or a bracket.
    """
    chunks = list(re.finditer(r"\S+", text))
    found, rest = 0, 0
    for place, chunk in enumerate(chunks):
        word = chunk.group()
        if not any(mark in word for mark in ".?!"):
            continue
        following = chunks[place + 1].group() if place + 1 < len(chunks) else ""
        end = _last_end(word, bool(following))
        if end is None:
            continue
        inside = end < len(word)
        if _breaks(word[:end], word[end] if inside else following):
            found += 1
            rest = chunk.start() + end if inside else chunks[place + 1].start()
    left = text[rest:].rstrip()
    closed = _CLOSERS.match(left) if found else None
    return found + bool(left[closed.end() :] if closed else left)


def _last_end(word: str, more: bool) -> int | None:
    """Where the last mark that may end a sentence ends: at the word's end only if `more` comes."""
    ends = [match.end() for match in _END.finditer(word)]
    if ends and ends[-1] == len(word) and not more:
        ends.pop()
    return ends[-1] if ends else None


def _breaks(head: str, following: str) -> bool:
    """Whether a word up to its last mark ends a sentence, given what comes after it."""
    if "?" in head or "!" in head:
        return True
    *before, last = _WORDS.findall(head) or [""]
    return any(word.endswith(".") and _ends(word, "") for word in before) or _ends(last, following)


def _ends(word: str, following: str) -> bool:
    """Whether one word with its full stop ends a sentence."""
    if not word.endswith("."):
        return False
    opens = following[:1].isupper() and _bare(following) in OPENERS
    if word.endswith(".."):
        return opens
    name = word[:-1].lower()
    if len(name) == 1 and name.isalpha():
        return name not in NEVER and (opens or not following[:1].isalpha())
    if _NUMBER.fullmatch(word):
        return not following[:1].islower()
    if name in ABBREVIATIONS or name.rpartition("-")[2] in ABBREVIATIONS:
        return opens
    return True


def _bare(word: str) -> str:
    """The letters at the head of a word, in lower case."""
    found = re.match(r"[^\W\d_]+", word)
    return found.group().lower() if found else ""
