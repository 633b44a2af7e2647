"""Where an evaluation goes that is given no folder.

Its name says what was measured on, and beside which reward: another evaluation of the same reward
then has a folder of its own, and writes over nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from karat.evaluating.items import EvalSet
from karat.row import digest

MOST = 60  # characters for the names of the sets
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")


def default_name(name: str, against: str | None, sets: Sequence[EvalSet]) -> str:
    """ "eval-embedded-helpsteer2-on-llmbar-mine"; many sets are cut, with a mark of them all."""
    beside = f"-against-{_safe(against)}" if against is not None else ""
    told = "-".join(_safe(found.name) for found in sets)
    if len(told) > MOST:
        mark = digest(*(found.name for found in sets), size=4).hex()
        told = f"{told[: MOST - len(mark) - 1].rstrip('-.')}-{mark}"
    return f"eval-{_safe(name)}{beside}-on-{told or 'set'}"


def _safe(name: str) -> str:
    return _OTHER.sub("-", name).strip("-.")
