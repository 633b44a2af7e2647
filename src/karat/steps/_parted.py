"""What is done to parts of a table to find near-duplicates in it, wherever the parts are.

Functions for karat.spread: they travel between processes, work on what a shelf holds of some parts,
and exchange keys and records of texts, never texts. steps._duplicates says in which order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from karat.columns import Table
from karat.curation.buckets import Hashes, band_keys, bands, crowds, set_names
from karat.curation.closeness import Floats
from karat.curation.groups import Repeats, leave
from karat.curation.jaccard import Sets
from karat.curation.minhash import HASHES, NearDuplicates, band_places
from karat.curation.normal import digests, normalise
from karat.curation.spool import Held, file_key
from karat.steps._said import Said
from karat.steps._signed import FACTS, Shelf, Signed, put, rows_of

Ints = NDArray[np.int64]
Bundle = tuple[Any, ...]
SIGNED = 1  # changes when a text is signed in another way


# --- signing -------------------------------------------------------------------------------------


def sign(part: Table, folder: Path, said: Said) -> int:
    """Puts a part's texts on the shelf, unless they are there; how many they are."""
    key = file_key(part.path, SIGNED, said)
    rows = rows_of(folder, part.number, key)
    if rows is not None:
        return rows
    near, digest, rank = NearDuplicates(), Held(np.uint64), Held(np.float64)
    for batch in part.batches(said.columns):
        texts = normalise(said.texts(batch))
        digest.extend(digests(texts))
        rank.extend(said.ranks(batch, texts))
        near.add(texts)
    sets = near.sets()
    facts = np.empty(len(sets.size), FACTS)
    facts["digest"], facts["rank"] = digest.values, rank.values
    facts["size"], facts["limit"] = sets.size, sets.limit
    facts["name"] = set_names(sets.size, sets.signature)
    put(folder, part.number, key, Signed(facts, sets.signature, sets.flat))
    return len(facts)


# --- what is equal -------------------------------------------------------------------------------


def exact(digest: Hashes, rank: Floats) -> Repeats:
    """Rows whose digest a row of lower rank, or an earlier one of the same rank, has already."""
    order = np.argsort(rank, kind="stable")
    order = order[digest[order] != 0]
    _, first, same = np.unique(digest[order], return_index=True, return_inverse=True)
    stays = order[first[same]]
    found = Repeats(np.full(len(digest), -1, np.int64), np.zeros(len(digest)))
    again = order != stays
    found.repeats[order[again]] = stays[again]
    found.similarity[order[again]] = 1.0
    return found


def deal_texts(item: tuple[Table, int], ways: int, said: Said) -> Sequence[Bundle]:
    """The digests of a part whose first row is so far from the table's; for `meet_equal`."""
    part, base = item
    digest, rank = Held(np.uint64), Held(np.float64)
    for batch in part.batches(said.columns):
        texts = normalise(said.texts(batch))
        digest.extend(digests(texts))
        rank.extend(said.ranks(batch, texts))
    some = np.flatnonzero(digest.values)
    return _dealt(digest.values[some], ways, rank.values[some], some + base)


def deal_wordless(block: range, ways: int, shelf: Shelf) -> Sequence[Bundle]:
    """The same of texts without a word, which have no shingles."""
    facts = _facts(block, shelf)
    some = np.flatnonzero((facts["size"] == 0) & (facts["digest"] != 0))
    position = some + shelf.base[block.start]
    return _dealt(facts["digest"][some], ways, facts["rank"][some], position)


def meet_equal(bundles: Sequence[Bundle], *_: Any) -> tuple[Ints, Ints]:
    """(rows, which row each repeats)."""
    digest, rank, position = (np.concatenate(column) for column in zip(*bundles, strict=True))
    repeats = exact(digest, rank).repeats
    again = np.flatnonzero(repeats >= 0)
    return position[again], position[repeats[again]]


def deal_names(block: range, ways: int, shelf: Shelf) -> Sequence[Bundle]:
    """Names of sets, equal where the sets are; for `meet_names`."""
    facts = _facts(block, shelf)
    some = np.flatnonzero(facts["size"])
    return _dealt(facts["name"][some], ways, some + shelf.base[block.start])


def meet_names(bundles: Sequence[Bundle], *_: Any) -> tuple[Ints, Ints]:
    """(texts, the first text with the same name) of all texts that are not the first."""
    name, position = (np.concatenate(column) for column in zip(*bundles, strict=True))
    ones, same = np.unique(name, return_index=True, return_inverse=True)[1:]
    first = ones[same]
    again = np.flatnonzero(first != np.arange(len(name)))
    return position[again], position[first[again]]


# --- what may be near ----------------------------------------------------------------------------


class Crowds(NamedTuple):
    """Texts in the buckets of some bands that hold several: of one bucket side by side, rising."""

    position: Ints
    crowd: Ints
    band: NDArray[np.int16]


