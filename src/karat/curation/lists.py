"""Reads the lists models write: numbers, bullets, JSON, fences, or one item a line.

Always offline and never with a second call: a published recipe asks a model again to turn its own
list into YAML and throws everything away unless each item matches to the letter. Here whatever a
person would call an item is one, and what is left over is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

_WORDS = "question|prompt|topic|subtopic|task|instruction|item|problem|exercise|request|passage"
# What may stand before a mark. Taken off on its own, so that no pattern repeats a repetition.
_LEAD = re.compile(r"[\s#>*_]*")
# "1.", "1)", "(1)", "1:", "Q1.", "Q: 1.", "Topic 3 -", "1、", "１．"; "Problem 3" alone in a line
_NUMBER = re.compile(
    rf"(?:(?:{_WORDS}|q|t)\s?[:.]?\s?)?[(\[（]?(?P<n>\d{{1,3}})"
    r"(?:\s?[.):\]–—、．，）。：]{1,2}(?!\d)|\s?-(?=\s+\D))\**\s*(?P<item>.*)",
    re.IGNORECASE,
)
_NUMBERED_HEAD = re.compile(rf"(?:{_WORDS})\s?(?P<n>\d{{1,3}})\W*(?P<item>$)", re.IGNORECASE)
_LABELLED = re.compile(r"(?:question|q|prompt|task|problem)\**:\**\s*(?P<item>.*)", re.IGNORECASE)
_PASSAGE = re.compile(r"passage\**:\**\s*(?P<item>.*)", re.IGNORECASE)
_BULLET = re.compile(r"[\s#>]*(?:[-*+–—·]\s+|[•‣◦▪●]\s*)(?P<item>\S.*)")
_LETTER = re.compile(r"[(]?[A-Za-z][.)]\**\s+(?P<item>\S.*)")
# How many make a list, best first.
_MARKS = {"number": 1, "passage": 1, "label": 2, "bullet": 2, "letter": 2}

_ANSWER = re.compile(r"\W*(?:a|ans|answers?|solution|explanation)\s?\d*\W?:", re.IGNORECASE)
_QUESTION = re.compile(r"\W*(?:q|question)\W?:", re.IGNORECASE)
_INLINE = re.compile(r"[\s,;](?P<n>\d{1,3})[.)]\s+(?=[^\W\d_]|[\"“*])")
_FENCE = re.compile(r"```[\w-]*[ \t\r]*\n(.*?)(?:```|\Z)", re.DOTALL)
_LABEL = re.compile(
    rf"(?:(?:{_WORDS})\s?\d*(?:\s?[:：]|\s[-–—]\s)|(?:q|t|a|answer)\s?\d*\s?[:：])\s*",
    re.IGNORECASE,
)
_BOLD = re.compile(r"(\*\*|__)(?=[^\s*_])(.{1,300}?)(?<=[^\s*_])\1")
_PAIRS = ('""', "''", "“”", "‘’", "«»", "「」", "『』", "``", "**", "__")
_JSON_LIST = re.compile(r"\[\s*(?=[\"{\[])")
_DECODER = json.JSONDecoder(strict=False)
_NAMES = (
    "prompt",
    "question",
    "instruction",
    "topic",
    "subtopic",
    "name",
    "title",
    "text",
    "task",
    "item",
)
_DEPTH = 8  # of lists in lists
LEAST_ITEM = 2  # characters, where one of them is not a word of its own
LONGEST_ITEM = 2000


def parse_list(text: str, limit: int | None = None, *, cut: bool = False) -> list[str]:
    """The items a person would see in `text`, in order, exact repeats left out.

    A marked list (numbers, labels, bullets, letters) wins over the lines around it, so an
    introduction and a closing remark are not items; JSON wins over both. A line that continues an
    item is joined to it. `cut` says that the text stopped in the middle (finish_reason "length"):
    an item that reaches its end is left out, since it may be half an item. Half an item of a JSON
    list always is.
    """
    found = _from_json(text)
    if found is None:
        body = _outside_fence(text)
        found = _marked(body) or _plain_lines(body)
        if cut and found and text.rstrip().endswith(found[-1].split()[-1]):
            found.pop()
    items: list[str] = []
    seen: set[str] = set()
    for raw in found:
        item = _tidy(raw)
        key = item.casefold()
        if _is_item(item) and key not in seen:
            seen.add(key)
            items.append(item)
    return items[:limit]


def _is_item(text: str) -> bool:
    least = LEAST_ITEM if text.isascii() else 1
    return least <= len(text) <= LONGEST_ITEM and any(c.isalnum() for c in text)


def _tidy(item: str) -> str:
    """Without quotes, emphasis, a repeated label or white space around it."""
    text = " ".join(item.encode("utf-8", "ignore").decode().split())
    text = _BOLD.sub(r"\2", text).rstrip(",;，；").strip()
    for _ in range(2):  # a label in quotes, quotes behind a label
        text = text[label.end() :] if (label := _LABEL.match(text)) else text
        inner = text[1:-1]
        if text[:1] + text[-1:] in _PAIRS and not set(text[0] + text[-1]) & set(inner):
            text = inner.strip().rstrip(",;，；") if any(c.isalnum() for c in inner) else text
    return text.strip()


# JSON


def _from_json(text: str) -> list[str] | None:
    """Items of the first JSON list in the text; the whole ones of a list that was cut off."""
    start = _JSON_LIST.search(text)
    if start is None:
        return None
    before = text[: start.start()].rstrip(" \t")
    if (before and before[-1] not in "\n\r:=[{(`") or _marked(before):
        return None  # a list that an item talks about
    try:
        value, _ = _DECODER.raw_decode(text, start.start())
        return list(_strings(value))
    except (ValueError, RecursionError):
        return list(_whole_strings(text, start.end())) or None


def _whole_strings(text: str, place: int) -> Iterator[str]:
    """The items of a list that is never closed, from behind its bracket on."""
    try:
        while True:
            while text[place : place + 1] in (",", " ", "\n", "\r", "\t"):
                place += 1
            value, place = _DECODER.raw_decode(text, place)
            yield from _strings([value])
    except (ValueError, RecursionError):
        if text[place : place + 1] == "{":
            yield from _strings([_whole_fields(text[place:])])


def _whole_fields(text: str) -> dict[str, str]:
    """The fields of known name of an object that is never closed."""
    fields: dict[str, str] = {}
    for name, value in re.findall(r'"(\w{1,20})"\s{0,9}:\s{0,9}("(?:[^"\\]|\\.)*")', text):
        if name.lower() in _NAMES:
            try:
                fields.setdefault(name, orjson.loads(value))
            except ValueError:
                continue
    return fields


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    """The text of each list item: itself, or the field of an object that holds it."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            fields = {str(k).lower(): v for k, v in item.items() if isinstance(v, str)}
            known = [fields[name] for name in _NAMES if name in fields]
            yield from (known or list(fields.values()))[:1]
        elif isinstance(item, list) and depth < _DEPTH:
            yield from _strings(item, depth + 1)


