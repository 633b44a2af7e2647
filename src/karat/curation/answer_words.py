"""The words of a short answer, and of the passage it was found in, as they are compared.

As in SQuAD's evaluation case, punctuation and articles do not count. It differs where answers would
be equal that are not, or differ by how they are written alone:
- a number keeps its sign and its decimal mark: -5 is not 5, and 1,5 is 1.5 and not 15;
- what stands at a number (%, €, °C) is kept beside it, so that equal numbers can be told apart;
- C++, C#, A- and the A of "vitamin A" are words of their own;
- a hyphen parts words rather than joining them;
- where a script is written without spaces, a character is a word.

Source: Rajpurkar et al. 2016 (1606.05250) §6.1, evaluate-v1.1.py.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from karat.curation.chunking import UNSPACED

_MONEY = "$¢£¥\u20a0-\u20c0"
_SPELT = {
    "percent": "%", "euro": "€", "eur": "€", "dollar": "$", "usd": "$", "gbp": "£", "yen": "¥",
}  # fmt: skip
_GROUPS = r"\d{1,3}(?:[\u00a0\u2009\u202f'’]\d{3})+(?!\d)(?:[.,]\d+)?"
_PLAIN = r"\d+(?:[.,٫٬]\d+)*|(?<![\w.])\.\d+"
# One number in a short answer; in a table "10 000" may be two, and "1871/72" holds 1871.
_SHORT = r"\d{1,3}(?: \d{3})+(?![\d.,]?\d)|\d+[/:⁄]\d+|10(?:\^[-−]?\d+|[⁺⁻]?[⁰¹²³⁴-⁹]+)"
_LETTERS = rf"[^\W\d_{UNSPACED}]+"


def _pattern(numbers: str) -> re.Pattern[str]:
    return re.compile(
        # A minus follows no operand: 5-10 is a range.
        rf"(?P<sign>(?<![\w)\]%‰°{_MONEY}–−-])[-−–](?=[{_MONEY}]?\.?\d)"
        r"|(?<!\d )\b(?i:minus)\s(?=\.?\d))?"
        rf"(?P<before>[{_MONEY}]\s?(?=\.?\d))?(?P<number>(?:{numbers})[½¼¾⅓⅔]?)"
        rf"(?P<unit>\s?[%‰{_MONEY}]|\s?°\s?[CF]\b)?"
        r"(?=\s?(?P<spelt>(?i:per\s?cent|euros?|eur|dollars?|usd|gbp|yen))\b)?"
        rf"|(?P<word>[{UNSPACED}]|{_LETTERS}(?:['’]{_LETTERS})*"
        r"(?:\+\+|[+#♯♭⁺⁻](?!\w)|(?:(?<=\b[ABCDFO])|(?<=\bAB))[-−](?![\w-]))?)"
    )


_WORD, _SHORT_WORD = _pattern(f"{_GROUPS}|{_PLAIN}"), _pattern(f"{_SHORT}|{_GROUPS}|{_PLAIN}")
_THOUSANDS = re.compile(
    r"[1-9]\d{0,2}(?:,\d{3})+(?P<dot>\.\d+)?|[1-9]\d?(?:,\d{2})+,\d{3}"
    r"|[1-9]\d{0,2}(?:\.\d{3}){2,}|[1-9]\d{0,2}(?:\.\d{3})+(?P<comma>,\d+)"
)
_ARTICLES = frozenset(("a", "an", "the"))
_LAST = re.compile(r"(?!\s+[\"“'‘(]?\w)")  # no word follows
_BEFORE_SMALL = re.compile(r"\s+[^\W\d_A-Z]")


class Word(NamedTuple):
    """A word as it is compared, and where it stands. `mark`: what tells equal numbers apart."""

    text: str
    start: int
    end: int
    mark: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether another one cannot be meant: numbers, single letters, C++."""
        last = self.text[-1]
        return (
            self.text.removeprefix("-")[:1].isdigit()
            or (len(self.text) == 1 and self.text.isascii())
            or not last.isalnum()
        )


def words(text: str, *, short: bool = False) -> list[Word]:
    """The words of a text that are compared; of one without any, its symbols.

    `short`: it is an answer, in which 10 000 and 3/4 are one number each.
    """
    found = []
    for match in (_SHORT_WORD if short else _WORD).finditer(text):
        if match["number"]:
            sign = "-" if match["sign"] else ""
            found.append(Word(sign + _number(match["number"]), *match.span(), _mark(match)))
        else:
            word = match[0].casefold().replace("’", "'").replace("−", "-").translate(_RAISED)
            if word not in _ARTICLES or _is_letter(text, match):
                found.append(Word(word, *match.span()))
    if found or any(c.isalnum() for c in text):
        return found
    return [
        Word(c, place, place + 1)
        for place, c in enumerate(text)
        if unicodedata.category(c) in ("Sc", "Sm", "So")
    ]


_RAISED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹⁄♯", "+-0123456789/#")


def _number(written: str) -> str:
    """A number as it would be written in a program, where that can be told."""
    number = re.sub(r"[\s'’٬]", "", written).replace("٫", ".").replace("−", "-")
    if number.startswith("10") and not number[2:].isdecimal():
        number = re.sub(r"^10(?=[⁺⁻⁰¹²³⁴-⁹])", "10^", number)
    number = number.translate(_RAISED)
    grouped = _THOUSANDS.fullmatch(number)
    if grouped and grouped["comma"]:
        number = number.replace(".", "")
    elif grouped:
        number = number.replace(",", "") if "," in number else number.replace(".", "")
    if number.count(",") == 1 and "." not in number:
        number = number.replace(",", ".")
    return f"0{number}" if number.startswith(".") else number


def _mark(match: re.Match[str]) -> str:
    said = match["before"] or match["unit"] or ""
    if said:
        return "".join(said.split()).lower()
    spelt = re.sub(r"\s", "", match["spelt"] or "").lower()
    return _SPELT.get(spelt, _SPELT.get(spelt.removesuffix("s"), ""))


def _is_letter(text: str, match: re.Match[str]) -> bool:
    """Whether "A" is a name, as in "plan A" and "vitamin A is", and no article."""
    if match[0] != "A":
        return False
    if _LAST.match(text, match.end()):
        return True
    behind_word = text[max(0, match.start() - 2) : match.start()].rstrip(" ")[-1:].isalnum()
    return behind_word and bool(_BEFORE_SMALL.match(text, match.end()))
