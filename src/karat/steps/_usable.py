"""Whether what a model wrote can be a message of a user."""

from __future__ import annotations

import re

SHORTEST, LONGEST = 12, 1500  # characters of a usable prompt
SHORTEST_UNSPACED = 4  # of one written without spaces, where a character is half a word
# Thai, Lao, Burmese, Khmer, kana, Han
_UNSPACED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
_THINGS = (
    r"(?:passages?|texts?|paragraphs?|articles?|excerpts?|code|functions?|snippets?|lists?"
    r"|programs?|sentences?|scripts?|tables?|quer(?:y|ies)|class|arrays?|data)\b"
)
_POINTS = re.compile(
    rf"\bfollowing (?:\w{{1,30}} ){{0,2}}{_THINGS}|\b{_THINGS} (?:\w{{1,30}} )?below\b"
    r"|\bof the following\b|\bbelow[.!?]?$",
    re.IGNORECASE,
)
_SHOWN = re.compile(r"[:：]\s*\S|[\"“«`「\[({\d]| '")


def usable(prompt: str) -> bool:
    """Whether it is long enough, and more than one word where words are seen.

    One that ends in a colon, or speaks of a passage below and has none, has lost its other half.
    """
    told = _POINTS.search(prompt)
    after = told and _SHOWN.search(prompt[told.end() :])
    if prompt.endswith((":", "：")) or (told and not after and "\n" not in prompt):
        return False
    letters = sum(1 for character in prompt if character.isalpha())
    if len(_UNSPACED.findall(prompt)) * 2 > letters:
        return SHORTEST_UNSPACED <= len(prompt) <= LONGEST
    return SHORTEST <= len(prompt) <= LONGEST and " " in prompt
