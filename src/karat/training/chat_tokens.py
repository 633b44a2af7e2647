"""A conversation and its answer as tokens: one way for training, measuring and writing.

What a student is trained on, what its likelihood is measured on and what it is asked to go on from
are then the same tokens. The answer's tokens are those after the longest beginning that the prompt
alone, with the opening of the assistant's turn, has in common with the whole (as TRL finds them),
up to and with the token that ends the turn; a newline that a template puts after it is no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

import jinja2

from karat.errors import RowError
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
        """The conversation and the opening of the assistant's turn. Raises: RowError for one that
        the template does not take."""
        return self._ids(_plain(turns), opened=True)

    def pair(self, turns: Sequence[Turn], answer: str) -> Encoded:
        """The conversation, and the assistant's `answer` with its end. Raises: RowError for one
        that the template does not take, or writes otherwise once it is answered."""
        prompt = _plain(turns)
        alone = self._ids(prompt, opened=True)
        whole = self._ids([*prompt, {"role": "assistant", "content": answer}], opened=False)
        start = 0
        while start < min(len(alone), len(whole)) and alone[start] == whole[start]:
            start += 1
        if start < len(alone):
            self._check(prompt, answer)
        end = self._tokenizer.eos_token_id
        stop = len(whole)
        if end in whole[start:]:
            stop -= whole[::-1].index(end)
        return Encoded(whole[:start], whole[start:stop])

    def stops(self, ends: Iterable[int]) -> bool:
        """Whether an answer holds a token that ends a turn: the tokenizer's, or one of `ends`."""
        answer = self.pair([Message("user", "Who?")], "Me.").answer
        return not {self._tokenizer.eos_token_id, *ends}.isdisjoint(answer)

    def text(self, tokens: Sequence[int]) -> str:
        """What was written, without control tokens."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def _check(self, prompt: list[dict[str, str]], answer: str) -> None:
        """Raises: RowError where the last turn reads otherwise than when it was asked: Mistral's
        template drops a system prompt then, and part of the question would count as answered."""
        whole = [*prompt, {"role": "assistant", "content": answer}]
        asked, answered = (self._apply(t, tokenize=False, **_FIXED) for t in (prompt, whole))
        last = prompt[-1]["content"].strip() if prompt else ""
        both = zip(asked, answered, strict=False)
        same = next((i for i, (a, b) in enumerate(both) if a != b), len(asked))
        if last and asked.count(last) > asked[:same].count(last):
            raise RowError("whose prompt the chat template writes otherwise once it is answered")

    def _ids(self, turns: list[dict[str, str]], *, opened: bool) -> list[int]:
        found = self._apply(turns, add_generation_prompt=opened, return_dict=False, **self._more)
        return [int(token) for token in found]

    def _apply(self, turns: list[dict[str, str]], **how: Any) -> Any:
        try:
            return self._tokenizer.apply_chat_template(turns, **how)
        except jinja2.TemplateError as error:
            raise RowError(f"refused by the chat template: {error}") from None


def _plain(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [
        {"role": turn.role, "content": turn.content} if isinstance(turn, Message) else dict(turn)
        for turn in turns
    ]
