"""What a model writes around an answer it was asked to improve, taken off.

Asked for the better answer and nothing else, models announce it, say the feedback again, or write
the conversation out once more. What is left is stored as the better answer, so only two things go:
what repeats the very texts the model was shown, and phrases that speak of the rewriting. An apology
or a "Yes." may be the answer itself and stays; so does an opening that the old answer had too. The
phrases are English; in another language only repetitions go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from karat.curation.turns import repeats, unquoted, words

LOOPS = 3  # announcements before one answer
LEAST_WORDS = 3  # of a sentence that can repeat another: "Yes." is everybody's
_BETTER = (
    r"(?:(?:slightly |much )?better|improved|revised|re-?written|refined"
    r"|more \w{1,20}(?:(?:,| and|, and) (?:more )?\w{1,20}){0,3})"
)
_ANSWER = r"(?:answer|response|reply)"
_REGRET = r"for (?:the|my|any) (?:confusion|mistakes?|errors?|misunderstanding|oversight)"
_BEFORE = (  # said before an announcement, and about the old answer only there
    r"(?:(?:sure|certainly|of course|okay|ok|absolutely|yes|understood|you(?:['’]re| are)"
    rf" (?:absolutely |quite )?right|i(?:['’]m| am) (?:so )?sorry(?: {_REGRET})?|i apologi[sz]e"
    rf"(?: {_REGRET})?|(?:my )?apologies(?: {_REGRET})?|(?:thank you|thanks) for (?:the|your)"
    r" (?:feedback|correction|comments?))[,.!]?\s{1,3}){0,3}"
)
_HEAD = re.compile(
    rf"[*_#> ]{{0,6}}{_BEFORE}"
    r"(?:(?:here(?:['’]s| is)|this is|below is) (?:the|an?|my|your|one) (?:possible )?"
    rf"(?:(?:{_BETTER}|corrected|edited|updated|new) {_ANSWER}|{_BETTER} version(?: of (?:the|my"
    rf"|your) (?:previous |original )?{_ANSWER})?)(?: (?:to|for|of) (?:the |your )?(?:user"
    r"|assistant|question|conversation))?(?:,? (?:based on|addressing|that addresses|with)"
    r" (?:the|your) feedback)?"
    rf"|{_BETTER} {_ANSWER}"
    rf"|(?:the|an?|my) {_BETTER} {_ANSWER} (?:is|would be|could be|might be)(?=:[*_]{{0,2}}\s*\n)"
    r"):(?:\*\*|__)?(?:\s+|$)",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[*_]{0,2}Assistant[*_]{0,2}:[*_]{0,2}[ \t]*\n{0,2}")
# Figures as the feedback writes them, of whatever grade: "The answer is not helpful (0.4 of 4)."
_FIGURE = (
    r"(?:(?:not|slightly|partially|mostly|perfectly) [\w ]{1,40}|(?:in|un)?(?:helpful|correct"
    r"|coherent) )\(-?\d{1,6}\.\d of \d{1,6}(?:\.\d+)?\)"
)
_FIGURES = re.compile(
    rf"[-*_> ]{{0,6}}(?:the|this|my|your) (?:(?:previous|original|old) )?{_ANSWER} is (?:also"
    rf" |only )?{_FIGURE}(?:(?:,| and|, and) {_FIGURE}){{0,8}}[*_]{{0,2}}[.!]?",
    re.IGNORECASE,
)
# A critic's sentence on the old answer, not on its subject ("The answer is 42, not 41.").
_FAULT = re.compile(
    rf"[-*_> ]{{0,6}}(?:it|this|(?:the|this|my|your) (?:(?:previous|original|old) )?"
    rf"(?:{_ANSWER}|assistant)) (?:never|only|fails|lacks|misses|ignores|omits|goes in a circle"
    r"|(?:does not|doesn['’]t|did not|didn['’]t) (?:say|mention|address|explain|provide|give|answer"
    r"|state|tell|include|cover)|is (?:too|very|rather|vague|unclear|incomplete|incorrect|wrong"
    r"|inaccurate|misleading|unhelpful|repetitive|not (?:very )?(?:helpful|clear|complete|correct"
    r"|accurate|specific|detailed)))\b",
    re.IGNORECASE,
)
_NOTE = re.compile(
    rf"[*_(\[]{{0,3}}(?:note:? )?(?:(?:i|i have|i['’]ve) (?:revised|rewritten|rewrote|improved"
    rf"|edited|corrected|updated) (?:the|my|your) (?:previous |original )?{_ANSWER}\b|this"
    rf" {_BETTER} {_ANSWER}\b)",
    re.IGNORECASE,
)
_SPEAKER = re.compile(r"(?m)^[*_#]{0,3} ?(User|Assistant)[*_]{0,2}:[*_]{0,2}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def clean_edit(
    text: str,
    original: str = "",
    *,
    request: str = "",
    critique: str = "",
    asked: Sequence[str] = (),
) -> str:
    """The improved answer in a reply; empty where there is none.

    `original` is the old answer: of what opens or closes the new one, nothing goes that the old
    one had. `request` is what the model was told in our own words, figures included: a sentence
    that says it again is not part of the answer. Of `critique`, a critic's words, this holds for
    sentences on its faults only, since others may say what a good answer says. `asked` are the
    user's turns: a reply that begins with one of them is the conversation written out again, and
    its last word of the assistant is the answer.
    """
    text = _last_said(text.strip(), asked)
    about = (said for said in _sentences(critique) if _FAULT.match(said))
    told = {*_marked(_sentences(request)), *_marked(about)} - set(_marked(_sentences(original)))
    text = _without_repeats(text, told, graded=bool(_FIGURES.search(original)))
    text = _without_announcement(text, original)
    before, gap, last = text.rpartition("\n\n")
    if gap and _NOTE.match(last) and before.count("```") % 2 == 0:
        text = text if _NOTE.match(original.rpartition("\n\n")[2]) else before
    return text.strip()


def _last_said(text: str, asked: Sequence[str]) -> str:
    """The assistant's last words, where the reply is the conversation written out again."""
    code = text.find("```")
    found = list(_SPEAKER.finditer(text, 0, code if code >= 0 else len(text)))
    if not found or found[0].start() or found[0][1] != "User":
        return text
    ends = [label.start() for label in found[1:]] + [len(text)]
    first = words(text[found[0].end() : ends[0]])
    if first not in [words(turn) for turn in asked]:
        return text
    turns = zip(found, ends, strict=True)
    said = [text[label.end() : end] for label, end in turns if label[1] == "Assistant"]
    return said[-1].strip() if said else ""


