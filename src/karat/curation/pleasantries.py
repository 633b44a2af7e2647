"""What a model that plays a user says around its question, taken off: thanks, praise, stage talk.

Models asked for a user's next turn stay polite assistants: they thank, praise the answer, announce
the question, put it in quotes or go on with the other side's reply. Nemotron-4 340B strips such
pleasantries from its dialogues (arXiv 2406.11704 §3.2) without saying how. Here it is done with
tables of English phrases at the edges of a turn: what stands in the middle is what the user says,
and text in other languages stays as it is.
"""

from __future__ import annotations

import re

from karat.curation.turns import unquoted

LOOPS = 12  # phrases taken off one edge: more are not in any turn a person would read
TAIL = 400  # characters at the end in which thanks are looked for

_INTENSE = r"(?:so |very |really |quite |pretty |super |absolutely |just |truly |all )?"
_GOOD = (
    r"(?:great|good|helpful|interesting|fascinating|useful|perfect|amazing|awesome|excellent|clear"
    r"|wonderful|fantastic|brilliant|impressive|insightful|informative|thorough|nice|lovely"
    r"|beautiful|cool|incredible|comprehensive|detailed|delicious|exactly what i (?:needed|wanted"
    r"|was looking for)|enough(?: for now)?)"
)
_THING = (
    r"(?:answer|explanation|point|idea|question|suggestions?|tips?|advice|information|info|summary"
    r"|overview|start|example|breakdown|perspective|insights?|response|reply|poem|story|recipe"
    r"|list|plan|details|job|work|stuff|way to (?:put|look at) it|to (?:know|hear|see))"
)
_PRAISE = rf"{_INTENSE}{_GOOD}(?:(?:,? and |, ){_INTENSE}{_GOOD}){{0,2}}(?: {_THING})?(?: indeed)?"
# One phrase, as a whole sentence or up to a comma. Those of _SHARED are words of other languages
# too and go only where the rest of the turn is English.
_SHARED = r"ok|okay|super|perfect|hi|hello|hey|wow|cool|bye|aha"
_PHRASE = (
    rf"(?:{_SHARED}|oh|ah|great|awesome|amazing|excellent|wonderful|fantastic|brilliant|nice"
    r"|interesting|sure|certainly|of course|absolutely|alright|all right|right|got it|i see"
    r"|understood|makes sense|that makes (?:perfect |total |a lot of )?sense|good (?:point|to know)"
    r"|i understand(?: now)?|hi there|hello there"
    rf"|(?:many |ok |okay |great |perfect |wow )?(?:thanks|thank you|thx|cheers)"
    r"(?: (?:so|very) much| a (?:lot|ton|million|bunch))?(?: again| in advance)?"
    r"(?: (?:for|to) (?:your|the|this|that|these|those|all|explaining|clarifying|sharing|providing"
    r"|helping|pointing|answering|letting|giving|being|taking|you)\b[^,.!?:;\n]{0,80})?"
    rf"|(?:oh |wow )?(?:that|this|it)(?:['’]s| is| was| sounds| looks)(?: all)?(?: an?)? {_PRAISE}"
    rf"|(?:what an? )?{_PRAISE}"
    r"|i(?:['’]m| am) (?:so |very |really )?(?:glad|happy|pleased|grateful)\b[^,.!?\n]{0,60}"
    r"|i (?:really |truly |so )?(?:appreciate|love|like) (?:it|that|this|your (?:help|answer|time"
    r"|explanation|response|support|advice)|the (?:help|explanation|information|details|advice))"
    r"(?: so much| very much| a lot)?|you(?:['’]re| are) (?:very |most |so )?(?:welcome|right"
    r"|(?:very |so )?(?:helpful|kind))|you(?:['’]ve| have) been (?:very |so |really |most )?"
    r"(?:helpful|kind|great)|no problem|goodbye|good bye|bye bye|farewell|take care|see you"
    r"(?: later| soon| next time| around)?|talk to you (?:later|soon)|have a (?:great|good|nice"
    r"|lovely|wonderful)(?: rest of (?:your|the))? (?:day|evening|night|one|week|weekend|time)|"
    r"(?:no,? )?(?:that|this)(?:['’]s| is| was| will be) (?:all|it|everything)(?: for (?:now|today)"
    r"|(?: that)? i (?:needed|wanted|need|want)(?: to (?:know|ask))?)?|(?:no|i have no|i don['’]t "
    r"have any) (?:more|further|other|additional) questions?(?: (?:for now|at the moment))?"
    r"|i(?:['’]m| am) all set|nothing else|how (?:can|may) i (?:help|assist) you[^.!?\n]{0,40}"
    r"|i(?:['’]m| am) here to (?:help|assist)[^.!?\n]{0,60}|(?:please )?let me know if you (?:have"
    r"|need)[^.!?\n]{0,80}|(?:please )?feel free to ask[^.!?\n]{0,60})"
)
_SIGN = "[\U0001f300-\U0001faff☀-➿️👍]"
_STOP = rf"(?:\s?(?:[,.!?;…—–]|{_SIGN}|\s-(?=\s)|[:;]-?[)D](?!\w))){{1,6}}"
_LEAD = re.compile(
    rf"(?P<phrase>{_PHRASE})(?P<stop>{_STOP}\s*|\s*\n\s*|\s*$)",
    re.IGNORECASE,
)
_JOINT = re.compile(r"(?:but|and|so|now|also)\b,?\s+", re.IGNORECASE)  # behind a comma
_TAIL = re.compile(
    rf"(?:(?<=[.!?…)\]\"”])\s+|\n\s*)(?P<phrase>{_PHRASE})(?:{_STOP})?\s*$", re.IGNORECASE
)
# Said by somebody who asks nothing more; beside a question it is part of what they say.
_DONE = re.compile(
    r"(?:i(?:['’]ll| will| am going to|['’]m going to) (?:try|give|keep|do|make|use|remember|look"
    r"|check|start|go|be|let|follow)\b|i hope\b|i can['’]t wait\b|i(?:['’]m| am) (?:excited"
    r"|looking forward)\b|looking forward\b|i (?:will|shall) definitely\b)[^?\n]{0,120}[.!]?",
    re.IGNORECASE,
)
_ENGLISH = re.compile(
    r"\b(?:the|what|how|why|which|does|could|would|should|can|you|your|that|this|and|with|when"
    r"|where|about|there|it|if|please|tell|give|explain|write|i['’](?:m|d|ll|ve))\b",
    re.IGNORECASE,
)
# Around the turn
_ROLE = r"(?:the )?(?:user|human|customer|person|client|student|me)"
_OTHER = r"(?:assistant|ai|ai assistant|chatbot|bot|model)"
_ASKED = r"(?:question|request|message|prompt|query|turn|reply|response|follow[- ]?up)"
_LABEL = re.compile(
    rf"[*_#\s]*(?:{_ROLE}(?:['’]s)?(?: \([^)\n]{{1,40}}\))?"
    rf"|(?:{_ROLE}['’]s |the |a |my )?(?:(?:next|new|second|third|possible|potential|short|concise"
    rf"|complex|detailed) )?(?:follow[- ]?up )?{_ASKED}(?: \d)?|q)[*_\s]{{0,3}}:[*_]*\s*",
    re.IGNORECASE,
)
_FRAME = re.compile(
    r"[*_\s]*(?:(?:sure|certainly|of course|okay|ok|absolutely)\b[,.!]?\s+)?"
    rf"(?:(?:here(?:['’]s| is| are)|this is) [^:.?!\n]{{0,60}}\b{_ASKED}s?\b[^:.?!\n]{{0,60}}"
    rf"|(?:as|being|if i were) (?:the |an? )?(?:\w+ )?{_ROLE},?[^:.?!\n]{{0,60}}"
    rf"|(?:i|{_ROLE}) (?:would|might|could|may|will)(?: then| also| next| probably| likely)?"
    r" (?:ask|say|reply|respond|write)[^:.?!\n]{0,40}"
    rf"|(?:a|one|the) [^:.?!\n]{{0,30}}{_ASKED} (?:is|could be|might be|would be)[^:.?!\n]{{0,20}})"
    r"[:,](?:\*\*|__)?\s*",
    re.IGNORECASE,
)
_ACTS = (
    r"(?:(?:the )?user |he |she |they )?(?:smil|nod|laugh|sigh|paus|think|lean|look|scratch|frown"
    r"|grin|chuckl|typ|rais|shrug|smirk|clear|wait|wav|gasp|ponder|blink|sounds?|curious|confus"
    r"|excited|thoughtful|wink)\w*"
)
_STAGE = re.compile(
    rf"\*{_ACTS}[^*\n]{{0,60}}\*|\({_ACTS}[^()\n]{{0,60}}\)|\[{_ACTS}[^\[\]\n]{{0,60}}\]",
    re.IGNORECASE,
)
_GOES_ON = re.compile(rf"\n[*_# ]{{0,4}}(?:{_ROLE}|{_OTHER})[*_]*\s?:", re.IGNORECASE)


