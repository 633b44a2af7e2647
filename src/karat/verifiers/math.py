"""math: whether a response's final answer equals the row's own, whatever way it is written.

Two whole numbers are compared here, exactly. Everything else (fractions, percentages, sets,
intervals, equations, LaTeX) goes to math-verify, whose comparison is not symmetric: the row's
answer comes first. SymPy behind it can be made to compute for ever or to fill the memory
(`9^{9^{9^{9}}}`), and the alarm signals it guards itself with work in a main thread only; so it
runs in processes of its own, held to CPU seconds and to memory, which are stopped and replaced.

Where the row's answer cannot be read, or a comparison is stopped, there is no verdict. A response
without an answer is wrong.

Source: math-verify 0.9.0, src/math_verify/parser.py and grader.py; "#### 42" is GSM8K's,
arXiv 2110.14168.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from karat.verifiers._workers import Pool
from karat.verifiers.base import Item, Seconds, Verdict

NEEDS = ("answer",)
EXTRA = "math"
DECIDES = True
PACKAGE = "math_verify"

READ = 4000  # characters from the end: where a response that boxes nothing says its answer
SHORT = 200  # characters; a text that is longer is prose, if it has no mark of LaTeX
BOX = r"\boxed{"
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_INTEGER = re.compile(r"[+-]?(?:\d{1,3}(?:[, \u00a0\u202f]\d{3})+|\d{1,40})(?:\.0{0,10})?")
_LIST = re.compile(r"(?<=\d)[ \t]+(?:and|or)[ \t]+(?=[-\d])")
_MIXED = re.compile(r"(?<![\d.,/])(\d{1,9})[ \t]+(\d{1,9})/(\d{1,9})(?![\d/])")
_COMMAND = re.compile(r"\\[a-zA-Z]+(?:\{[a-zA-Z ]*\})?")
_WORD = re.compile(r"[^\W\d_]{2,}")
_FLOAT = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,20})?[eE][+-]?\d{1,2}")
_CURRENCY = re.compile(r"(?:\\\$|[€£¥₹])[ ]?(?=[\d.])|(?<=\d)[ ]?[€£¥₹]")
_SENTENCE = re.compile(r"[.!?]\$?[ ]+\$?[A-Z]")
_BASE = re.compile(r"[\dA-F]_(?:\{(?:\\text\{)?)?(\d{1,2})")
_RATIO = re.compile(r"(?<![\d:.,])(\d{1,9}(?::\d{1,9})+)(?![\d:])")
_LETTER = re.compile(r"\(?([A-J])\)?\.?")
_CHOICE = re.compile(  # A and I are words as well; "the answer is A + B" names no choice
    r"\b(?i:(?:answer|option|choice)(?: is| would be|:)+|(?:choose|pick|select))[ *]*"
    r"(?i:option |choice |answer )?[*(]*([B-HJ]|[AI](?![ ][a-z]))\b"
    r"(?![ ]?[-+*/^=_'\u2019][ ]?[\w(])"
)
_MINUS = str.maketrans("\u2212", "-")
_POOL = Pool("_math_worker.py", memory_mb=2048)


def verify(item: Item, *, seconds: Seconds = 5) -> Verdict:
    """True where the response's final answer equals one of `meta["answer"]`.

    That is a number, LaTeX, a solution that ends in "#### 42", or a list of such, any of which
    will do. The response's is what follows its last "####", the last `\\boxed{}`, or what its last
    words name. 50%, 50 and 0.5 are equal where either side says per cent: writers of both mean it
    each way. Units and currencies are not compared, bases are: 11_2 is not 11_3. `seconds` of CPU
    time end a comparison without a verdict.
    """
    golds = _golds(item.meta.get("answer"))
    if not golds:
        return Verdict(None, "the row's answer is not a number or a text")
    said = _said(item.response.translate(_MINUS))
    if not said:
        return Verdict(False, "no answer in the response")
    letter = _letter(said)
    if letter and all(_LETTER.fullmatch(gold) for gold in golds):
        return _verdict(any(letter in gold for gold in golds), said)
    golds = [gold for gold in golds if not (_other_base(gold, said) or _anagram(gold, said))]
    if not golds:
        return _verdict(False, said)
    numbers = [_integer(gold) for gold in golds]
    number = _integer(said)
    if number is not None and None not in numbers:
        return _verdict(number in numbers, said)
    job = {"golds": [_written(gold) for gold in golds], "said": _written(said)}
    answer = _POOL.ask(job, seconds)
    if answer is None:
        return Verdict(None, f"stopped: comparing took over {seconds} s of CPU time or the memory")
    if answer["passed"] is None:
        return Verdict(None, str(answer["reason"]))
    if not answer["found"]:
        return Verdict(False, "no answer in the response")
    return _verdict(bool(answer["passed"]), said if len(said) < READ else str(answer["found"]))


def _verdict(passed: bool, said: str) -> Verdict:
    return Verdict(passed, "" if passed else f"answered {said.strip()[-80:]}")


def _golds(answer: Any) -> list[str]:
    """The row's answers as text; none where one is neither a number nor a text."""
    given = answer if isinstance(answer, list) else [answer]
    found = []
    for one in given:
        if isinstance(one, bool) or not isinstance(one, int | float | str):
            return []
        text = str(one)
        hashes = _HASHES.findall(text)
        found.append((hashes[-1] if hashes else text).strip().translate(_MINUS))
    return found if all(found) else []


