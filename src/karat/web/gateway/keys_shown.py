"""Virtual keys as a person or a program reads them; a secret is in neither."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import orjson

# What a server without keys does, which is not what one does whose keys are gone.
NONE_LEFT = (
    "A server that is running and had a key goes on asking for one; one that is started now asks "
    "for none, unless it has a token, or its --config has keys."
)


def as_json(found: Sequence[dict[str, Any]]) -> str:
    """One object a key; money in dollars, times in Unix seconds, null for what has no limit."""
    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()


def table(found: Sequence[dict[str, Any]], *, had: bool = False) -> str:
    """A line a key. `had`: where there is none, there was one."""
    if not found and had:
        return f"No keys any more; `karat key add NAME` makes one. {NONE_LEFT}"
    if not found:
        return "No keys yet; `karat key add NAME` makes one."
    lines = [("name", "spent", "budget", "models", "expires")]
    for one in found:
        budget, models = one["budget_usd"], one["models"]
        lines.append(
            (
                one["name"],
                f"${one['spent_usd']:.4f}",
                "no limit" if budget is None else f"${budget:g}",
                "all" if models is None else ",".join(models),
                _until(one["expires"]),
            )
        )
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _until(expires: float | None) -> str:
    if expires is None:
        return "never"
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(expires))
    return f"{day} (over)" if expires <= time.time() else day
