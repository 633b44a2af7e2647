"""Conversations to tokens, as a reward model reads them: a template applied once, one BOS.

Source: github.com/SkyworkAI/Skywork-Reward-V2, README (a rendered text's BOS is removed before the
tokenizer adds its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from karat.errors import RowError
from karat.rewards._chat import FIXED
from karat.rewards.tokens import Seen
from karat.row import Message

Conversation = list[dict[str, str]]


def turns_of(prompt: Sequence[Message]) -> Conversation:
    """A prompt as chat templates take it."""
    return [{"role": m.role, "content": m.content} for m in prompt]


def answered(prompt: Sequence[Message], response: str) -> Conversation:
    """A prompt with its response."""
    return [*turns_of(prompt), {"role": "assistant", "content": response}]


class Encoder:
    """A tokenizer and the chat template it is used with. `name` is the model's, for errors.

    What is longer than `longest` tokens is refused, or loses its beginning where `truncate`.
    """

    def __init__(
        self, tokenizer: Any, template: str, name: str, longest: int | None = None,
        truncate: bool = False,
    ) -> None:  # fmt: skip
        self.tokenizer, self.template, self.name = tokenizer, template, name
        self.longest, self.truncate = longest, truncate
        self._first, self._last = self._added()
        call = signature(tokenizer.apply_chat_template).parameters
        # A text that spells out a control token must not end its own turn with it.
        self._spelled = (
            {"sanitize_control_tokens": True} if "sanitize_control_tokens" in call else {}
        )

    def _added(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts around a text by itself."""
        bare = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        full = self.tokenizer("a")["input_ids"]
        for start in range(len(full) - len(bare) + 1):
            if full[start : start + len(bare)] == bare:
                return full[:start], full[start + len(bare) :]
        return [], []

    def encode(self, conversations: Sequence[Conversation]) -> list[list[int] | RowError]:
        """Tokens of each, or why it cannot be scored: the template's, with what the tokenizer
        itself puts around a text where the template does not, so that there is one BOS, never two.
        """
        found: list[list[int] | RowError] = []
        for conversation in conversations:
            try:
                found.append(self._fitted(self._around(self._rendered(conversation))))
            except RowError as error:
                found.append(error)
        return found

    def seen(self, conversation: Conversation) -> Seen:
        """The tokens of one, with their texts. Raises: RowError."""
        (ids,) = self.encode([conversation])
        if isinstance(ids, RowError):
            raise ids
        return Seen(ids, self.tokenizer.convert_ids_to_tokens(ids), self.longest)

    def opening(self, conversation: Conversation) -> list[int]:
        """Tokens of a conversation up to where an answer to it begins. Raises: RowError."""
        return self._around(self._rendered(conversation, add_generation_prompt=True), ends=False)

    def _rendered(self, conversation: Conversation, **more: bool) -> list[int]:
        try:
            tokens: list[int] = self.tokenizer.apply_chat_template(
                conversation, chat_template=self.template, return_dict=False, **FIXED,
                **self._spelled, **more,
            )  # fmt: skip
        except Exception as error:  # whatever a template refuses: two turns of one role, …
            raise RowError(f"{self.name}: its chat template refuses this row: {error}") from error
        return tokens

    def _around(self, tokens: list[int], ends: bool = True) -> list[int]:
        first, last, bos = self._first, self._last, self.tokenizer.bos_token_id
        while bos is not None and tokens[:1] == [bos]:
            first, tokens = [bos], tokens[1:]
        if not ends or (last and tokens[-len(last) :] == last):
            last = []
        return [*first, *tokens, *last]

    def _fitted(self, tokens: list[int]) -> list[int]:
        longest = self.longest
        if longest is None or len(tokens) <= longest:
            return tokens
        if not self.truncate:
            raise RowError(
                f"{self.name}: a conversation of {len(tokens)} tokens, and the model reads "
                f"{longest}; `too_long: truncate_left` grades what fits of its end"
            )
        bos = [token for token in tokens[:1] if token == self.tokenizer.bos_token_id]
        return [*bos, *tokens[len(tokens) - longest + len(bos) :]][:longest]
