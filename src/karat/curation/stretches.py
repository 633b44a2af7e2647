"""Runs of words that texts and passages share, put together: how much of a passage a text has.

A run of n words that goes on is found at every word of it; together they are one stretch. What one
text has of one passage may be several stretches, in another order and with other words between.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.curation.normal import Ints

Flags = NDArray[np.bool_]


class Postings(msgspec.Struct):
    """Where in the passages the run of each key stands: first[ends[key] : ends[key + 1]].

    length_K: words of the run; first: the word it begins at, among those of all passages; owner:
    the passage; offsets: where each passage's words begin, and the end.
    """

    length: Ints
    ends: Ints
    first: Ints
    owner: Ints
    offsets: Ints


class Matches(msgspec.Struct):
    """Runs of words of texts that items have too: text_M, the run's first word there, its key."""

    text: Ints
    word: Ints
    key: Ints


class Overlaps(msgspec.Struct):
    """One entry for each pair of a text and a passage that have words in common, in their order.

    runs_H: how many of the passage's runs of n words the text has (1 for a shorter passage);
    covered_H: the share of the passage's words in them; first_H, words_H: the longest stretch of
    such words; at_H: the word of the text at which it stands, -1 where the text has it in pieces.
    """

    text: Ints
    passage: Ints
    runs: Ints
    covered: NDArray[np.float64]
    first: Ints
    words: Ints
    at: Ints


def put_together(held: Postings, parts: Iterable[Matches], most: float) -> Overlaps:
    """What all parts found, but for runs that stand in more texts than `most`."""
    found = _without_common(all_matches(parts), most)
    count = held.ends[found.key + 1] - held.ends[found.key]
    which = np.repeat(np.arange(len(found.key)), count)
    posting = steps(held.ends[found.key], count)
    text, passage = found.text[which], held.owner[posting]
    place = held.first[posting] - held.offsets[passage]
    order = np.lexsort((found.word[which], place, passage, text))
    length, word = held.length[found.key[which]], found.word[which]
    return _stretches(held, *(of[order] for of in (text, passage, place, length, word)))


def _stretches(
    held: Postings, text: Ints, passage: Ints, place: Ints, length: Ints, word: Ints
) -> Overlaps:
    """From the places of runs in each pair of text and passage, in rising order."""
    fresh = _changes(text, passage, place)  # a run may stand in a text twice: the first time counts
    text, passage, place, length, word = (of[fresh] for of in (text, passage, place, length, word))
    pair = _changes(text, passage)
    # A stretch goes on while its runs overlap or touch. In one pair they have one length.
    gap = np.append(0, np.diff(place)) > length
    begin = np.flatnonzero(pair | gap)
    end = np.append(begin[1:], len(place)) - 1
    words = (place[end] + length[end] - place[begin])[: len(begin)] if len(place) else begin
    heads = np.flatnonzero(pair)
    owner = np.searchsorted(heads, begin, "right") - 1
    covered = np.bincount(owner, words, len(heads))
    order = np.lexsort((begin, -words, owner))
    longest = order[np.searchsorted(owner, np.arange(len(heads)))] if len(heads) else heads
    one, shift = begin[longest], word - place
    in_one = np.ones(len(begin), np.bool_)
    if len(begin):
        in_one = np.minimum.reduceat(shift, begin) == np.maximum.reduceat(shift, begin)
    return Overlaps(
        text=text[heads],
        passage=passage[heads],
        runs=np.diff(np.append(heads, len(place))),
        covered=covered / np.diff(held.offsets)[passage[heads]],
        first=place[one],
        words=words[longest].astype(np.int64),
        at=np.where(in_one[longest], word[one], -1),
    )


def all_matches(parts: Iterable[Matches]) -> Matches:
    """All parts as one."""
    none = np.zeros(0, np.int64)
    listed = [Matches(none, none, none), *parts]
    return Matches(
        np.concatenate([part.text for part in listed]),
        np.concatenate([part.word for part in listed]),
        np.concatenate([part.key for part in listed]),
    )


def steps(starts: Ints, lengths: Ints) -> Ints:
    """start, start + 1 … of each length, flat."""
    heads = np.cumsum(lengths) - lengths
    return np.repeat(starts - heads, lengths) + np.arange(int(lengths.sum()))


def _without_common(found: Matches, most: float) -> Matches:
    order = np.lexsort((found.text, found.key))
    key = found.key[order]
    first = _changes(key, found.text[order])  # a text counts once
    texts = np.bincount(key[first], minlength=1)
    stays = texts[found.key] <= most
    return Matches(found.text[stays], found.word[stays], found.key[stays])


def _changes(*columns: Ints) -> Flags:
    """Where a row of sorted columns differs from the one before."""
    changed = np.zeros(len(columns[0]), np.bool_)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed
