"""Conversations to tokens for training, exactly as the trained model will read them when it grades.

It is the reward's own reader (`rewards._encode`): a template applied once, one
BOS, no system prompt that no row has. What was decided here (template, padding) is saved with the
model, so that whoever loads it decides nothing.

Padding matters: transformers finds the last token of a text as the last one that is not the
padding token, so where that is also the end of a turn the score is read one token early. The token
chosen here occurs in no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karat.errors import RecipeError, RowError
from karat.rewards._chat import FIXED, cuts, without
from karat.rewards._checkpoint import Checkpoint
from karat.rewards._encode import Encoder, answered
from karat.row import Message

# For models that never had a chat template. The end token closes a turn, as a base model knows it.
PLAIN = (
    "{{ bos_token }}{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}"
    "{{ eos_token }}\n{% endfor %}"
)
_PADS = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]", "<|endoftext|>", "<unk>")


class Reader(Encoder):
    """An encoder that reads the last `most` tokens of what is longer, and says so."""

    def __init__(self, tokenizer: Any, template: str, name: str, most: int) -> None:
        super().__init__(tokenizer, template, name)
        self.most = most

    def read(self, prompt: Sequence[Message], response: str) -> tuple[NDArray[np.int32], bool]:
        """The tokens, at most `most` of them, the last ones; and whether there were more.

        Raises: RowError for a conversation the template does not take.
        """
        (ids,) = self.encode([answered(prompt, response)])
        if isinstance(ids, RowError):
            raise ids
        if long := len(ids) > self.most:
            bos = [token for token in ids[:1] if token == self.tokenizer.bos_token_id]
            ids = [*bos, *ids[len(ids) - self.most + len(bos) :]]
        return np.array(ids, dtype=np.int32), long


def template_of(
    found: Checkpoint, path: str | None, system: str, bos: str | None, eos: str | None
) -> tuple[str, str]:
    """The chat template to train with and to save, and what was decided about it, "" if nothing.

    A system prompt that the template adds by itself is cut out unless `system` is keep. Raises:
    RecipeError.
    """
    if path is not None:
        try:
            text: str | None = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"template '{path}': {error.strerror or error}") from None
    else:
        text = found.template()
    said = ""
    if text is None:
        text = PLAIN.replace("{{ bos_token }}", "{{ bos_token }}" if bos else "")
        text = text.replace("{{ eos_token }}", "{{ eos_token }}" if eos else "")
        said = "it has no chat template: turns are written as 'User: …' and 'Assistant: …'"
    own = {"bos_token": bos, "eos_token": eos}
    tokens = found.special_tokens() | {name: token for name, token in own.items() if token}
    added = cuts(text, tokens, path or found.name)
    if added and system == "drop":
        said = f"cut out of its chat template: {' … '.join(cut.added for cut in added)!r}"
        text = without(text, added)
    if "date_string" in text:  # else the same text would score differently every day elsewhere
        text = f"{{% set date_string = {FIXED['date_string']!r} %}}" + text
    return text, said


def padding(tokenizer: Any, seen: frozenset[int]) -> tuple[str, bool]:
    """A token that occurs in no text, and whether it is new to the vocabulary.

    `seen`: the tokens of some texts. Its own padding token where it qualifies.
    """
    known = tokenizer.get_vocab()
    taken = {tokenizer.bos_token, tokenizer.eos_token}
    special = [*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())]
    own = [tokenizer.pad_token] if tokenizer.pad_token else []
    reserved = sorted(token for token in special if "reserved" in token or "unused" in token)
    likely = [token for token in _PADS if token in special]
    for token in [*own, *likely, *reserved]:
        if token in known and known[token] not in seen and token not in taken:
            return token, False
    return "<|karat_pad|>", True
