"""How an answer is formatted, as numbers: what graders reward beside what it says.

Source: style control of Chatbot Arena (lmsys.org/blog/2024-08-28-style-control) counts headings,
list items and bold text outside of code; blocks of code are counted here as well.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEATURES = ("headings", "list_items", "bold", "code_blocks")
_FENCED = "(?s)```.*?(?:```|$)"
_COUNTED = {
    "headings": r"(?m)^#{1,6}[ \t]+\S",
    "list_items": r"(?m)^[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]+\S",
    "bold": r"\*\*[^*\n]+\*\*|__[^_\n]+__",
}


def style(texts: pa.Array) -> Floats:
    """style_RF: log(1 + count) of each of `FEATURES`: a tenth heading weighs less than a first."""
    prose = pc.replace_substring_regex(texts, _FENCED, "")
    counts = [pc.count_substring_regex(prose, pattern) for pattern in _COUNTED.values()]
    counts.append(pc.count_substring_regex(texts, _FENCED))
    columns = [np.log1p(count.to_numpy(zero_copy_only=False)) for count in counts]
    return np.stack(columns, axis=1).astype(np.float64)


def log_length(texts: pa.Array, unit: str) -> Floats:
    """length_R: the log of each text's characters or words, 0 for none."""
    if unit == "words":
        counts = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts)))
    else:
        counts = pc.utf8_length(pc.utf8_trim_whitespace(texts))
    found = np.asarray(counts.to_numpy(zero_copy_only=False), np.float64)
    return np.log(np.maximum(found, 1.0))
