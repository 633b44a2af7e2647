"""What a model that plays a user says around its question, taken off: thanks, praise, stage talk.

Models asked for a user's next turn stay polite assistants: they thank, praise the answer, announce
the question, put it in quotes or go on with the other side's reply. Nemotron-4 340B strips such
pleasantries from its dialogues (arXiv 2406.11704 §3.2) without saying how. Here only phrases of
closed English tables go, and only at the edges of a turn: a "thanks" too many does no harm, while a
question that lost its code or its first word is another question. What stands in the middle, in
code or in another language stays as it is.
"""

from __future__ import annotations

import re

from karat.curation.turns import repeats, unquoted

LOOPS = 12  # phrases taken off one edge: more are not in any turn a person would read
TAIL = 400  # characters at the end in which thanks are looked for
PROSE = 3  # words from which what follows a label is prose, where it does not end as a sentence

_INTENSE = r"(?:so |very |really |quite |pretty |super |absolutely |just |truly |all )?"
_GOOD = (
    r"(?:great|good|helpful|interesting|fascinating|useful|perfect|amazing|awesome|excellent|clear"
    r"|wonderful|fantastic|brilliant|impressive|insightful|informative|thorough|nice|lovely"
    r"|beautiful|cool|incredible|comprehensive|detailed|delicious|exactly what i (?:needed|wanted"
    r"|was looking for)|enough(?: for now)?)"
)
_TOLD = (
    r"(?:answers?|explanations?|clarifications?|suggestions?|recommendations?|tips?|advice"
    r"|information|info|summary|overview|examples?|breakdown|perspective|insights?|response|reply"
    r"|details)"
)
_THING = (
    rf"(?:{_TOLD}|point|idea|question|start|poem|story|recipe|list|plan|job|work|stuff"
    r"|way to (?:put|look at) it|to (?:know|hear|see))"
)
_PRAISE = rf"{_INTENSE}{_GOOD}(?:(?:,? and |, ){_INTENSE}{_GOOD}){{0,2}}(?: {_THING})?(?: indeed)?"
_THANKS = (
    r"(?:(?:many |ok |okay |great |perfect |wow )?(?:thanks|thank you|thx|cheers)"
    r"(?: (?:so|very) much| a (?:lot|ton|million|bunch))?(?: again| in advance)?(?: for"
    r"(?: (?:explaining|clarifying|clearing|sharing|answering|helping|pointing|letting me know)"
    r"(?: (?:that|this|it|all|everything|me|us|to me|with me|with us|with that|with this|out|up))"
    r"{0,3}"
    rf"|(?: all)?(?: of)?(?: (?:your|the|this|that|these|those))?(?: {_INTENSE}{_GOOD})?"
    rf" (?:{_TOLD}|help|time|support|patience|kind words)|(?: your)? being so helpful"
    r"| taking the time))?(?: so far| again)?)"
)
_BYE = (
    r"(?:goodbye|good bye|bye bye|bye|farewell|take care|see you(?: later| soon| next time"
    r"| around)?|talk to you (?:later|soon)|have a (?:great|good|nice|lovely|wonderful)"
    r"(?: rest of (?:your|the))? (?:day|evening|night|one|week|weekend|time))"
)
_MORE = (
    r"any (?:other |more |further )?(?:questions?|doubts?|concerns?|help|information|assistance)"
)
# Words of other languages too: they go only where the rest of the turn is English.
_SHARED = r"ok|okay|super|perfect|hi|hello|hey|wow|cool|bye|aha"
# May be what is asked about ("Nice, is it in France?"): a comma behind them is no end.
_WORD = (
    r"(?:super|perfect|cool|great|awesome|amazing|excellent|wonderful|fantastic|brilliant|nice"
    r"|interesting|right|sure|certainly|of course|absolutely|alright|all right|wow|aha|bye)"
)
# Said for "yes": alone, they answer a question.
_YES = re.compile(r"right|sure|certainly|of course|absolutely|alright|all right", re.IGNORECASE)
# One phrase, as a whole sentence or up to a comma.
_PHRASE = (
    rf"(?:{_SHARED}|{_WORD}|oh|ah|got it|i see"
    r"|understood|makes sense|that makes (?:perfect |total |a lot of )?sense|good (?:point|to know)"
    rf"|i understand(?: now)?|hi there|hello there|{_THANKS}|{_BYE}"
    rf"|(?:oh |wow )?(?:that|this|it)(?:['’]s| is| was| sounds| looks)(?: all)?(?: an?)? {_PRAISE}"
    rf"|(?:what an? )?{_PRAISE}"
    r"|i(?:['’]m| am) (?:so |very |really )?(?:glad|happy|pleased|grateful)(?: (?:to (?:hear|know)"
    r" (?:that|this|it)|i asked|i could help|you liked? it|it helped|for your help))?"
    r"|i (?:really |truly |so )?(?:appreciate|love|like) (?:it|that|this|your (?:help|answer|time"
    r"|explanation|response|support|advice)|the (?:help|explanation|information|details|advice))"
    r"(?: so much| very much| a lot)?|you(?:['’]re| are) (?:very |most |so )?(?:welcome|right"
    r"|(?:very |so )?(?:helpful|kind))|you(?:['’]ve| have) been (?:very |so |really |most )?"
    r"(?:helpful|kind|great)|no problem"
    r"|(?:no,? )?(?:that|this)(?:['’]s| is| was| will be) (?:all|it|everything)(?: for (?:now"
    r"|today)|(?: that)? i (?:needed|wanted|need|want)(?: to (?:know|ask))?)?"
    r"|(?:no|i have no|i don['’]t have any) (?:more|further|other|additional) questions?"
    r"(?: (?:for now|at the moment))?"
    r"|i(?:['’]m| am) all set|nothing else|how (?:can|may) i (?:help|assist) you(?: further)?"
    r"(?: today)?|i(?:['’]m| am) here to (?:help|assist)(?: you)?(?:,? and (?:i(?:['’]m| am) )?"
    rf"ready to (?:help|assist)(?: you)?)?|(?:please )?let me know if you (?:have|need) {_MORE}"
    rf"|(?:please )?feel free to ask(?: me)?(?: anything| if you have {_MORE}| {_MORE})?)"
)
_SIGN = "[\U0001f300-\U0001faff☀-➿️👍]"
_STOP = rf"(?:\s?(?:[,.!?;…—–]|{_SIGN}|\s-(?=\s)|[:;]-?[)D](?!\w))){{1,6}}"
_LEAD = re.compile(
    rf"(?P<phrase>{_PHRASE})(?P<stop>{_STOP}\s*|\s*\n\s*|\s*$)",
    re.IGNORECASE,
)
_ENDS = re.compile(rf"[.!?…\n]|[:;]-?[)D]|{_SIGN}")  # a sentence, where a comma only goes on
_JOINT = re.compile(r"(?:but|and|so|now|also)\b,?\s+", re.IGNORECASE)  # behind a comma
_CLAUSE = re.compile(
    r"(?:what|how|why|which|who|whose|where|when|can|could|would|should|will|do|does|did|is|are|was"
    r"|were|am|have|has|i|i['’](?:m|d|ll|ve)|please|tell|give|explain|then)\b",
    re.IGNORECASE,
)
_TAIL = re.compile(rf"(?<=\s)(?P<phrase>{_THANKS}|{_BYE})(?:{_STOP})?$", re.IGNORECASE)
_FULL_STOPS = (".", "!", "?", "…", ")", "]", '"', "”")
# Where a turn is about words, thanks may be the words.
_ABOUT_WORDS = re.compile(
    r"\b(?:translat\w+|say|saying|said|mean|meaning|phrases?|sentences?|lines?|rephras\w+|rewrit\w+"
    r"|proofread\w*|spell\w*|pronounc\w+|grammar|punctuat\w+|repl(?:y|ies)|respond|quot\w+)\b",
    re.IGNORECASE,
)
_IT = r"(?:it|that|this|them|these|those)"
# Said by somebody who asks nothing more; beside a question it is part of what they say.
_DONE = re.compile(
    r"(?:i(?:['’]ll| will| am going to|['’]m going to)(?: definitely| certainly| surely)? (?:"
    rf"try {_IT}(?: out)?|give {_IT} a (?:try|go|shot)|keep {_IT} in mind|do {_IT}|do so"
    rf"|check {_IT} out|look into {_IT}|remember {_IT}|let you know(?: how it (?:goes|went))?)"
    rf"|i can['’]t wait to (?:try|cook|make|bake|read|see|taste|start|use|visit) {_IT}"
    r"|i hope (?:so|it works(?: out)?|it helps|(?:that|this) helps))"
    r"(?: (?:today|tonight|tomorrow|soon|now|later|next time|right away|for sure)){0,2}[.!]{0,3}",
    re.IGNORECASE,
)
_ENGLISH = re.compile(
    r"\b(?:the|what|how|why|which|does|could|would|should|can|you|your|that|this|and|with|when"
    r"|where|about|there|it|if|please|tell|give|explain|write|i['’](?:m|d|ll|ve))\b",
    re.IGNORECASE,
)
# Labels, as models write them: configuration and code have them in lower case or without prose.
_SPEAKS = re.compile(
    r"(?m)^[*_#]{0,3} ?(?P<who>User|USER|Human|HUMAN|Assistant|ASSISTANT)(?: \([^)\n]{1,40}\))?"
    r"[*_]{0,2}:[*_]{0,2}(?P<said>[^\n]*)"
)
_FIELD = re.compile(r"[\w\"'-][\w .\"'-]{0,30}:(?:\s|$)")
_QUOTED_CHAT = re.compile(
    r":\s*$|\b(?:following|below|dialog(?:ue)?|conversation|chat|transcript|script|exchange|logs?"
    r"|(?:this|these) (?:text|message|reply|line|example|answer|output|excerpt|prompt)s?)\b",
    re.IGNORECASE,
)
_NEXT = r"(?:next|second|new|possible|potential|good|natural|short|concise|complex|detailed)"
_QUESTION = r"(?:question|request|query|message|turn)"
_LABEL = re.compile(
    rf"[*_#]{{0,3}} ?(?:(?:The )?[Uu]ser['’]s (?:{_NEXT} )?{_QUESTION}"
    r"|(?:Next |Second |New )?(?:Follow[- ]?up |follow[- ]?up )?[Qq]uestion|Follow[- ]?up|Q)"
    r"[*_]{0,2}:[*_]{0,2}\s+(?=[^\n]*\s*$)"
)
_FRAME = re.compile(
    r"[*_]{0,2}(?:(?:sure|certainly|of course|okay|ok|absolutely)[,.!]?\s{1,3})?"
    rf"(?:(?:here(?:['’]s| is)|this is) (?:the|an?|one|another|my) (?:(?:{_NEXT} )"
    rf"(?:follow[- ]?up )?{_QUESTION}|follow[- ]?up {_QUESTION}|{_QUESTION}(?= (?:the|a|that)))"
    r"(?: (?:that )?(?:the |a )?user (?:could|might|would|may|can|will) ask(?: next)?)?"
    r"|(?:as|being|if i were) (?:the |an? )?(?:\w{1,20} )?(?:user|human|customer|student),? i"
    r" (?:would|might|could|may|will)(?: then| also| next| probably| likely)? (?:ask|say)"
    r"(?: next| this| the following)?"
    r"|(?:the )?user (?:would|might|could|may|will)(?: then| also| next| probably| likely)? ask"
    r"(?: next)?"
    rf"|i (?:would|might) ask(?=:[^\n.?!]*\?[\"”]?\s*$)"
    rf"|(?:an?|one|the|my) (?:{_NEXT} )?(?:follow[- ]?up|next) {_QUESTION}"
    r" (?:is|could be|might be|would be))"
    r":(?:\*\*|__)?\s*",
    re.IGNORECASE,
)
_ACT = (
    r"(?:(?:the )?user |he |she |they )?(?:(?:smil|paus|wav|chuckl)(?:es?|ing)|(?:nod|laugh|sigh"
    r"|grin|shrug|frown|smirk|wink|blink|gasp|ponder|wait|think)(?:s|[dgn]?ing)?"
    r"|looks? (?:confused|curious|puzzled|excited|thoughtful|surprised|intrigued)|confused|curious"
    r"|excited)(?: (?:\w{1,20}ly|for a moment|and (?:smiles|nods|pauses|laughs|thinks))){0,2}"
)
_STAGE = rf"(?:\*{_ACT}\.?\*|\({_ACT}\.?\)|\[{_ACT}\.?\])"
_ENTERS = re.compile(rf"{_STAGE}\s*(?!\s|(?-i:[a-z]))", re.IGNORECASE)
_LEAVES = re.compile(rf"\s{_STAGE}$", re.IGNORECASE)


