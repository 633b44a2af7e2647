"""How evenly rows are spread over the values of a column: topics, tasks, personas."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np


def balance(counts: Mapping[str, int], expected: Collection[str] | None = None) -> dict[str, Any]:
    """What a column's values say of variety, from how many rows have each.

    values: how many different ones; evenness: the entropy of their shares over that of equal ones,
    0 (one value has all) … 1 (all equal), 1 for a single value; effective: the number of equally
    common values with that entropy; largest: the share of the commonest, which is `commonest`. With
    `expected`, the values there were to be: coverage, the share of them that occur, and `missing`,
    how many do not.

    Source: Pielou's evenness (1966); the effective number: Hill 1973.
    """
    held = {value: count for value, count in counts.items() if count > 0}
    count_V = np.array(sorted(held.values(), reverse=True), np.float64)
    share_V = count_V / count_V.sum() if len(count_V) else count_V
    entropy = float(-(share_V * np.log(share_V)).sum())
    found: dict[str, Any] = {
        "values": len(held),
        "evenness": entropy / float(np.log(len(held))) if len(held) > 1 else float(len(held)),
        "effective": float(np.exp(entropy)) if held else 0.0,
        "largest": float(share_V[0]) if held else 0.0,
        "commonest": min(held, key=lambda value: (-held[value], value)) if held else "",
    }
    if expected is not None:
        wanted = set(expected)
        missing = len(wanted - held.keys())
        found["coverage"] = 1 - missing / len(wanted) if wanted else 1.0
        found["missing"] = missing
    return found
