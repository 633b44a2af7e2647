"""Set phrases that belong to a page or to a model rather than to an answer.

An answer that speaks of itself as a language model, or of when its training ended, teaches a model
to say so; most trainers take such rows out. What a crawled page says around its text (cookies,
subscriptions, scripts that are off) is of no use in an answer, nor is filler text. Each phrase is
one that hardly ever stands in a text about something else; where it does, the prompt speaks of it
too, and then nothing is found.
"""

from __future__ import annotations

import re

_SELF = (
    r"\bas an? (?:helpful |responsible |ethical |harmless |large )?(?:ai|artificial intelligence)"
    r"(?:[ -](?:powered |based |language |text[- ]based |trained )?"
    r"(?:language |chat ?)?(?:model|assistant|chatbot|bot|system|program))?\b,? "
    r"(?:i|my|it is|it's|created|developed|designed|trained|and)\b"
    r"|\bas an? (?:large )?language model\b"
    r"|\bi(?:['’]m| am) (?:just |only |merely |simply |but )?an? (?:helpful |large )?"
    r"(?:ai|artificial intelligence|language model|chatbot|virtual assistant|computer program)\b"
    r"|\bi(?:['’]m| am) (?:chatgpt|open assistant|bard|claude|gemini"
    r"|an assistant (?:developed|trained|created|made))\b"
    r"|\b(?:i was|i have been|i am|i['’]m|model) (?:developed|created|trained|made|built) by "
    r"(?:openai|google|anthropic|meta|microsoft|mistral|deepseek|alibaba|nvidia|a team)\b"
)
_CUTOFF = (
    r"\bas of my (?:last|latest|most recent|current)?\s?"
    r"(?:knowledge|training|update|data|information)"
    r"|\bmy (?:last |latest |current )?(?:knowledge|training data|training|data|information)"
    r"(?:base| cut-?off)? "
    r"(?:cut-?off|only (?:goes|extends)|was last updated|is (?:current|limited|up to"
    r" date|only) (?:up )?(?:to|until|as of)|ends? in|stops? in|only includes)"
    r"|\bknowledge cut-?off\b|\bmy training data\b"
)
_PAGE = (
    r"\b(?:this (?:web)?site|we|our (?:web)?site|this page) uses? cookies\b"
    r"|\baccept (?:all )?cookies\b"
    r"|\bcookie (?:policy|settings|preferences)\b|\bsubscribe to our (?:news|mailing|channel|blog)"
    r"|\ball rights reserved\b|\b(?:enable|activate) javascript\b|\bjavascript (?:is|must be) "
    r"(?:disabled|enabled|not enabled|off)\b|\bskip to (?:main )?content\b|\bclick here to (?:read"
    r"|subscribe|download|continue|learn|view|see|sign)\b"
    r"|\b(?:share|tweet) (?:this )?on (?:facebook"
    r"|twitter)\b|\bsign up for our newsletter\b|\bby (?:using|continuing to use) (?:this|our) "
    r"(?:web)?site\b|\byou must be logged in\b|\badvertisement\s*$"
)
# Fields left open ("[Your Name]") are no filler: whoever asks for a letter wants them.
_FILLER = r"\blorem ipsum\b|\bdolor sit amet\b"
KINDS = {
    "speaks as a model": _SELF,
    "training cut-off": _CUTOFF,
    "page furniture": _PAGE,
    "filler text": _FILLER,
}
_PATTERNS = {kind: re.compile(pattern, re.IGNORECASE | re.MULTILINE)
             for kind, pattern in KINDS.items()}  # fmt: skip
# Every phrase has one of these: plain text is found ten times as fast as a pattern.
_TELLING = (
    "language model", " ai ", " ai,", " ai.", " ai-", " ai\n", " ai'", " ai’", " ai;", " ai:",
    " ai!", "artificial intell", "chatbot", "chat bot", "virtual assistant", "computer program",
    "chatgpt", "open assistant", "i am bard", "i'm bard", "i’m bard", "claude", "gemini",
    "an assistant ", "d by ", "made by ", "built by ", "as of my", "my last", "my latest",
    "my current", "my knowledge", "my training", "my data", "my information", "cut-off",
    "cutoff", "cookie", "subscribe", "rights reserved", "javascript", "skip to ", "click here",
    "facebook", "twitter", "newsletter", "by using", "by continuing", "logged in",
    "advertisement", "lorem ipsum", "dolor sit",
)  # fmt: skip


def boilerplate(text: str) -> dict[str, list[str]]:
    """The phrases in a text, in order, by kind; kinds without any are left out."""
    lower = text.lower()
    if not any(word in lower for word in _TELLING):
        return {}
    found = {kind: [match.group() for match in pattern.finditer(text)]
             for kind, pattern in _PATTERNS.items()}  # fmt: skip
    return {kind: phrases for kind, phrases in found.items() if phrases}
