"""The marks of a list, and the lines that belong to each item: paragraphs, passages, code.

Apart from lists.py, which decides what a list is. Code stands in one line of its own while marks
are looked for, so that a comment "# 2. next" is none and code comes through as it was written.
"""

from __future__ import annotations

import re

WORDS = "question|prompt|topic|subtopic|task|instruction|item|problem|exercise|request|passage"
# What may stand before a mark. Taken off on its own, so that no pattern repeats a repetition.
_LEAD = re.compile(r"[\s#>*_]*")
# "1.", "1)", "(1)", "1:", "Q1.", "Q: 1.", "Topic 3 -", "1、", "１．"; "Problem 3" alone in a line
_NUMBER = re.compile(
    rf"(?:(?:{WORDS}|q|t)\s?[:.]?\s?)?[(\[（]?(?P<n>\d{{1,3}})"
    r"(?:\s?[.):\]–—、．，）。：]{1,2}(?!\d)|\s?-(?=\s+\D))\**\s*(?P<item>.*)",
    re.IGNORECASE,
)
_NUMBERED_HEAD = re.compile(rf"(?:{WORDS})\s?(?P<n>\d{{1,3}})\W*(?P<item>$)", re.IGNORECASE)
_LABELLED = re.compile(r"(?:question|q|prompt|task|problem)\**:\**\s*(?P<item>.*)", re.IGNORECASE)
_PASSAGE = re.compile(r"passage\**:\**\s*(?P<item>.*)", re.IGNORECASE)
BULLET = re.compile(r"[\s#>]*(?:[-*+–—·]\s+|[•‣◦▪●]\s*)(?P<item>\S.*)")
_LETTER = re.compile(r"[(]?[A-Za-z][.)]\**\s+(?P<item>\S.*)")
# How many make a list, best first.
_MARKS = {"number": 1, "passage": 1, "label": 2, "bullet": 2, "letter": 2}

ANSWER = re.compile(r"\W*(?:a|ans|answers?|solution|explanation)\s?\d*\W?:", re.IGNORECASE)
QUESTION = re.compile(r"\W*(?:q|question)\W?:", re.IGNORECASE)
_ENDS = tuple(".?!。？！")
_INLINE = re.compile(r"[\s,;](?P<n>\d{1,3})[.)]\s+(?=[^\W\d_]|[\"“*])")
FENCE = re.compile(r"```[\w+#.-]*[ \t\r]*\n(.*?)(```|\Z)", re.DOTALL)
_CODE = re.compile("(?m)(?:^[ \\t]*)?\x00(?P<n>\\d+)\x00")  # where a fence stood
_PART = re.compile(
    r"\W*(?:passage|text|paragraph|article|excerpt|code|function|snippet|program|input|context"
    r"|question|q)s?\W{0,3}:",
    re.IGNORECASE,
)
_POINTS = re.compile(r"\b(?:below|following)\b", re.IGNORECASE)


class Mark:
    """One line, and what kind of mark it begins with, if any."""

    def __init__(self, line: str) -> None:
        lead = _LEAD.match(line)
        place = lead.end() if lead else 0
        self.kind, self.item, self.number = "", "", 0
        tries = (
            ("number", _NUMBER.match(line, place) or _NUMBERED_HEAD.match(line, place)),
            ("passage", _PASSAGE.match(line, place)),
            ("label", _LABELLED.match(line, place)),
            ("bullet", BULLET.match(line)),
            ("letter", _LETTER.match(line, place)),
        )
        for kind, match in tries:
            if match is not None:
                self.kind, self.item = kind, match["item"].rstrip()
                self.number = int(match["n"]) if kind == "number" else 0
                if kind != "bullet" and "**" in line[:place] and self.item.count("**") % 2:
                    self.item = self.item.replace("**", "", 1)  # opened before the mark
                break
        if self.number:  # "1. 1. tides", "1. Python: 1. tides"
            again = re.compile(rf"((?:[^:]{{1,30}}:\s)?){self.number}[.)]\s+")
            self.item = (
                again.sub(r"\1", self.item, count=1) if again.match(self.item) else self.item
            )