def strip_pleasantries(turn: str) -> str:
    """A user's turn without what models say around it; empty where there was nothing else.

    Taken off: labels and the announcement of the question, quotes around the whole, stage
    directions, thanks, praise and goodbyes at either end, and all from where the model goes on to
    speak for the assistant. Labels count at the head of a line, capitalised and with prose behind
    them, and never in code or after it.
    """
    text = turn.strip()
    transcript = False
    for _ in range(LOOPS):
        before = text
        text, labelled = _without_label(text)
        transcript = transcript or labelled
        text = _first_said(text, transcript)
        text = unquoted(_without_stage(text))
        text = _without_lead(text)
        if text == before:
            break
    text = _without_tail(text)
    return "" if _DONE.fullmatch(text) or not re.search(r"\w", text) else text


def _without_label(text: str) -> tuple[str, bool]:
    """Without what names the speaker or announces the question; whether it named the user."""
    speaks = _SPEAKS.match(text)
    if speaks and speaks["who"].lower() != "assistant" and _is_prose(text, speaks):
        return text[speaks.start("said") :].strip(), True
    found = _LABEL.match(text) or _FRAME.match(text)
    return (text[found.end() :] if found else text), False


def _is_prose(text: str, label: re.Match[str]) -> bool:
    """Whether what stands behind a label is said by somebody: no value of a field, no code."""
    lines = [label["said"], *text[label.end() : label.end() + 400].split("\n")]
    first, *after = [line.strip() for line in lines if line.strip()] or [""]
    if first.startswith(("```", "~~~", "{", "[", "<")):
        return False
    if after and _FIELD.match(after[0]) and not _SPEAKS.match(after[0]):
        return False
    return len(first.split()) >= PROSE or first.rstrip("\"'”’*_)").endswith((".", "?", "!", "…"))


