"""Fenced blocks of a text: where a chat model puts code, JSON, XML and SQL.

Source: CommonMark 0.31, §4.5.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_FENCE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n`]*$")


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of each block, in order; the language in small letters, or "".

    A fence that is never closed ends with the text, as where a response was cut off.
    """
    found: list[tuple[str, str]] = []
    fence, language, lines = "", "", list[str]()
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if not fence:
            if match:
                fence, language, lines = match[1], match[2].lower(), []
        elif match and match[1].startswith(fence) and not match[2]:
            found.append((language, "\n".join(lines)))
            fence = ""
        else:
            lines.append(line)
    if fence:
        found.append((language, "\n".join(lines)))
    return found


def best_first(text: str, languages: Collection[str]) -> list[str]:
    """The blocks that may be in one of the languages: those marked so before those not marked at
    all, and later ones before earlier ones, for who corrects an answer does so further down.
    """
    found = blocks(text)[::-1]
    marked = [content for language, content in found if language in languages]
    return [*marked, *(content for language, content in found if not language)]


def given(text: str, languages: Collection[str]) -> str:
    """The best of its blocks, or the whole text where it has none, without space around it."""
    return next(iter(best_first(text, languages)), text).strip()