def deal_keys(
    item: tuple[range, Ints], ways: int, shelf: Shelf, some: range
) -> Sequence[list[Bundle]]:
    """Keys of some bands, of the texts of a block whose set no earlier one has: (key, row from the
    block's first) band by band. The item names those to leave out."""
    block, again = item
    _, rows = bands(shelf.closeness.least, HASHES)
    ones = []
    for number in block:
        one = shelf.column(number, "facts")["size"] > 0
        first, end = np.searchsorted(again, shelf.base[number : number + 2])
        one[again[first:end] - shelf.base[number]] = False
        ones.append(np.flatnonzero(one))
    first_row = shelf.base[block.start]
    starts = shelf.base[block.start : block.stop] - first_row
    row = np.repeat(starts, [len(one) for one in ones]) + np.concatenate(ones)
    row = row.astype(np.min_scalar_type(int(shelf.base[block.stop] - first_row)))
    dealt: list[list[Bundle]] = [[] for _ in range(ways)]
    for band in some:
        keys = [
            band_keys(shelf.column(number, "signature"), one, band, rows)
            for number, one in zip(block, ones, strict=True)
        ]
        for way, bundle in enumerate(_dealt(np.concatenate(keys), ways, row)):
            dealt[way].append((first_row, *bundle))
    return dealt


def meet_keys(bundles: Sequence[list[Bundle]], shelf: Shelf, some: range) -> Crowds:
    """The buckets that hold several texts."""
    found: list[tuple[Ints, Ints, NDArray[np.int16]]] = []
    named = 0
    for band, parts in zip(some, zip(*bundles, strict=True), strict=True):
        position = np.concatenate([first + row for first, _, row in parts])
        place, crowd = crowds(np.concatenate([key for _, key, _ in parts]))
        found.append((position[place], crowd + named, np.full(len(place), band, np.int16)))
        named += int(crowd[-1]) + 1 if len(crowd) else 0
    return Crowds(*(np.concatenate(column) for column in zip(*found, strict=True)))


def verify(pairs: tuple[Ints, Ints, Ints], shelf: Shelf) -> NDArray[np.bool_]:
    """Which of (left, right, band) are near, and were in no bucket of an earlier band together."""
    left, right, band = pairs
    near, _ = shelf.compare(left, right, band_places(shelf.closeness), band)
    return near


# --- which of a group stay -----------------------------------------------------------------------


class Members(NamedTuple):
    """Texts of a block that are compared with others of their unit, in the order of `place`.

    Units of one `way` meet in one place.
    """

    text: Ints
    place: Ints
    unit: Ints
    way: Ints


class Taken(NamedTuple):
    """Texts, by their places in a list, that repeat others of it; whether to the letter."""

    place: Ints
    stay: Ints
    similarity: Floats
    same: NDArray[np.bool_]


def ranks(texts: Ints, shelf: Shelf) -> Floats:
    """rank_T of the texts."""
    return shelf.facts(texts, "rank")


def deal_records(members: Members, ways: int, shelf: Shelf, turns: Ints) -> Sequence[Bundle]:
    """All that is held of the members; for `meet_records`."""
    dealt = []
    for way in range(ways):
        mine = np.flatnonzero(members.way == way)
        text = members.text[mine]
        size = shelf.sizes(text)
        dealt.append((
            members.place[mine], members.unit[mine], shelf.facts(text, "digest"), size,
            shelf.limits(text), shelf.signatures(text), shelf.values(text, size),
        ))  # fmt: skip
    return dealt


def meet_records(bundles: Sequence[Bundle], shelf: Shelf, turns: Ints) -> Taken:
    """Which members of each unit go. turns_U: see groups.leave."""
    place, unit, digest, size, limit, signature, flat = (
        np.concatenate(column) for column in zip(*bundles, strict=True)
    )
    units, label = np.unique(unit, return_inverse=True)
    sets = Sets(shelf.closeness, size, limit, signature, flat)
    found = leave(label, place, sets, turns[units])
    goes = np.flatnonzero(found.repeats >= 0)
    stays = found.repeats[goes]
    return Taken(place[goes], place[stays], found.similarity[goes], digest[goes] == digest[stays])


def _facts(block: range, shelf: Shelf) -> NDArray[Any]:
    return np.concatenate([shelf.column(number, "facts") for number in block])


def _dealt(key: Hashes, ways: int, *columns: NDArray[Any]) -> list[Bundle]:
    """(key, *columns) in so many bundles, equal keys in one, in their order."""
    if ways == 1:
        return [(key, *columns)]
    way = ((key >> np.uint64(32)) * np.uint64(ways) >> np.uint64(32)).astype(np.uint16)
    order = np.argsort(way, kind="stable")
    cuts = np.searchsorted(way[order], np.arange(1, ways))
    return list(zip(*(np.split(column[order], cuts) for column in (key, *columns)), strict=True))
