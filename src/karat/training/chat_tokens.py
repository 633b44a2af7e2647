"""A conversation and its answer as tokens: one way for training, measuring and writing.

What a student is trained on, what its likelihood is measured on and what it is asked to go on from
are then the same tokens. The answer's tokens are those after the longest beginning that the prompt
alone, with the opening of the assistant's turn, has in common with the whole (as TRL finds them),
up to and with the token that ends the turn; a newline that a template puts after it is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

from karat.row import Message

# Llama's own value where its template knows no date: a student must not learn today's.
_FIXED = {"date_string": "26 Jul 2024"}

Turn = Message | Mapping[str, str]


class Encoded(NamedTuple):
    """Token ids of a prompt and of the answer to it."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


class ChatTokens:
    """Renders with one tokenizer's chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        call = signature(tokenizer.apply_chat_template).parameters
        # A text that spells out a control token must not end its own turn with it.
        self._more: dict[str, Any] = dict(_FIXED)
        if "sanitize_control_tokens" in call:
            self._more["sanitize_control_tokens"] = True

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """The conversation and the opening of the assistant's turn."""
        return self._ids(_plain(turns), opened=True)

    def pair(self, turns: Sequence[Turn], answer: str) -> Encoded:
        """The conversation, and the assistant's `answer` with its end."""
        prompt = _plain(turns)
        alone = self._ids(prompt, opened=True)
        whole = self._ids([*prompt, {"role": "assistant", "content": answer}], opened=False)
        start = 0
        while start < min(len(alone), len(whole)) and alone[start] == whole[start]:
            start += 1
        end = self._tokenizer.eos_token_id
        stop = len(whole)
        if end in whole[start:]:
            stop -= whole[::-1].index(end)
        return Encoded(whole[:start], whole[start:stop])

    def text(self, tokens: Sequence[int]) -> str:
        """What was written, without control tokens."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def _ids(self, turns: list[dict[str, str]], *, opened: bool) -> list[int]:
        found = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=opened, return_dict=False, **self._more
        )
        return [int(token) for token in found]


def _plain(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [
        {"role": turn.role, "content": turn.content} if isinstance(turn, Message) else dict(turn)
        for turn in turns
    ]