def _said(response: str) -> str:
    """The part of a response that says its answer, or the end of it."""
    hashes = [text for text in _HASHES.findall(response) if any(map(str.isdigit, text))]
    at = response.rfind(BOX)
    if hashes and response.rfind("####") > at:
        # Elsewhere "####" heads a section: "#### Step 4" is no answer.
        last = str(hashes[-1]).strip().strip("*").strip()
        if _integer(last) is not None or not last[:1].isalpha():
            return last
    if at < 0:
        return response[-READ:].strip()
    start = response.rfind("\n", 0, at) + 1
    end = _closing(response, at + len(BOX))
    before = response[start:at]
    new = [match.end() for match in _SENTENCE.finditer(before)]  # who corrects an answer
    if BOX not in before[new[-1] if new else 0 :]:
        return response[at + len(BOX) : end].strip()
    return response[start : end + 1]  # "\boxed{1} and \boxed{2}" is one answer


def _letter(said: str) -> str:
    """The choice that is named: "(B)", "the answer is B"; "" where none is."""
    alone = _LETTER.fullmatch(said.strip().strip("*").strip())
    named = [alone[1]] if alone else _CHOICE.findall(said)
    return str(named[-1]) if named else ""


def _other_base(gold: str, said: str) -> bool:
    """Whether both say the base their digits are in, and not the same."""
    bases, others = _BASE.findall(gold), _BASE.findall(said)
    return bool(bases and others) and bases[-1] != others[-1]


def _anagram(gold: str, said: str) -> bool:
    """Whether they are two words of the same letters, which LaTeX reads as the same product."""
    words = [_COMMAND.sub("", text).strip(" {}$*.").lower() for text in (gold, said)]
    alike = words[0].isalpha() and sorted(words[0]) == sorted(words[1]) and words[0] != words[1]
    return alike and (len(words[0]) > 2 or "no" in words)  # "ba" is ab


def _closing(text: str, start: int) -> int:
    """Where the brace opened before `start` is closed; the end of the text where it is not."""
    depth = 1
    for match in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if not depth:
            return start + match.start()
    return len(text)


def _integer(text: str) -> int | None:
    """A whole number as people write it: with separators, a currency, a full stop."""
    bare = _CURRENCY.sub("", text.strip().strip("$")).strip().rstrip(".").replace("{,}", ",")
    if not _INTEGER.fullmatch(bare):
        return None
    return int(re.sub(r"[,\s]", "", bare.partition(".")[0]))


def _written(text: str) -> str:
    """A text in the form that math-verify reads it in: marked as LaTeX where it is a formula.

    Prose stays as it is, and so does one number with its unit ("18 dollars"), in which LaTeX would
    read a product of letters. Whatever else is short is a formula, or a word given as the answer.
    """
    text = _CURRENCY.sub("", _LIST.sub(", ", text.strip().strip("*").strip()))
    if BOX in text:
        return _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    if len(text) > SHORT or "\n" in text or any(mark in text for mark in ("$", r"\(", r"\[")):
        return _MIXED.sub(r"$\1\\frac{\2}{\3}$", text)
    if _WORD.search(_COMMAND.sub("", text)) and any(map(str.isdigit, text)):
        text = _RATIO.sub(r"$\1$", text)  # else "3:4" is read as 3
        return _MIXED.sub(r"$\1\\frac{\2}{\3}$", text)
    if _FLOAT.fullmatch(text):  # 1e-3, which LaTeX reads as a product with Euler's number
        text = format(Decimal(text), "f")
    return BOX + _MIXED.sub(r"\1\\frac{\2}{\3}", text.rstrip(".")) + "}"
