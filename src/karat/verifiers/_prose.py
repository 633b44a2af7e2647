"""What of a text is prose: without code, formulas, addresses and numbers.

A verifier of language or of endings reads sentences. Code is in no language and ends where it
likes, and a table's cell is no sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from karat.row import Message

FENCE = re.compile(r"^[ \t]{0,8}(?P<mark>`{3,}|~{3,})(?P<word>[^\n`]*)$", re.MULTILINE)
_INLINE = re.compile(r"`[^`\n]*`")
_FORMULA = re.compile(
    r"\$\$[^$]{1,400}\$\$|\$[^$\n]{1,200}\$|\\\[[^\]]{1,400}\\\]|\\\([^)\n]{1,200}\\\)"
    r"|\\[A-Za-z]{1,30}(?:\{[^{}\n]{0,200}\}){0,3}"
)
_ADDRESS = re.compile(
    r"\b(?:https?://|www\.)\S+|\b[\w.+-]{1,64}@[\w-]{1,64}\.[\w.]{2,64}"
    r"|<[/!]?[A-Za-z][^<>\n]{0,300}>"
)


def question(prompt: Sequence[Message]) -> str:
    """The text of the last user turn: what a response answers."""
    said = [message.content for message in prompt if message.role == "user"]
    return said[-1] if said else ""


def without_code(text: str) -> str:
    """A text without its fenced blocks; one that is not closed goes on to the end."""
    kept, opened, at = [], "", 0
    for fence in FENCE.finditer(text):
        mark, word = fence["mark"], fence["word"].strip()
        if not opened:
            kept.append(text[at : fence.start()])
            opened = mark
        elif mark.startswith(opened) and not word:
            opened, at = "", fence.end()
    return "".join(kept) + ("" if opened else text[at:])


def prose(text: str) -> str:
    """A text without code, formulas, addresses and tags."""
    text = _INLINE.sub(" ", without_code(text))
    return _ADDRESS.sub(" ", _FORMULA.sub(" ", text))
