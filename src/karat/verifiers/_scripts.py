"""Which scripts a text is written in, and which of them its language is not written in."""

from __future__ import annotations

import re
from collections.abc import Sequence

SCRIPTS = {
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Cyrillic": "\u0400-\u052f",
    "Armenian": "\u0530-\u058f",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Thai": "\u0e00-\u0e7f",
    "Georgian": "\u10a0-\u10ff",
    "Hangul": "\u1100-\u11ff\uac00-\ud7af",
    "kana": "\u3040-\u30ff",
    "Han": "\u3400-\u4dbf\u4e00-\u9fff",
}
_WRITTEN = {
    "Greek": "el", "Cyrillic": "ru uk be bg mk sr kk mn ky tg tt", "Armenian": "hy",
    "Hebrew": "he yi", "Arabic": "ar arz fa ur ckb ps ug sd pnb", "Devanagari": "hi mr ne",
    "Bengali": "bn", "Tamil": "ta", "Telugu": "te", "Thai": "th", "Georgian": "ka", "Hangul": "ko",
    "kana": "ja", "Han": "zh yue wuu ja ko",
}  # fmt: skip
_OF: dict[str, list[str]] = {}
for _script, _languages in _WRITTEN.items():
    for _language in _languages.split():
        _OF.setdefault(_language, []).append(_script)
FEW = 4  # letters of a script that are a name or a word spoken of
_LETTER = {name: re.compile(f"[{span}]") for name, span in SCRIPTS.items()}
_ANY = re.compile(f"[{''.join(SCRIPTS.values())}]")
_LETTERS = re.compile(r"[^\W\d_]")


def letters(text: str) -> int:
    return len(_LETTERS.findall(text))


def is_latin(text: str) -> bool:
    """Whether most letters are of none of the scripts above."""
    return 2 * len(_ANY.findall(text)) < letters(text)


def holds_script(language: str, text: str, others: Sequence[str]) -> bool:
    """Whether a text has letters of a script of this language that none of the others has."""
    known = {script for other in others for script in _OF.get(other, ())}
    return any(s not in known and _LETTER[s].search(text) for s in _OF.get(language, ()))


def foreign_letters(text: str, languages: Sequence[str], prompt: str) -> int:
    """Letters of scripts that none of the languages is written in and the prompt does not hold.

    Latin letters are at home everywhere, in names and terms.
    """
    known = {script for language in languages for script in _OF.get(language, ())}
    count = 0
    for script, letter in _LETTER.items():
        if script not in known and not letter.search(prompt):
            found = len(letter.findall(text))
            count += found if found > FEW else 0
    return count
