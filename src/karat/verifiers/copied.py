"""copied: whether a response is its own prompt again, where an answer was asked for.

Weak models echo: they say the question once more, or go on with the prompt as if it were theirs. A
long span that stands word by word in both is copied; two texts on one subject share few spans of
eight words. But who is asked to correct, translate, quote, sort or fill in a text must repeat it.
So a prompt that brings a text to work on is left undecided, as one in another language than English
is, and only one that asks is held against its answer.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from karat.curation.turns import words
from karat.verifiers._prose import question
from karat.verifiers._words import is_english
from karat.verifiers.base import Item, Verdict

NEEDS: tuple[str, ...] = ()
EXTRA = ""
SHARES = True  # a verdict says what part was passed

Part = Annotated[float, msgspec.Meta(gt=0, le=1)]
Words = Annotated[int, msgspec.Meta(ge=3)]
READ = 8000  # words of either text
FEWEST = 5  # words of a response of which anything can be told
SHORT = 40  # words up to which an answer may say the question once more before it answers
ALL = 0.95  # of a short response: with so much copied there is no answer in it
# A prompt that asks for its own words again, or brings a text to be worked on.
_REUSE = re.compile(
    r"\b(?:repeat\w*|quot(?:e|es|ing|ation)|cop(?:y|ies)|rewrit\w+|rephras\w+|reword\w*"
    r"|paraphras\w+"
    r"|edit\w*|proofread\w*|correct\w*|fix\w*|improv\w+|translat\w+|summar\w+|shorten\w*|extract\w*"
    r"|continu\w+|complet\w+|finish\w*|fill\w*|insert\w*|append\w*|sort\w*|order(?:ed|ing)?"
    r"|format\w*"
    r"|convert\w*|revis\w+|refin\w+|polish\w*|modif\w+|chang\w+|replac\w+|remov\w+|add(?:ing)?"
    r"|combin\w+"
    r"|merg\w+|organi[sz]\w+|classif\w+|categori[sz]\w+|label\w*|identif\w+|highlight\w*"
    r"|underlin\w+"
    r"|transcri\w+|spell\w*|grammar|punctuat\w+|capitali[sz]\w+|according to|based on|following"
    r"|above"
    r"|below|given|passage|paragraph|article|excerpt|text|sentence|sentences|lyrics|poem|prompt"
    r"|title"
    r"|headline|slogan|tweet|email|letter|essay|code|function|list|table|options?|choices|say|said"
    r"|start(?:s|ing)? with|begin\w*|end(?:s|ing)? with|include|includes|including|contain\w*"
    r"|use the"
    r"|make (?:it|this)|turn (?:it|this)|multiple choice|true or false|which of)\b",
    re.IGNORECASE,
)


def verify(item: Item, *, span: Words = 8, most: Part = 0.6) -> Verdict:
    """Passes what says something of its own; undecided for prompts with a text to work on.

    A response fails where more than `most` of its words stand in spans of at least `span` words
    that are in the prompt too (characters, where words are not parted). One of up to 40 words fails
    where it is the question itself and hardly anything else. `share`: what part of the response is
    its own.
    """
    asked, said = question(item.prompt), words(item.response)[:READ]
    prompt = words(asked)[:READ]
    if len(said) < FEWEST or not prompt:
        return Verdict(passed=None)
    copied = _copied(said, prompt, min(span, len(prompt), len(said)))
    share = 1 - copied
    if copied <= (most if len(said) > SHORT else max(most, ALL)):
        return Verdict(passed=True, share=share)
    if _REUSE.search(asked) or not is_english(asked):
        return Verdict(passed=None, share=share)
    return Verdict(passed=False, reason=f"{copied:.0%} of it stands in the prompt", share=share)


def _copied(said: list[str], prompt: list[str], span: int) -> float:
    """The share of a text's words that stand in spans it has in common with another one."""
    spans = {tuple(prompt[at : at + span]) for at in range(len(prompt) - span + 1)}
    copied, end = 0, 0
    for at in range(len(said) - span + 1):
        if tuple(said[at : at + span]) in spans:
            copied += at + span - max(at, end)
            end = at + span
    return copied / len(said)