def marked(text: str, *, cut: bool = False) -> list[str]:
    """Items that carry a mark. Numbers win over bullets: bullets below a number explain it.

    Code in an item stays as it is, line by line. A text that was `cut` gives its last item all that
    follows, where the item says that something does.
    """
    codes: list[str] = []
    open_code = False

    def aside(fence: re.Match[str]) -> str:
        nonlocal open_code
        open_code = not fence[2]
        lead = fence.string[fence.string.rfind("\n", 0, fence.start()) + 1 : fence.start()]
        lead = lead if lead.isspace() else ""
        codes.append("\n".join(line.removeprefix(lead) for line in fence[0].split("\n")))
        return f"\x00{len(codes) - 1}\x00" + "\n" * open_code

    lines = _spread(FENCE.sub(aside, text.replace("\x00", ""))).splitlines()
    marks = [Mark(line) for line in lines]
    for kind, least in _MARKS.items():
        if sum(mark.kind == kind for mark in marks) >= least:
            unclosed = len(codes) - 1 if open_code else -1
            items = _collect(lines, marks, kind, unclosed, cut=cut)
            return [whole for item in items if (whole := _with_code(item, codes)).strip()]
    return []


def _with_code(item: str, codes: list[str]) -> str:
    """With its fences back in place, less the indentation that puts them below the item."""
    return _CODE.sub(lambda place: codes[int(place["n"])], item)


def _spread(text: str) -> str:
    """With a line for each item where a model wrote "1. tides 2. moons" in one line."""
    lines = text.splitlines()
    known = {mark.number for mark in map(Mark, lines) if mark.number}
    starts, spread = known.copy(), list[str]()
    for line in lines:
        place, first = 0, Mark(line).number
        found = [m for m in _INLINE.finditer(line) if int(m["n"]) not in starts]
        if not first and (starts or [int(m["n"]) for m in found[:2]] != [1, 2]):
            found = []
        for match in found:
            number = int(match["n"])
            if number - 1 in known or not known:
                known.add(number)
                spread.append(line[place : match.start()])
                place = match.start() + 1
        spread.append(line[place:])
    return "\n".join(spread)


def _collect(
    lines: list[str], marks: list[Mark], kind: str, unclosed: int, *, cut: bool
) -> list[str]:
    """Items with the lines that belong to them."""
    places = [place for place, mark in enumerate(marks) if mark.kind == kind]
    items: list[str] = []
    coded = False  # whether an item so far has code
    for place, end in zip(places, [*places[1:], len(lines)], strict=True):
        item, block = marks[place].item, _before_answer(lines[place + 1 : end])
        below = block
        if not item:  # a mark alone in its line
            first = next((n for n, line in enumerate(below) if line.strip()), len(below))
            item, below = "".join(below[first : first + 1]).strip(), below[first + 1 :]
        points = bool(_POINTS.search(item))
        if below and below[-1].strip() == f"\x00{unclosed}\x00" and not points and item[-1:] != ":":
            below = _trimmed(below[:-1])
        if _asks(item) and QUESTION.match(next(filter(str.strip, below), "")):
            below = []  # a second question is not of this item
        last = end == len(lines) or (kind == "number" and marks[end].number <= marks[place].number)
        taken = 0
        code = any("\x00" in line for line in below)
        if (code or kind in ("number", "passage")) and not _is_wrapped(below):
            if not last:
                taken = _inner(item, below, points)
            else:
                opened = points or kind == "passage" or bool(_PART.match(item))
                taken = len(below) if cut and points else _final(item, below, opened, coded)
        if taken:
            coded = coded or any("\x00" in line for line in below[:taken])
            title = "Passage: " if kind == "passage" else ""
            items.append("\n".join([title + item, *_dedented(below[:taken])]))
        else:
            items.append(_paragraph(lines[place:end], marks[place:end], kind))
    return items


