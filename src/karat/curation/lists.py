"""Reads the lists models write: numbers, bullets, JSON, fences, or one item a line.

Always offline and never with a second call: a published recipe asks a model again to turn its own
list into YAML and throws everything away unless each item matches to the letter. Here whatever a
person would call an item is one, and what is left over is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

# "1.", "1)", "(1)", "1:", "Q1.", "**1.**", "Topic 3 -", "-", "*", "•", "a)"
_MARK = re.compile(
    r"""^\s{0,12}(?:[*_#>]{1,3}\s*)*
    (?:(?P<number>(?:[A-Za-z]{1,12}\s)?[\(\[]?(?:[QT]\.?)?\d{1,3}(?:\s?[.):\]–—]|\s-)+(?!\d))
      |(?P<letter>[\(]?[A-Za-z][.)])
      |(?P<bullet>[-*+•‣◦–—·]))
    (?:\*{0,2})\s+(?P<item>\S.*)$""",
    re.VERBOSE,
)
_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_WRAP = "\"'“”‘’`*_ \t"
_LABEL = re.compile(
    r"^(?:question|prompt|topic|subtopic|task|instruction|item)\s*\d*\s*[:\-–]\s*", re.I
)
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
LEAST_ITEM = 2  # characters
LONGEST_ITEM = 2000


def parse_list(text: str, limit: int | None = None) -> list[str]:
    """The items a person would see in `text`, in order, exact repeats left out.

    A marked list (numbers, bullets, letters) wins over the lines around it, so an introduction
    and a closing remark are not items; JSON wins over both. A line that continues an item is
    joined to it. The last item of a cut-off JSON list is left out, since it may be half an item.
    """
    found = _from_json(text)
    if found is None:
        body = _unfence(text)
        found = _marked(body) or _plain_lines(body)
    items: list[str] = []
    seen: set[str] = set()
    for raw in found:
        item = _tidy(raw)
        key = item.casefold()
        if LEAST_ITEM <= len(item) <= LONGEST_ITEM and key not in seen and re.search(r"\w", item):
            seen.add(key)
            items.append(item)
    return items[:limit]


def _tidy(item: str) -> str:
    """Without quotes, emphasis, a repeated label or white space around it."""
    text = " ".join(item.split())
    text = re.sub(r"\*\*(.+?)\*\*", r"\1", text)
    text = _LABEL.sub("", text)
    if text[:1] in "\"'“‘`" or text[-1:] in "\"'”’`":
        text = text.strip(_WRAP + ",") if text.count('"') in (0, 1, 2) else text
    return text.strip(" \t*_").rstrip(",;").strip()


def _unfence(text: str) -> str:
    fenced = _FENCE.search(text)
    if fenced and len(fenced.group(1)) > len(text) / 3:
        return fenced.group(1)
    return text


def _from_json(text: str) -> list[str] | None:
    """Items of the first JSON list in the text; whole strings of one that was cut off."""
    start = text.find("[")
    if start < 0 or "]" in text[:start] or not re.match(r"\[\s*[\"{\[]", text[start:]):
        return None
    for end in (m.end() for m in re.finditer(r"\]", text[start:])):
        try:
            return list(_strings(orjson.loads(text[start : start + end])))
        except ValueError:
            continue
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"\s*(?=[,\]}])', text[start:])
    return strings or None


def _strings(value: Any) -> Iterator[str]:
    """The text of each list item: itself, or the field of an object that holds it."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            texts = [v for k, v in item.items() if isinstance(v, str) and str(k).lower() in _NAMES]
            texts = texts or [v for v in item.values() if isinstance(v, str)]
            yield from texts[:1]
        elif isinstance(item, list):
            yield from _strings(item)


def _marked(text: str) -> list[str]:
    """Items that carry a mark. Numbers win over bullets: bullets below a number explain it."""
    lines = text.splitlines()
    marks = [_MARK.match(line) for line in lines]
    for kind in ("number", "bullet", "letter"):
        if sum(1 for mark in marks if mark and mark.group(kind)) >= (1 if kind == "number" else 2):
            return _collect(lines, marks, kind)
    return []


def _collect(lines: list[str], marks: list[re.Match[str] | None], kind: str) -> list[str]:
    items: list[str] = []
    open_item = False
    for line, mark in zip(lines, marks, strict=True):
        if mark and mark.group(kind):
            items.append(mark.group("item"))
            open_item = True
        elif not line.strip():
            open_item = False
        elif open_item and not mark and line[:1].isspace():
            items[-1] += " " + line.strip()
    return items


def _plain_lines(text: str) -> list[str]:
    """One item a line, or a comma list on one line; a heading that ends in a colon is not one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    items = [line for line in lines if not line.endswith(":") and not line.startswith("#")]
    if len(items) == 1 and items[0].count(",") >= 2 and len(items[0]) < 400 and "?" not in items[0]:
        return [part.removeprefix("and ").strip(" .") for part in re.split(r",\s*", items[0])]
    return items
