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

from karat.curation.list_marks import ANSWER, BULLET, FENCE, QUESTION, WORDS, Mark, marked

_LABEL = re.compile(
    rf"(?:(?:{WORDS})\s?\d*(?:\s?[:：]|\s[-–—]\s)|(?:q|t|a|answer)\s?\d*\s?[:：])\s*",
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
_WRAP = re.compile(r"(?<=[^.?!:\r\n])\r(?=[a-z])")  # a sentence that goes on
_DEPTH = 8  # of lists in lists
LEAST_ITEM = 2  # characters, where one of them is not a word of its own
LONGEST_ITEM = 2000


def parse_list(text: str, limit: int | None = None, *, cut: bool = False) -> list[str]:
    """The items a person would see in `text`, in order, exact repeats left out.

    A marked list (numbers, labels, bullets, letters) wins over the lines around it, so an
    introduction and a closing remark are not items; JSON wins over both. A line that continues an
    item is joined to it; an item of several paragraphs or with code keeps its lines. `cut` says
    that the text stopped in the middle (finish_reason "length"): an item that reaches its end is
    left out, since it may be half an item. Half an item of a JSON list always is.
    """
    text = text.replace("\r\n", "\n")
    found = _from_json(text)
    if found is None:
        body = text
        found = marked(text, cut=cut)
        if not found:
            body = _inside_fence(text)
            found = marked(body, cut=cut) or _plain_lines(body)
        # A line that was ended is whole, wherever the text stopped.
        inside = cut and found and not text.endswith("\n")
        if inside and text.rstrip().endswith(found[-1].split()[-1]):
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
    """Without quotes, emphasis, a repeated label or white space around it; code stays as it is."""
    text = item.encode("utf-8", "ignore").decode()
    lines, place = list[str](), 0
    for fence in FENCE.finditer(text):
        lines.append(_tidy_lines(text[place : fence.start()]) + fence[0])
        place = fence.end()
    text = ("".join(lines) + _tidy_lines(text[place:])).strip()
    several = "\n" in text
    text = text if several else text.rstrip(",;，；").strip()
    for _ in range(2):  # a label in quotes, quotes behind a label
        label = None if several and text[:7].lower() == "passage" else _LABEL.match(text)
        text = text[label.end() :] if label else text
        inner = text[1:-1]
        if text[:1] + text[-1:] in _PAIRS and not set(text[0] + text[-1]) & set(inner):
            text = inner.strip().rstrip(",;，；") if any(c.isalnum() for c in inner) else text
    return text.strip()


def _tidy_lines(text: str) -> str:
    """White space collapsed in each line but not before it, where it may be code."""
    lines = text.split("\n")
    leads = ["", *(line[: len(line) - len(line.lstrip())] for line in lines[1:])]
    words = [_BOLD.sub(r"\2", " ".join(line.split())) for line in lines]
    return "\n".join(lead + line if line else "" for lead, line in zip(leads, words, strict=True))


# JSON


def _from_json(text: str) -> list[str] | None:
    """Items of the first JSON list in the text; the whole ones of a list that was cut off."""
    start = _JSON_LIST.search(text)
    if start is None:
        return None
    before = text[: start.start()].rstrip(" \t")
    if (before and before[-1] not in "\n\r:=[{(`") or marked(before):
        return None  # a list that an item talks about
    raw = text.replace("\n", "\r")  # tells a line that was wrapped from a "\\n" in a string
    try:
        value, _ = _DECODER.raw_decode(raw, start.start())
        found = list(_strings(value))
    except (ValueError, RecursionError):
        found = list(_whole_strings(raw, start.end()))
        if not found:
            return None
    return [_WRAP.sub(" ", item.replace("\r\n", "\n")).replace("\r", "\n") for item in found]


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


# Lines


def _inside_fence(text: str) -> str:
    """What a fence holds where the list itself is inside it."""
    fenced = FENCE.search(text)
    return fenced[1] if fenced and len(fenced[1]) > len(text) / 3 else text


def _plain_lines(text: str) -> list[str]:
    """One item a line, or a comma list on one line; a heading that ends in a colon is not one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if line[-1] not in ":：" and not line.startswith("#")]
    items = [line for line in lines if Mark(line).kind != "number"]  # a mark without an item
    if len(items) == 1:
        named = _comma_list(items[0]) or _comma_list(items[0].partition(": ")[2].strip('"“” '))
        if named:
            return named
    if any(map(QUESTION.match, items)):
        items = [item for item in items if not ANSWER.match(item)]
    return [bullet["item"] if (bullet := BULLET.match(item)) else item for item in items]


def _comma_list(line: str) -> list[str]:
    """The parts of "tides, moons, and rivers."; none where it is a sentence with commas."""
    parts = [p.removeprefix("and ").strip(" .。") for p in re.split(r",\s|、", line)]
    if len(parts) < 3 or "?" in line or max(len(p.split()) for p in parts) > 4:
        return []
    return parts if all(parts) and max(map(len, parts)) <= 60 else []