def _sentences(text: str) -> list[str]:
    return [part for line in text.split("\n") for part in _SENTENCE.split(line.strip())]


def _marked(sentences: Iterable[str]) -> list[tuple[str, ...]]:
    """The sentences' words, of those long enough to be told apart."""
    found = (tuple(words(sentence)) for sentence in sentences)
    return [sentence for sentence in found if len(sentence) >= LEAST_WORDS]


def _without_repeats(text: str, told: set[tuple[str, ...]], *, graded: bool) -> str:
    """Without sentences that were told; figures behind the answer end it, as they did in ours."""
    kept: list[str] = []
    code = gap = False
    for line in text.split("\n"):
        code ^= line.lstrip().startswith("```")
        parts = [] if code else _SENTENCE.split(line.strip())
        figures = [] if graded else [part for part in parts if _FIGURES.fullmatch(part)]
        rest = [part for part in parts if part not in figures and tuple(words(part)) not in told]
        if len(rest) < len(parts):
            line = " ".join(rest)
            if not words(line):
                if figures and any(map(words, kept)):
                    break
                gap = True
                continue
        if gap and not line.strip() and not (kept and kept[-1].strip()):
            continue  # the empty line behind what went
        kept.append(line)
        gap = gap and not line.strip()
    return "\n".join(kept).strip()


def _without_announcement(text: str, original: str) -> str:
    """Without "Here is the improved response:" before the answer, nor the old answer before it."""
    if not _HEAD.match(original):
        text = _behind_the_old(text, original)
    announced = False
    for _ in range(LOOPS):
        found, label = _HEAD.match(text), _LABEL.match(text)
        if found and not _HEAD.match(original):
            text, announced = text[found.end() :].strip(), True
        elif label and not _LABEL.match(original) and not _SPEAKER.search(text, label.end()):
            text = text[label.end() :].strip()
        else:
            break
    return unquoted(text) if announced and unquoted(original) == original.strip() else text


def _behind_the_old(text: str, original: str) -> str:
    """From the line on that announces the new answer, where only the old one stands before it."""
    start = 0
    for line in text.split("\n"):
        if start and _HEAD.fullmatch(line):
            return text[start:] if repeats(text[:start], [original]) else text
        start += len(line) + 1
    return text
