"""Decisions that were made for all of a table and are carried out on each part where it is."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from karat.columns import Decision, Table


def by_part(decisions: Sequence[Decision]) -> Callable[[Table], Decision]:
    """The `each` of decisions of which every part has one, in order.

    Of several each is packed, so that whoever writes one part unpacks one: with a reason for nearly
    every row, to unpack all of them for each part costs more than the step.
    """
    if len(decisions) == 1:
        return partial(_only, decision=decisions[0])
    packed = [np.frombuffer(pickle.dumps(one, 5), np.uint8) for one in decisions]
    return partial(_own, packed=packed)


def _only(part: Table, decision: Decision) -> Decision:
    return decision


def _own(part: Table, packed: Sequence[np.ndarray[Any, np.dtype[np.uint8]]]) -> Decision:
    found: Decision = pickle.loads(packed[part.number].data)
    return found


def untouched(part: Table) -> Decision:
    """Nothing: the rows of the part go on as they are."""
    return Decision()
