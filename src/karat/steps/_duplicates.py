"""Near-duplicates of a table in parts, found where the parts are.

The same functions find them as in one process (curation.minhash), and the same ones are found
whatever the number of parts. What meets in this process are pairs of texts that may be near, of
some bands at a time, and 16 bytes for each text that is near another one; each text's signature and
set are read where it is compared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from karat import parquet, places
from karat.columns import Table
from karat.curation.buckets import WINDOW, bands, neighbours
from karat.curation.closeness import Closeness
from karat.curation.groups import Joined
from karat.curation.minhash import HASHES
from karat.spread import Spread
from karat.steps import _parted as parted
from karat.steps._leaving import leave_groups
from karat.steps._said import Said
from karat.steps._signed import Shelf
from karat.steps._verdicts import Found, Verdicts, verdicts

Ints = NDArray[np.int64]
Pairs = tuple[Ints, Ints, Ints]  # places of two texts among those joined, and the band they share

ROUND_BYTES = 1 << 25  # of the keys that meet in one place at a time
KEY_BYTES = 20  # of a text and band, there
MOST_PLACES = 16  # whose room counts: what shares a key comes from all of them to this process
PAIRS = 1 << 15  # for each place that compares some; so many are looked for at a time
ITEM_PAIRS = (1 << 12, 1 << 18)  # compared in one go, at least and at most


def equal_rows(table: Table, said: Said) -> Verdicts:
    """Rows that say the same as another one. 8 bytes a part are held, and 16 a row that goes."""
    base = np.cumsum([0, *(rows for _, rows in parquet.counted(table.path))])
    items = list(zip(table.parts(), base[:-1].tolist(), strict=True))
    found = table.spread.exchange(parted.deal_texts, parted.meet_equal, items, said)
    return verdicts(base, [_equal(*pair) for pair in found])


def near_rows(
    table: Table, folder: Path, said: Said, closeness: Closeness, window: int = WINDOW
) -> Verdicts:
    """Rows that repeat another one: near ones, and equal ones where they have no words.

    Files are left in the folder, for a run that begins again.
    """
    shelf, joined = chains(table, folder, said, closeness, window)
    equal = table.spread.exchange(
        parted.deal_wordless, parted.meet_equal, shelf.blocks(), shelf
    )  # fmt: skip
    found = [_equal(*pair) for pair in equal]
    return verdicts(shelf.base, found + leave_groups(table.spread, shelf, joined, said))


def _equal(row: Ints, stay: Ints) -> Found:
    return row, stay, np.ones(len(row)), np.ones(len(row), np.bool_)


def chains(
    table: Table, folder: Path, said: Said, closeness: Closeness, window: int = WINDOW
) -> tuple[Shelf, Joined]:
    """The signed texts, and which of them chains of near-duplicates join."""
    places.make_folder(folder)
    spread = table.spread
    shelf = Shelf(folder, list(table.each(parted.sign, folder, said)), closeness)
    joined = Joined()
    blocks = shelf.blocks()
    for left, right in spread.exchange(parted.deal_names, parted.meet_names, blocks, shelf):
        joined.admit(np.concatenate([left, right]))
        joined.join(*(np.searchsorted(joined.members, side) for side in (left, right)))
    again = joined.members[joined.label != joined.members]
    items = [
        (block, again[mine]) for block, mine in zip(blocks, shelf.by_block(again), strict=True)
    ]
    count, _ = bands(closeness.least, HASHES)
    texts = max(1, int(shelf.base[-1]))
    room = ROUND_BYTES * min(spread.ways, MOST_PLACES)
    some = max(1, min(count, room // (KEY_BYTES * texts)))
    for first in range(0, count, some):
        chosen = range(first, min(count, first + some))
        met = list(spread.exchange(parted.deal_keys, parted.meet_keys, items, shelf, chosen))
        _join(spread, shelf, joined, _one(met), window)
    return shelf, joined


# --- candidates ----------------------------------------------------------------------------------


def _one(met: list[parted.Crowds]) -> parted.Crowds:
    """The crowds of all ways, told apart by their numbers."""
    ends = np.cumsum([0, *(int(m.crowd[-1]) + 1 if len(m.crowd) else 0 for m in met)])
    met = [m._replace(crowd=m.crowd + end) for m, end in zip(met, ends[:-1], strict=True)]
    return parted.Crowds(*(np.concatenate(column) for column in zip(*met, strict=True)))


def _join(
    spread: Spread, shelf: Shelf, joined: Joined, met: parted.Crowds, window: int
) -> None:  # fmt: skip
    """Compares the texts of each crowd with those after them, unless they are joined already."""
    joined.admit(met.position)
    place = np.searchsorted(joined.members, met.position)
    held: list[Pairs] = []
    count = 0
    for band in np.unique(met.band).tolist():
        mine = np.flatnonzero(met.band == band)
        at, crowd = place[mine], met.crowd[mine]
        for one, two in neighbours(crowd, window):
            left, right = at[one], at[two]
            apart = joined.root[left] != joined.root[right]
            left, right = left[apart], right[apart]
            if len(left):
                held.append((left, right, np.full(len(left), band)))
                count += len(left)
            if count >= PAIRS * spread.ways:
                _compare(spread, shelf, joined, held)
                held, count = [], 0
    if held:
        _compare(spread, shelf, joined, held)
    joined.dismiss()


def _compare(spread: Spread, shelf: Shelf, joined: Joined, held: list[Pairs]) -> None:
    """Joins those of the pairs that are near. A pair of several bands counts in the first."""
    left, right, band = (np.concatenate(column) for column in zip(*held, strict=True))
    _, first = np.unique(left * len(joined.members) + right, return_index=True)
    one, two = joined.members[left[first]], joined.members[right[first]]
    # Pairs of the same two parts together, so that few files are open at a time.
    parts = shelf.part_of(one) * len(shelf.rows) + shelf.part_of(two)
    order = np.argsort(parts, kind="stable")
    first, one, two = first[order], one[order], two[order]
    low, high = ITEM_PAIRS
    size = int(np.clip(-(-len(one) // (4 * spread.ways)), low, high))
    items = [tuple(column[at : at + size] for column in (one, two, band[first]))
             for at in range(0, len(one), size)]  # fmt: skip
    near = first[np.concatenate(list(spread.map(parted.verify, items, shelf)))]
    joined.join(left[near], right[near])
