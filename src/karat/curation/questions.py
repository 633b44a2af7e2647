"""Questions as text: whether something asks, and whether it says what it asks about.

A question that is to stand alone points neither at a text that nobody sees nor, with "it" or "she",
at something that only this text has named. The second kind is told in simple cases only, both in
English only: a question that is dropped is lost, one that is let through meets the checks of its
answer.
"""

from __future__ import annotations

import re

# Latin, full-width, Arabic, double, interrobang, reversed, Ethiopic and Greek; the Armenian mark
# stands inside a word.
_MARK = re.compile(r"[?？؟⁇‽⸮፧\u037e]\W*$|[\u0370-\u03ff\u1f00-\u1fff]\W*;\W*$|՞")
_PARTICLE = re.compile(r"[か吗嗎呢까][。．.」』]*$")
_TASK = (
    r"(?:please\s)?(?:name|list|state|identify|describe|explain|define|give|specify|mention|outline"
    r"|summari[sz]e|enumerate|calculate|compare|discuss|cite|tell\s(?:me|us))\s"
)
_TASKS = re.compile(
    rf"{_TASK}(?:(?:the|an?|all|any|some|each|every|both|one|two|three|four|five|six|at\sleast|what"
    r"|how|why|which|who|whose|where|when|whether|in|its?|their|them|his|her|him|\d+)\b"
    r"|(?-i:[A-Z]\w))|(?:define|explain|describe|compare|discuss|calculate)\s\w"
    r"|(?:nennen?|beschreiben?|erklären?|erläutern?|erkläre|erläutere)\s(?:sie\s)?\w"
    r"|(?:nommez?|citez?|indiquez?|décri(?:s|vez)|expliquez?|donnez?|énumérez?|précisez?)\s\w"
    r"|(?:nombr[ae]|indi(?:ca|que)|mencion[ae]|describ[ae]|expli(?:ca|que)|enumer[ae]|cit[ae]"
    r"|nomin[ai]|elenc[ai]|descriv[ai]|spieg[ai]|list[ae]|nomei[ae]|descrev[ae])\s(?:el|las?|los"
    r"|il|lo|le|gli|i|l['’]\w+|os?|as?|una?|uma?|dos|tres|due|tre|cómo|qué|por|come|che|perché"
    r"|como|quais|qual)\b",
    re.IGNORECASE,
)

_TEXT = r"(?:passage|text|paragraph|excerpt|article|document|author|writer|sentence|context)s?\b"
_SHOWN = r"(?:mentioned|described|provided|given|quoted|discussed|printed|presented|stated|shown)"
# What says which text is meant: "the document called", "the text Alcuin wrote", "the passage to".
_WHICH = (
    r"(?:\s(?:of|called|named|(?:en)?titled|known|by|from|on|that|which|who(?:se|m)?|between|to|for"
    r"|through|with|about(?!\W*$)|in(?=\s(?-i:[A-Z]))|\d|(?-i:[A-Z])|written|sent|drawn|found"
    rf"|(?!{_SHOWN})\w+(?:ed|ing))(?:\b|(?<=\d)|(?<=[A-Z])))"
)
_POINTS = re.compile(
    rf"\bthe\s{_TEXT}(?!{_WHICH})"
    rf"|(?<!\ba\s)(?<!\bany\s)\b(?:the\s)?(?:above|given|following|provided|preceding)\s{_TEXT}"
    rf"|\b(?:this|these)\s(?:\w+\s)?{_TEXT}"
    rf"|\b{_SHOWN}\s(?:above|below|here)\b|\bthe\sabove(?![\w-])|\bof\sthe\sfollowing\b",
    re.IGNORECASE,
)

_ASKING = r"(?:who|whom|whose|what|which|when|where|why|how)"
_BEFORE = r"(?:(?:in|at|on|by|from|for|to|of|with|during|since|until|under|into|about)\s)?"
_HELPING = (
    r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|shall|should|may|might|must)"
    r"(?:n['’]t|\snot)?"
)
# Words that may bring in something to refer to.
_NEW = r"(?:the|an?|my|your|our|and|or|because|when|if|as|that|while|after|before|since|so|than)"
# "this" and "her" that stand for a noun have none behind them.
_BARE = (
    r"(?=\W*$|\s(?:in|on|at|by|with|from|to|for|after|before|during|so|first|mean|do|happen|work"
    r"|matter|important|necessary|possible|useful|true|done|made|built|\w+ed)\b|\s\d)"
)
_SUBJECT = rf"(?P<said>it|they|he|she|(?:this|these){_BARE}|(?:his|her|its|their)(?=\s\w))\b"
_OBJECT = rf"(?P<said>it|them|him|(?:her|this|these){_BARE})\b"
_PREPOSITION = r"(?:in|on|at|around|with|by|from|to|of|for|about|over|under|near|behind|against)"
_DANGLING = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # In which year was it opened? Was it opened in May?
        rf"(?:{_BEFORE}{_ASKING}\s(?:(?!{_NEW}\b)[\w-]+\s){{0,3}}?)?{_HELPING}\s{_SUBJECT}",
        # Who built it?
        rf"who\s(?:(?!{_NEW}\b)[\w'’-]+\s){{1,3}}?{_OBJECT}",
        # What keeps them green? Which firm bought it? But: What has rings around it?
        r"(?:what|which\s[\w-]+|how\smany\s[\w-]+)\s(?:happened\sto\s|became\sof\s"
        rf"|(?:(?!{_NEW}\b)[\w'’-]+\s){{0,2}}?(?!(?:{_NEW}|{_PREPOSITION})\b)[\w'’-]+\s){_OBJECT}",
        # Name the month in which it was opened. Explain how it works. Describe it.
        rf"{_TASK}(?:(?:the|an?|one|two|three)\s(?:[\w-]+\s){{1,2}})?{_BEFORE}(?:{_ASKING}|that)\s"
        rf"(?:[\w-]+\s)?{_SUBJECT}",
        rf"{_TASK}{_OBJECT}",
    )
]
_NAME = re.compile(r"\W*((?=[^\W\d_])(?![a-z])\w+)")  # or a word of a script without capitals
_NO_NAMES = frozenset(
    ("I", "January", "February", "March", "April", "May", "June", "July", "August", "September",
     "October", "November", "December", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday",
     "Saturday", "Sunday")
)  # fmt: skip
# "It" that stands for what follows: how long does it take to …, is it true that …, why it rains.
_EXPLETIVE = re.compile(
    r"(?:\s[\w'’-]+){0,5}?\s(?:to|that|for|when|if|like|since|until|than|whether)\s\w"
    r"|\s(?:rain|snow|hail|freez)\w*",
    re.IGNORECASE,
)


def is_question(text: str) -> bool:
    """Whether an item of a list of questions is one, or a task that asks as much ("Name the …")."""
    return bool(_MARK.search(text) or _PARTICLE.search(text) or _TASKS.match(text))


def points_outside(question: str) -> str:
    """The words of a question that point at what it does not say; empty if none do."""
    found = _POINTS.search(question)
    if found:
        return found[0]
    _, *others = question.split()
    names = (found[1] for found in map(_NAME.match, others) if found)
    if any(name not in _NO_NAMES for name in names) or re.search('["“”«»„「]', question):
        return ""
    for pattern in _DANGLING:
        found = pattern.match(question)
        if found:
            stands_for = found["said"].lower() == "it" and _EXPLETIVE.match(question, found.end())
            return "" if stands_for else found["said"]
    return ""
