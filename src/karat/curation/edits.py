"""What a model writes around an answer it was asked to improve, taken off.

Asked for the better answer and nothing else, models announce it, apologise for the old one, repeat
the feedback before or behind it, or write the conversation out again. What is left is what a user
would be given. The phrases are English; an edit in another language loses quotes and labels only.
Where a phrase can belong to an answer ("The answer is 42", "Here is the corrected code"), it stays.
"""

from __future__ import annotations

import re

from karat.curation.turns import repeats, unquoted

LOOPS = 6  # announcements and apologies before one answer
_BETTER = (
    r"(?:(?:slightly |much )?better|improved?|revised?|re-?written|corrected|edited|updated|new"
    r"|final|refined|more (?:\w+(?:,? (?:and )?)){1,4})"
)
_ANSWER = r"(?:answer|response|reply)"
_HERE = r"here(?:['’]s| is| are)|this is|below is"
_AGREED = r"(?:sure|certainly|of course|okay|ok|absolutely|yes)"
# At the head of the reply, or later as a line of its own: then the answer comes now.
_HEAD = re.compile(
    rf"[ *_#>]*(?:{_AGREED}\b[,.!]?\s+)?(?:(?:{_HERE})\b[^:\n]{{0,60}}"
    rf"\b(?:{_BETTER} ?(?:version|text|draft|one)|{_ANSWER})\b[^:\n]{{0,50}}"
    rf"|(?:the |an? |my |your )?{_BETTER} ?(?:{_ANSWER}|version|text|draft)\b[^:\n]{{0,50}}"
    r"|(?:the |my )?answer(?: is)?|assistant):(?:\*\*|__)?(?:\s+|$)",
    re.IGNORECASE,
)
_LINE = re.compile(
    rf"\n[ *_#>]*(?:(?:{_HERE}) (?:the |an? |my |your )?)?{_BETTER} ?{_ANSWER}\b[^:\n]{{0,50}}:"
    r"(?:\*\*|__)?[ \t]*\n",
    re.IGNORECASE,
)
_SORRY = re.compile(
    r"(?:(?:i(?:['’]m| am) (?:so |very |really )?sorry|i apologi[sz]e|(?:my )?apologies"
    r"|you(?:['’]re| are) (?:absolutely |quite )?right|(?:thank you|thanks) for (?:the|your)"
    rf" (?:feedback|correction|comments?))\b[^.!\n]{{0,120}}[.!]|{_AGREED}[!.])\s+",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    r"(?:^|\n)[ *_>]*(?:the|this|my|your) (?:(?:previous|original|first|last|old|given) )?"
    rf"{_ANSWER}(?: above)? (?:(?:is|was) (?:(?:not|only|also|too|very|quite|somewhat|slightly"
    r"|partially|partly|mostly|perfectly) ){0,2}(?:helpful|unhelpful|correct|incorrect|coherent"
    r"|wrong|inaccurate|accurate|incomplete|unclear|vague|weak|good|bad|short|long)\b"
    r"|(?:lacks?|lacked|fails?|failed)\b|(?:does|did)(?:n['’]t| not) (?:say|mention|address"
    r"|explain|provide|give|answer)\b|goes in a circle)[^\n]*"
    r"|(?:^|\n)[^\n]{0,400}\(-?\d+\.\d of \d+\)[^\n]*",  # figures as the feedback writes them
    re.IGNORECASE,
)
_NOTE = re.compile(
    r"\n\s*\n[ *_(\[]*(?:note:? )?(?:feedback:|changes made|(?:i|i have|i['’]ve) (?:revised"
    rf"|rewritten|rewrote|improved|edited|corrected)\b|this {_BETTER} {_ANSWER})",
    re.IGNORECASE,
)
_SPEAKER = re.compile(r"(?:^|\n)[ *_#]*(user|assistant)[*_]*\s?:[*_]*[ \t]*", re.IGNORECASE)


def clean_edit(text: str, told: str = "") -> str:
    """The improved answer in a reply; empty where there is none.

    `told` is the request and its feedback, without the conversation and the old answer: a paragraph
    that says it again is not part of the new one.
    """
    text = _last_said(text.strip())
    line = _LINE.search(text)
    text = text[line.end() :] if line and text[line.end() :].strip() else text
    for _ in range(LOOPS):
        found = _SORRY.match(text) or _HEAD.match(text)
        if found is None:
            break
        text = text[found.end() :].strip()
    text = _without_verdict(text)
    note = _NOTE.search(text)
    text = text[: note.start()] if note else text
    if told:
        text = "\n\n".join(part for part in text.split("\n\n") if not repeats(part, [told]))
    return unquoted(text)


def _last_said(text: str) -> str:
    """The assistant's last words, where the reply is the conversation written out again."""
    _, *parts = _SPEAKER.split(text)
    if not parts or not _SPEAKER.match(text):
        return text
    turns = zip(parts[::2], parts[1::2], strict=True)
    said = [words for name, words in turns if name.lower() == "assistant"]
    return said[-1].strip() if said else ""


def _without_verdict(text: str) -> str:
    """Without a paragraph on the old answer; one behind the new answer ends it."""
    found = _VERDICT.search(text)
    while found:
        before = text[: found.start()].strip()
        if before:
            return before
        text = text[found.end() :].strip()
        found = _VERDICT.search(text)
    return text