def _first_said(text: str, transcript: bool) -> str:
    """Up to where the model speaks for somebody else, if it is not a chat that the user shows."""
    code = re.search(r"```|~~~", text)
    for label in _SPEAKS.finditer(text, 0, code.start() if code else len(text)):
        before = text[: label.start()].rstrip()
        if not before or not _is_prose(text, label):
            continue
        assistant = label["who"].lower() == "assistant"
        if transcript or (assistant and not _QUOTED_CHAT.search(before)):
            return before
        return before if not assistant and repeats(label["said"], [before]) else text
    return text


def _without_stage(text: str) -> str:
    enters = _ENTERS.match(text)
    text = text[enters.end() :] if enters else text
    leaves = _LEAVES.search(text, max(0, len(text) - TAIL))
    if leaves is None or ":" in text or _ABOUT_WORDS.search(text):
        return text
    return text[: leaves.start()].rstrip()


def _without_lead(text: str) -> str:
    found = _LEAD.match(text)
    if found is None:
        return text
    phrase, rest = found["phrase"], text[found.end() :]
    if "?" in found["stop"] and not phrase.lower().startswith("how "):  # "That's it?" is asked
        return text
    if not re.search(r"\w", rest):
        return text if _YES.fullmatch(phrase) else ""
    if re.fullmatch(_SHARED, phrase, re.IGNORECASE) and not _ENGLISH.search(rest):
        return text
    if _ABOUT_WORDS.search(rest):
        return text
    if not _ENDS.search(found["stop"]):
        joint = _JOINT.match(rest)
        single = re.fullmatch(_WORD, phrase, re.IGNORECASE)
        if phrase.lower() in ("right", "nice"):
            return text
        if not joint and not _LEAD.match(rest) and (single or not _CLAUSE.match(rest)):
            return text
        rest = rest[joint.end() :] if joint else rest
    # "thanks, how" begins a sentence now; "iPhone" and "x = 3" keep the case they had
    return rest[:1].upper() + rest[1:] if re.match(r"[a-z](?:[a-z']*[\s,?]|$)", rest) else rest


def _without_tail(text: str) -> str:
    # What is quoted, or stands in code that is still open, may end in thanks.
    if ":" in text or text.count("```") % 2 or _ABOUT_WORDS.search(text):
        return text
    for _ in range(LOOPS):
        found = _TAIL.search(text, max(0, len(text) - TAIL))
        if found is None:
            return text
        if re.fullmatch(_SHARED, found["phrase"], re.IGNORECASE) and not _ENGLISH.search(text):
            return text
        before = text[: found.start()].rstrip()
        if not before.endswith(_FULL_STOPS) and "\n" not in text[len(before) : found.start()]:
            return text
        text = before
    return text
