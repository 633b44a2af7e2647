"""JSON as models write it: in fences, in prose, with commas and quotes that JSON has not.

Only syntax is repaired, never content: what could mean two things is no value, and the model is
asked again. That is why `json-repair`, light and well kept as it is, is not used here: its release
0.64 reads `{"a" 1}` as `{"a": ""}` and `{'a': 'it''s'}` as `{"a": "it"}`, and takes the last of two
objects, which may well fit a schema. A guess that fits is worse than a retry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NoReturn

Found = list[tuple[Any, tuple[str, ...]]]  # values, and what was repaired to read each
MAX_STARTS = 64  # brackets tried in one text: prose has few, and each one costs a pass
_OPEN = re.compile(r"```[^\S\n]*+[\w-]*+[^\S\n]*+\n")
_CLOSE = re.compile(r"\n[^\S\n]*+```")
_BLANK = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"[A-Za-z]+")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
# A single quote closes where a comma, a colon, a bracket or the end follows: not within `it's`.
_SINGLE = re.compile(r"'((?:[^'\\]++|\\.|'(?![ \t\r\n]*(?:[,:}\]]|\Z)))*+)'", re.DOTALL)
_QUOTED = re.compile(r'\\.|"', re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}


def read_values(text: str, *, close: bool = True) -> Iterator[Found]:
    """What a text may mean, the plainest reading first: the whole, then its fences, then brackets.

    `close`: brackets open at the end of the text are closed; not for a text that was cut, where
    nobody knows what is missing.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        yield [(value, ())]
        if not isinstance(value, str):  # a value in quotes is text around a value, too
            return
    except (ValueError, RecursionError):
        pass
    whole = _Reader(text, close)
    yield _all(whole, [_BLANK.match(text).end()], whole_text=True)  # type: ignore[union-attr]
    fenced: Found = []
    for fence in _fences(text):
        inner = fence.strip()
        found = _all(_Reader(inner, close), [0], whole_text=True)
        fenced += [(value, ("fence", *repairs)) for value, repairs in found]
    yield fenced
    starts = (match.start() for match in re.finditer(r"[{\[]", text))
    found = _all(whole, starts, whole_text=False)
    yield [(value, ("text around it", *repairs)) for value, repairs in found]


def _fences(text: str) -> Iterator[str]:
    """What stands in fences. Apart, for a text of many that open and none that closes."""
    at = 0
    while (begin := _OPEN.search(text, at)) and (end := _CLOSE.search(text, begin.end())):
        yield text[begin.end() : end.start()]
        at = end.end()


def _all(reader: _Reader, starts: Any, *, whole_text: bool) -> Found:
    """The values that begin at these places; one within another is part of it."""
    found: Found = []
    end = tried = 0
    for start in starts:
        if start < end:
            continue
        tried += 1
        if tried > MAX_STARTS:
            break
        reader.repairs = set()
        try:
            value, after = reader.value(start)
        except (ValueError, RecursionError, IndexError):
            continue
        if whole_text and _after_blank(reader.text, after) != len(reader.text):
            continue
        found.append((value, tuple(sorted(reader.repairs))))
        end = after
    return found


def _after_blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


class _Reader:
    """Reads one value at a place, and notes what it had to repair."""

    def __init__(self, text: str, close: bool) -> None:
        self.text, self.close = text, close
        self.repairs: set[str] = set()

    def value(self, at: int) -> tuple[Any, int]:
        """(value, where it ends). Raises: ValueError."""
        first = self.text[at : at + 1]
        if first == "{":
            return self._object(at + 1)
        if first == "[":
            return self._array(at + 1)
        if first in ('"', "'"):
            return self._string(at)
        word = _WORD.match(self.text, at)
        if word and word[0] in _WORDS:
            if word[0][0].isupper():
                self.repairs.add("Python's words")
            return _WORDS[word[0]], word.end()
        number = _NUMBER.match(self.text, at)
        if not number or self.text[number.end() : number.end() + 1].isalnum():
            raise ValueError(f"no JSON value at character {at}")
        return json.loads(number[0]), number.end()

    def _object(self, at: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self._next(at, "}", first=True)
        while not self._ends(at, "}"):
            key, at = self._string(at)
            at = self._skip(at)
            if self.text[at : at + 1] != ":":
                raise ValueError("no colon")
            if key in found:
                raise ValueError(f"'{key}' twice")
            found[key], at = self.value(self._skip(at + 1))
            at = self._next(at, "}")
        return found, min(at + 1, len(self.text))

    def _array(self, at: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = self._next(at, "]", first=True)
        while not self._ends(at, "]"):
            item, at = self.value(at)
            found.append(item)
            at = self._next(at, "]")
        return found, min(at + 1, len(self.text))

    def _next(self, at: int, end: str, first: bool = False) -> int:
        """Where the next item or the end is: past a comma, which must be there between two."""
        at = self._skip(at)
        if first or self._ends(at, end):
            return at
        if self.text[at] != ",":
            raise ValueError("no comma")
        at = self._skip(at + 1)
        if self._ends(at, end):
            self.repairs.add("trailing comma")
        return at

    def _ends(self, at: int, end: str) -> bool:
        if at < len(self.text):
            return self.text[at] == end
        if not self.close:
            raise ValueError("cut off")
        self.repairs.add("open bracket")
        return True

    def _skip(self, at: int) -> int:
        return _after_blank(self.text, at)

    def _string(self, at: int) -> tuple[str, int]:
        if self.text[at : at + 1] == '"':
            read, end = scanstring(self.text, at + 1, False)
            if any(c < " " for c in self.text[at:end]):
                self.repairs.add("line break in a string")
            return str(read), end
        single = _SINGLE.match(self.text, at)
        if not single:
            raise ValueError("no key or value in quotes")
        self.repairs.add("single quotes")
        inner = _QUOTED.sub(_as_double, single[1])
        return str(json.loads(f'"{inner}"', strict=False)), single.end()


def _as_double(match: re.Match[str]) -> str:
    """What stands between single quotes, as it stands between double ones."""
    return {"\\'": "'", '"': '\\"'}.get(match[0], match[0])


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
