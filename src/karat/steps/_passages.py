"""Passages in a row's meta: what documents leaves there, and what columns of others hold.

Sets for retrieval name their passages in a few ways: bare texts, or mappings under `passage` or
`text`. Whatever else stands there is a mistake that is better named than guessed at.
"""

from __future__ import annotations

from typing import Any

TAKEN = "a list of texts, or of mappings with passage or text"


def passages(column: object) -> list[dict[str, Any]] | None:
    """The passages of a column, each a mapping with `passage`; None if it holds anything else.

    Those without a word are left out. No column at all has no passages.
    """
    if column is None:
        return []
    if not isinstance(column, list):
        return None
    found = []
    for item in column:
        held = item if isinstance(item, dict) else {"passage": item}
        key = "passage" if isinstance(held.get("passage"), str) else "text"
        text = held.get(key)
        if not isinstance(text, str):
            return None
        if text.strip():
            rest = {name: value for name, value in held.items() if name not in ("passage", key)}
            found.append({"passage": text, **rest})
    return found
