"""Which texts of a group of near-duplicates stay, for groups of any size, on many machines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from karat.curation.closeness import Floats
from karat.curation.groups import Joined
from karat.spread import Spread
from karat.steps import _parted as parted
from karat.steps._said import Said
from karat.steps._signed import Shelf
from karat.steps._verdicts import Found

Ints = NDArray[np.int64]

UNIT = 1 << 15  # texts that are compared with each other in one place


def leave_groups(spread: Spread, shelf: Shelf, joined: Joined, said: Said) -> list[Found]:
    """As groups.leave, the best texts of a large group first.

    Which of those stay is settled among them. Then the others are compared with those that stay,
    some at a time in many places; and so on with the texts that are left.
    """
    text, label = joined.members, joined.label
    order = np.lexsort((text, _ranks(spread, shelf, text, said), label))
    text, label = text[order], label[order]
    found: list[Found] = []
    while len(text):
        _, start, group, size = np.unique(
            label, return_index=True, return_inverse=True, return_counts=True
        )
        now = np.arange(len(text)) - start[group] < UNIT
        settled = _settled(spread, shelf, text[now], group[now], np.full(len(size), -1))
        found += settled
        stays = now & (size[group] > UNIT) & ~_gone(text, settled)
        text, label, stay, stay_label = text[~now], label[~now], text[stays], label[stays]
        taken = _taken(spread, shelf, stay, stay_label, text, label)
        found += taken
        left = ~_gone(text, taken)
        text, label = text[left], label[left]
    return found


def _taken(
    spread: Spread, shelf: Shelf, stay: Ints, stay_label: Ints, text: Ints, text_label: Ints
) -> list[Found]:
    """Which of the texts repeat one of those that stay in their group."""
    units: list[Ints] = [np.zeros(0, np.int64)]
    turns = [0]
    for label in np.unique(text_label).tolist():
        mine, rest = stay[stay_label == label], text[text_label == label]
        for at in range(0, len(rest), UNIT):
            units.append(np.concatenate([mine, rest[at : at + UNIT]]))
            turns.append(len(mine))
    unit = np.repeat(np.arange(len(units)), [len(one) for one in units])
    return _settled(spread, shelf, np.concatenate(units), unit, np.array(turns))


def _settled(spread: Spread, shelf: Shelf, text: Ints, unit: Ints, turns: Ints) -> list[Found]:
    """Units of texts in order of place, one after another; each is compared in itself.

    turns_U: see groups.leave. A place gets UNIT texts at a time, and its last unit's besides.
    """
    if not len(text):
        return []
    begins = np.flatnonzero(np.append(True, unit[1:] != unit[:-1]))
    begin = np.repeat(begins, np.diff(np.append(begins, len(unit))))
    share = min(UNIT, -(-len(text) // spread.ways))
    round_T, way = np.divmod(begin // share, spread.ways)
    found: list[Found] = []
    for number in range(int(round_T[-1]) + 1):
        at = np.flatnonzero(round_T == number)
        texts, units, ways = text[at], unit[at], way[at]
        items = [parted.Members(texts[mine], mine, units[mine], ways[mine])
                 for mine in shelf.by_block(texts) if len(mine)]  # fmt: skip
        if not items:
            continue
        for taken in spread.exchange(parted.deal_records, parted.meet_records, items, shelf, turns):
            goes, stays = texts[taken.place], texts[taken.stay]
            found.append((goes, stays, taken.similarity, taken.same))
    return found


def _gone(text: Ints, found: list[Found]) -> NDArray[np.bool_]:
    """Which of the texts go."""
    return np.isin(text, np.concatenate([np.zeros(0, np.int64), *(row for row, _, _, _ in found)]))


def _ranks(spread: Spread, shelf: Shelf, text: Ints, said: Said) -> Floats:
    """rank_T of texts that are rising."""
    if said.keep == "first":
        return np.zeros(len(text))
    items = [text[mine] for mine in shelf.by_block(text)]
    return np.concatenate(list(spread.map(parted.ranks, items, shelf)))
