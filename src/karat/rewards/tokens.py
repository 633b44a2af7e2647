"""What a server's own tokenizer makes of a text, where it can be asked.

It tells what no score can: that a text begins with two BOS tokens, that a template added words of
its own, how much fits. `karat reward check` looks.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Seen(msgspec.Struct, frozen=True):
    """The tokens of one text. `pieces` are their texts, None where the server gives only numbers;
    `limit` is the longest input the server takes, None where it does not say."""

    ids: list[int]
    pieces: list[str] | None = None
    limit: int | None = None

    @property
    def doubled(self) -> bool:
        """Whether it begins with the same token twice: no chat template does so on purpose."""
        return len(self.ids) > 1 and self.ids[0] == self.ids[1]


def seen_in(tree: Any) -> Seen:
    """A reply of vLLM's or SGLang's /tokenize. Raises: ValueError."""
    try:
        ids = tree["tokens"]
        ids = ids[0] if ids and isinstance(ids[0], list) else ids
        limit = tree.get("max_model_len")
        return msgspec.convert(
            {
                "ids": ids,
                "pieces": tree.get("token_strs"),
                "limit": limit if isinstance(limit, int) and 0 < limit < 10**8 else None,
            },
            Seen,
        )
    except (LookupError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise ValueError(f"no tokens in it: {error}") from None