def _before_answer(block: list[str]) -> list[str]:
    stop = next((n for n, line in enumerate(block) if ANSWER.match(line)), len(block))
    return _trimmed(block[:stop])


def _trimmed(block: list[str]) -> list[str]:
    end = max((n for n, line in enumerate(block, 1) if line.strip()), default=0)
    return block[:end]


def _dedented(block: list[str]) -> list[str]:
    """Without the indentation that all of its lines share."""
    least = min((len(line) - len(line.lstrip()) for line in block if line.strip()), default=0)
    return [line[least:].rstrip() for line in block]


def _is_wrapped(block: list[str]) -> bool:
    """Whether it is one paragraph set below its mark, or the one question of a passage."""
    if sum(bool(line.strip()) for line in block) < 2 and any(map(QUESTION.match, block)):
        return True
    return all(line[:1].isspace() and line.strip() and "\x00" not in line and not Mark(line).kind
               and not _PART.match(line) for line in block)  # fmt: skip


def _inner(item: str, block: list[str], points: bool) -> int:
    """How many lines belong to an item that another follows.

    All of them, save below a title without code or parts: those explain it.
    """
    whole = points or item[-1:] in _ENDS or _PART.match(item)
    return len(block) if whole or any("\x00" in n or _PART.match(n) for n in block) else 0


def _final(item: str, block: list[str], opened: bool, coded: bool) -> int:
    """How many lines belong to the last item, below which closing remarks stand."""
    taken, whole = 0, opened or item[-1:] in _ENDS
    opens = opened or bool(block and _PART.match(block[0]) and not QUESTION.match(block[0]))
    if opens:
        asked = (n + 1 for n, line in enumerate(block) if QUESTION.match(line))
        taken = next(asked, 0)
    inside, blank = opened and not taken, False
    for number, line in enumerate(block[taken:], taken + 1):
        if not line.strip():
            blank = True
            continue
        if "\x00" in line:
            inside, belongs = False, not blank or opened or coded or item[-1:] == ":"
        elif _PART.match(line):
            inside, belongs = not QUESTION.match(line), True
        elif line[0].isspace():
            belongs = whole or taken > 0
        else:
            belongs = (inside and not blank) or (whole and not blank and bool(Mark(line).kind))
            belongs = belongs or (taken > 0 and block[taken - 1].rstrip("* ").endswith(":"))
        if not belongs:
            break
        taken, blank = number, False
    return taken


def _paragraph(lines: list[str], marks: list[Mark], kind: str) -> str:
    """An item in one line: what stands behind its mark, and what goes on below it.

    That is indented lines, the paragraph below an item that is only a heading ("Task 1", "Using
    Java:"), a sentence that goes on in small letters, and the question below a passage.
    """
    item = marks[0].item
    closed, blank, heading = False, False, _is_heading(item)
    for line, mark in zip(lines[1:], marks[1:], strict=True):
        text = line.strip()
        if not text:
            blank, heading = True, heading and _is_heading(item)
        elif ANSWER.match(text):
            closed = True
        elif "\x00" in text:
            blank = True
        elif not closed and (
            heading
            or (not blank and line[0].isspace() and not mark.kind)
            or (not blank and text[0].islower() and item[-1] not in ".?!:" and not mark.kind)
            or (QUESTION.match(text) and kind in ("number", "passage") and not _asks(item))
        ):
            item = f"{item} {text}".strip()
            blank = False
        else:
            closed = closed or not mark.kind
    return item


def _asks(item: str) -> bool:
    return item.endswith(("?", "？"))


def _is_heading(item: str) -> bool:
    return item.rstrip("*_ ")[-1:] in ("", *":-–—：")
