"""Thoughts and answer told apart where a model writes both as one text.

Servers without a parser for a model's thoughts, and gateways before them, pass on what the model
wrote: `<think>…</think>` and the answer. Thoughts in an answer would be trained on.
"""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


class Thinking:
    """Tells them apart piece by piece.

    Only what begins with <think> holds thoughts; an answer may speak of the tag further on. White
    space around the thoughts and before the answer goes with the tags.
    """

    def __init__(self) -> None:
        self._held = ""
        self._place = "start"  # then thinking, then before the answer; or answer at once

    def feed(self, piece: str) -> tuple[str, str]:
        """(answer, thought) in what is certain by now."""
        if self._place == "answer":
            return piece, ""
        self._held += piece
        if self._place == "start":
            begun = self._held.lstrip()
            if OPEN.startswith(begun) and begun != OPEN:
                return "", ""  # may become the tag
            if not begun.startswith(OPEN):
                self._place = "answer"
                return self._rest(), ""
            self._place, self._held = "opened", begun[len(OPEN) :]
        thought = self._thought() if self._place in ("opened", "thinking") else ""
        if self._place == "before" and self._held.strip():
            self._place = "answer"
            return self._rest().lstrip(), thought
        return "", thought

    def _thought(self) -> str:
        if self._place == "opened":
            self._held = self._held.lstrip()
            if not self._held:
                return ""
        end = self._held.find(CLOSE)
        if end >= 0:
            thought = self._held[:end].rstrip()
            self._place, self._held = "before", self._held[end + len(CLOSE) :]
            return thought
        cut = _certain(self._held)
        thought, self._held = self._held[:cut], self._held[cut:]
        if thought:
            self._place = "thinking"
        return thought

    def end(self) -> tuple[str, str]:
        """What was held back, once nothing more comes."""
        rest = self._rest()
        if self._place in ("opened", "thinking"):
            return "", rest.rstrip()
        return ("" if self._place == "before" else rest), ""

    def _rest(self) -> str:
        rest, self._held = self._held, ""
        return rest


def _certain(text: str) -> int:
    """Up to where a text cannot be the closing tag's beginning or the white space before it."""
    sizes = range(len(CLOSE) - 1, 0, -1)
    tag = next((size for size in sizes if text.endswith(CLOSE[:size])), 0)
    return len(text[: len(text) - tag].rstrip())


def apart(content: str) -> tuple[str, str]:
    """(answer, thought) of a whole text."""
    thinking = Thinking()
    said, thought = thinking.feed(content)
    more, more_thought = thinking.end()
    return said + more, thought + more_thought