# Marks


def _outside_fence(text: str) -> str:
    """The text without code; what a fence holds where the list itself is inside it."""
    fenced = _FENCE.search(text)
    if fenced is None:
        return text
    outside = _FENCE.sub("\n", text)
    if _marked(outside):
        return outside
    return fenced.group(1) if len(fenced.group(1)) > len(text) / 3 else text


class _Mark:
    """One line, and what kind of mark it begins with, if any."""

    def __init__(self, line: str) -> None:
        lead = _LEAD.match(line)
        place = lead.end() if lead else 0
        self.kind, self.item, self.number = "", "", 0
        tries = (
            ("number", _NUMBER.match(line, place) or _NUMBERED_HEAD.match(line, place)),
            ("passage", _PASSAGE.match(line, place)),
            ("label", _LABELLED.match(line, place)),
            ("bullet", _BULLET.match(line)),
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


def _marked(text: str) -> list[str]:
    """Items that carry a mark. Numbers win over bullets: bullets below a number explain it."""
    lines = _spread(text).splitlines()
    marks = [_Mark(line) for line in lines]
    for kind, least in _MARKS.items():
        if sum(mark.kind == kind for mark in marks) >= least:
            return [item for item in _collect(lines, marks, kind) if item]
    return []


def _spread(text: str) -> str:
    """With a line for each item where a model wrote "1. tides 2. moons" in one line."""
    lines = text.splitlines()
    known = {mark.number for mark in map(_Mark, lines) if mark.number}
    starts, spread = known.copy(), list[str]()
    for line in lines:
        place, first = 0, _Mark(line).number
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


def _collect(lines: list[str], marks: list[_Mark], kind: str) -> list[str]:
    """Items with the lines that belong to them.

    Those are indented lines, the paragraph below an item that is only a heading ("Task 1", "Using
    Java:"), a sentence that goes on in small letters, and the question below a passage.
    """
    items: list[str] = []
    closed, blank, heading = True, False, False
    for line, mark in zip(lines, marks, strict=True):
        text = line.strip()
        if mark.kind == kind:
            items.append(mark.item)
            closed, blank, heading = False, False, _is_heading(mark.item)
        elif not text:
            blank, heading = True, heading and _is_heading(items[-1])
        elif _ANSWER.match(text):
            closed = True
        elif not closed and (
            heading
            or (not blank and line[0].isspace() and not mark.kind)
            or (not blank and text[0].islower() and items[-1][-1] not in ".?!:" and not mark.kind)
            or (_QUESTION.match(text) and kind in ("number", "passage"))
        ):
            items[-1] = f"{items[-1]} {text}".strip()
            blank = False
        else:
            closed = closed or not mark.kind
    return items


def _is_heading(item: str) -> bool:
    return item.rstrip("*_ ")[-1:] in ("", *":-–—：")


# Lines


def _plain_lines(text: str) -> list[str]:
    """One item a line, or a comma list on one line; a heading that ends in a colon is not one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if line[-1] not in ":：" and not line.startswith("#")]
    items = [line for line in lines if _Mark(line).kind != "number"]  # a mark without an item
    if len(items) == 1:
        named = _comma_list(items[0]) or _comma_list(items[0].partition(": ")[2].strip('"“” '))
        if named:
            return named
    if any(map(_QUESTION.match, items)):
        items = [item for item in items if not _ANSWER.match(item)]
    return [bullet["item"] if (bullet := _BULLET.match(item)) else item for item in items]


def _comma_list(line: str) -> list[str]:
    """The parts of "tides, moons, and rivers."; none where it is a sentence with commas."""
    parts = [p.removeprefix("and ").strip(" .。") for p in re.split(r",\s|、", line)]
    if len(parts) < 3 or "?" in line or max(len(p.split()) for p in parts) > 4:
        return []
    return parts if all(parts) and max(map(len, parts)) <= 60 else []