def strip_pleasantries(turn: str) -> str:
    """A user's turn without what models say around it; empty where there was nothing else.

    Taken off: role labels and the announcement of the question, quotes around the whole, stage
    directions, thanks, praise and goodbyes at either end, and all from where the model goes on to
    speak for somebody else.
    """
    text = turn.strip()
    for _ in range(LOOPS):
        before = text
        text = _bare(text)
        text = _without_lead(text)
        if text == before:
            break
    text = _without_tail(text)
    return "" if _DONE.fullmatch(text) or not re.search(r"\w", text) else text


def _bare(text: str) -> str:
    """Without labels, frames, stage directions and quotes, and nothing of the next speaker."""
    for mark in (_LABEL, _FRAME):
        found = mark.match(text)
        text = text[found.end() :] if found else text
    goes_on = _GOES_ON.search(text)
    text = text[: goes_on.start()] if goes_on else text
    stage = _STAGE.match(text)
    text = text[stage.end() :] if stage else text
    last = list(_STAGE.finditer(text))[-1:]
    if last and last[0].end() == len(text.rstrip()):
        text = text[: last[0].start()]
    return unquoted(text)


def _without_lead(text: str) -> str:
    found = _LEAD.match(text)
    if found is None:
        return text
    rest = text[found.end() :]
    shared = re.fullmatch(_SHARED, found["phrase"], re.IGNORECASE)
    if rest and shared and not _ENGLISH.search(rest):
        return text
    joint = _JOINT.match(rest) if found["stop"].rstrip().endswith((",", "-", "–", "—")) else None
    rest = rest[joint.end() :] if joint else rest
    # "thanks, how" begins a sentence now; "iPhone" and "x = 3" keep the case they had
    return rest[:1].upper() + rest[1:] if re.match(r"[a-z](?:[a-z']*[\s,?]|$)", rest) else rest


def _without_tail(text: str) -> str:
    for _ in range(LOOPS):
        found = _TAIL.search(text, max(0, len(text) - TAIL))
        if found is None or ":" in text[: found.start()]:  # what is quoted may end in thanks
            return text
        if re.fullmatch(_SHARED, found["phrase"], re.IGNORECASE) and not _ENGLISH.search(text):
            return text
        text = text[: found.start()].rstrip()
    return text
