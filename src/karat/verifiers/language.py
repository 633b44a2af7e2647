"""language: whether a response is in the language of its prompt.

A multilingual model now and then answers in another language than it was asked in, or slips into
one half-way; a reward model trained on English hardly minds. Which language a text is in, a
detector tells reliably from about 20 letters on. What is shorter, is code or numbers, or talks
about languages (translations, lessons) is left undecided. Where a prompt says which language it
wants ("answer in German"), that one is expected.

Source: the detector: Joulin et al. 2016, arXiv 1612.03651.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec

from karat.row import Message
from karat.verifiers._language import PACKAGE as PACKAGE
from karat.verifiers._language import asked_for, names_a_language, same_language, told
from karat.verifiers._prose import prose, question
from karat.verifiers._scripts import foreign_letters, holds_script, is_latin, letters
from karat.verifiers._words import is_english
from karat.verifiers.base import Item, Verdict

NEEDS: tuple[str, ...] = ()
EXTRA = "language"
SHARES = True  # a verdict says what part was passed

Part = Annotated[float, msgspec.Meta(gt=0, le=1)]
FEWEST, FEWEST_OTHER = 20, 8  # letters of a text whose language can be told; where none are Latin
SEGMENT = 60  # letters of a line that is looked at alone
SURE = 0.8  # the detector's probability from which one line alone is believed
READ = 20_000  # characters
_LINES = re.compile(r"\n+")


def verify(item: Item, *, confidence: Part = 0.6, most: Part = 0.1) -> Verdict:
    """Passes a response in the language of the prompt, or in the one that the prompt asks for.

    `confidence`: the detector's probability below which nothing is decided. `most`: what part of
    the letters may stand in lines of another language, or in a script that neither language nor
    prompt has. `share`: the part of the letters in the right language.
    Raises: RunError where no detector is installed.
    """
    said = prose(item.response[:READ])
    wanted = _wanted(item.prompt, confidence)
    if not wanted or not _enough(said):
        return Verdict(passed=None)
    found, sure = told(said)
    if found is None or sure < confidence:
        return Verdict(passed=None)
    asked = question(item.prompt)
    if not _among(found, wanted) and holds_script(found, asked, wanted):
        return Verdict(passed=None)  # an English prompt around a question in Chinese
    if not _among(found, wanted):
        reason = f"in {found}, the prompt in {' and '.join(wanted)}"
        return Verdict(passed=False, reason=reason, share=0.0)
    every = letters(said)
    wrong, which = _elsewhere(said, wanted)
    strange = foreign_letters(said, [*wanted, found], asked)
    share = 1 - max(wrong, strange) / every
    if share >= 1 - most:
        return Verdict(passed=True, share=share)
    reason = f"{wrong / every:.0%} of it in {which}" if wrong >= strange else "another script in it"
    return Verdict(passed=False, reason=reason, share=share)


def _wanted(prompt: Sequence[Message], confidence: float) -> list[str]:
    """The languages that a response may be in; none where that cannot be told.

    A prompt of two languages, as an English instruction about a German text, allows both.
    """
    user = [message.content for message in prompt if message.role != "assistant"]
    whole = "\n".join(user)
    if names_a_language(whole):
        one = asked_for(whole)
        return [one] if one else []
    text = prose(question(prompt)[:READ])
    if not _enough(text):
        text = prose(whole[:READ])
    if not _enough(text):
        return []
    language, sure = told(text)
    found = [language] if language is not None and sure >= confidence else []
    # Short prompts full of names are any language to the detector; common English words are not.
    if text.isascii() and is_english(text):
        found = ["en"]
    for line in _LINES.split(text):
        if letters(line) >= SEGMENT:
            other, sure = told(line)
            if other is not None and sure >= confidence and other not in found:
                found.append(other)
    return found


def _elsewhere(said: str, wanted: Sequence[str]) -> tuple[int, str]:
    """Letters in lines that are surely in another language, and which."""
    wrong, which = 0, ""
    for line in _LINES.split(said):
        count = letters(line)
        if count < SEGMENT:
            continue
        found, sure = told(line)
        if found is not None and sure >= SURE and not _among(found, wanted):
            wrong, which = wrong + count, found
    return wrong, which


def _among(found: str, wanted: Sequence[str]) -> bool:
    return any(same_language(found, one) for one in wanted)


def _enough(text: str) -> bool:
    return letters(text) >= (FEWEST if is_latin(text) else FEWEST_OTHER)
