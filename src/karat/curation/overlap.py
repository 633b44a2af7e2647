"""Which items of evaluation sets stand in which texts: runs of n words that both have.

Every run of n words of an item is a key: 64 bits, sorted, behind a table of flags that turns away
nearly all of a text's runs at one look each. What remains is looked up, then compared word by word,
so that a hit is a fact of the texts and never of their hashes.

A run of which fewer than half the words begin with a letter is no key: signs of arithmetic are
words here, and "6 / 2 = 3" is everybody's. Only a question of nothing else is found by such runs.

Shorter items have no such run. One of LEAST_INSIDE words or more counts where all of it stands in a
text; a still shorter one only where it is all of a text, as "What is the capital of France?" within
a longer text says little.

`find` looks at texts and can run anywhere; `overlaps` joins what it found. Memory is 24 bytes a
matching run, and about 100 bytes a word of the items.

Source: 13 words: GPT-3 (2005.14165, appendix C), which ignores runs seen in more than 10 training
documents; 8 words, and a share of them: PaLM (2204.02311, §8); a share of the item's tokens: Llama
2 (2307.09288, appendix A.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from karat.curation.normal import Hashes, Ints
from karat.curation.stretches import (
    Matches,
    Overlaps,
    Postings,
    all_matches,
    put_together,
    steps,
)
from karat.curation.wordruns import Flags, Runs, joined, same_words, word_runs

LEAST_INSIDE = 8  # words of an item that counts although it is only a part of a text
MOST_PASSAGES = 10  # of one set, all different, that share a run; more share but a template
MOST_TEXTS = 10  # a run in no more texts than these is never common
MOST_BITS = 24  # of a table of flags: 16 MiB


class Passage(NamedTuple):
    """One text of an item: its question, its answer, a passage it is about.

    `item` numbers the items of all sets, `group` the sets. An answer is never found by fewer than n
    words: "Paris" is an answer too.
    """

    text: str
    item: int
    group: int
    question: bool = True


class _Lookup(NamedTuple):
    """Sorted keys of runs of one length (0: whole texts of fewer than LEAST_INSIDE words), which
    are numbered from `base`."""

    length: int
    base: int
    keys: Hashes


class _Flags:
    """Turns away nearly all hashes that are none of some, at one look each."""

    def __init__(self, hashes: Hashes) -> None:
        bits = min(MOST_BITS, max(10, (64 * len(hashes)).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, np.bool_)
        self._table[(hashes >> self._shift).view(np.int64)] = True

    def places(self, hashes: Hashes) -> Ints:
        """Places of the hashes that may be among them."""
        return np.flatnonzero(self._table.take((hashes >> self._shift).view(np.int64)))


class Overlap:
    """The runs of words of all passages. `boilerplate` counts those left out as
    MOST_PASSAGES says.

    Raises: ValueError for n below 2.
    """

    def __init__(self, passages: Sequence[Passage], n: int = 13) -> None:
        if n < 2:
            raise ValueError(f"n must be at least 2 words, got {n}")
        self.passages, self.n = list(passages), n
        chunks = list(word_runs(pa.array([one.text for one in passages], pa.string())))
        self._words = joined(chunks)
        self.sizes = np.diff(self._words.offsets)
        self.boilerplate = 0
        self._lookups: list[_Lookup] = []
        none = np.zeros(0, np.int64)
        first, keyed = [none], [none]  # the word each run of the passages begins at, and its key
        for length, hashes, words in self._runs_by_length(chunks):
            base = sum(len(one.keys) for one in self._lookups)
            keys, key = np.unique(hashes, return_inverse=True)
            self._lookups.append(_Lookup(length, base, keys))
            first.append(words)
            keyed.append(key + base)
        whole = np.concatenate([none.astype(np.uint64), *(chunk.whole() for chunk in chunks)])
        identity = np.unique(whole, return_inverse=True)[1]
        self._post(np.concatenate(first), np.concatenate(keyed), identity)

    # --- the items -----------------------------------------------------------------------------

    def _runs_by_length(self, chunks: list[Runs]) -> list[tuple[int, Hashes, Ints]]:
        """(length, hashes, first words) of what each passage is found by; 0 stands for a whole."""
        question = np.array([one.question for one in self.passages], np.bool_)
        least = min(LEAST_INSIDE, self.n)
        short = question & (self.sizes > 0) & (self.sizes < self.n)
        lengths = np.unique(self.sizes[short & (self.sizes >= least)]).tolist()
        found = [(n, *self._within(chunks, n, short & (self.sizes == n))) for n in lengths]
        # Shorter items are many lengths: all of them are looked for by their first words.
        self._least = least if lengths else 0
        self._heads = _Flags(self._within(chunks, least, short & (self.sizes >= least))[0])
        hashes, words = self._within(chunks, self.n, self.sizes >= self.n)
        told = self._told(words, question)
        self._long = _Flags(hashes[told])
        found.append((self.n, hashes[told], words[told]))
        whole = np.concatenate([np.zeros(0, np.uint64), *(chunk.whole() for chunk in chunks)])
        tiny = short & (self.sizes < least)
        found.append((0, whole[tiny], self._words.offsets[:-1][tiny]))
        return found

    def _told(self, first: Ints, question: Flags) -> Flags:
        """Which runs of n words say enough to be keys."""
        letters = np.append(0, np.cumsum(self._words.lettered()))
        told = 2 * (letters[first + self.n] - letters[first]) >= self.n
        owner = np.searchsorted(self._words.offsets, first, "right") - 1
        none = np.bincount(owner[told], minlength=len(question)) == 0
        return np.asarray(told | (none & question)[owner])

    def _within(self, chunks: list[Runs], length: int, chosen: Flags) -> tuple[Hashes, Ints]:
        """Every run of that many words inside one of the chosen passages."""
        hashes, words = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        passage = word = 0
        for chunk in chunks:
            many = len(chunk.offsets) - 1
            mine = np.flatnonzero(chosen[passage : passage + many])
            count = np.maximum(chunk.offsets[mine + 1] - chunk.offsets[mine] - length + 1, 0)
            heads = np.cumsum(count) - count
            at = np.repeat(chunk.offsets[mine] - heads, count) + np.arange(count.sum())
            if len(at):
                hashes.append(chunk.runs(length)[at])
                words.append(at + word)
            passage, word = passage + many, word + int(chunk.offsets[-1])
        return np.concatenate(hashes), np.concatenate(words)

    def _post(self, first: Ints, key: Ints, identity: Ints) -> None:
        """For each key the places among the passages' words where its run begins."""
        order = np.argsort(key, kind="stable")
        first, key = first[order], key[order]
        offsets = self._words.offsets
        ends = np.searchsorted(key, np.arange(sum(len(one.keys) for one in self._lookups) + 1))
        owner = np.searchsorted(offsets, first, "right") - 1
        length = [np.full(len(one.keys), one.length) for one in self._lookups]
        lengths = np.concatenate(length).astype(np.int64)
        tiny = lengths == 0
        lengths[tiny] = self.sizes[owner[ends[:-1][tiny]]]
        self._postings = Postings(lengths, ends, first, owner, offsets)
        others = np.flatnonzero(first != first[ends[key]])
        if not self._same(self._words, first[others], key[others]).all():
            raise RuntimeError("two runs of words have one hash")  # once in 10**9 sets of a million
        group = np.array([one.group for one in self.passages], np.int64)[owner]
        # How many different passages of each set have the run: rows of key, set and text.
        rows = np.unique(np.stack([key, group, identity[owner]], axis=1), axis=0)
        shared, passages = np.unique(rows[:, :2], axis=0, return_counts=True)
        self._common = np.zeros(len(lengths), np.bool_)
        self._common[shared[passages > MOST_PASSAGES, 0]] = True
        self.boilerplate = int(self._common.sum())

    # --- the texts -----------------------------------------------------------------------------

    def find(self, texts: pa.Array, before: int = 0) -> Matches:
        """What the texts have in common with the passages, the texts numbered from `before`."""
        found = []
        for chunk in word_runs(texts):
            heads = self._heads.places(chunk.runs(self._least)) if self._least else None
            for lookup in self._lookups:
                text, at, key = self._look(chunk, lookup, heads)
                good = ~self._common[key]
                good[good] = self._same(chunk, at[good], key[good])
                text, at, key = text[good], at[good], key[good]
                found.append(Matches(text + before, at - chunk.offsets[text], key))
            before += len(chunk.offsets) - 1
        return all_matches(found)

    def _look(self, chunk: Runs, lookup: _Lookup, heads: Ints | None) -> tuple[Ints, Ints, Ints]:
        """(text, word of the chunk, key) of the runs that have a key, by their hashes.

        `heads`: words at which an item of fewer than n words may begin.
        """
        if not len(lookup.keys):
            return (np.zeros(0, np.int64),) * 3
        offsets, length = chunk.offsets, lookup.length
        if not length:
            at, hashes = np.arange(len(offsets) - 1), chunk.whole()
        elif heads is None or length == self.n:
            hashes = chunk.runs(length)
            at = self._long.places(hashes)
            hashes = hashes[at]
        else:
            at = heads[heads + length <= len(chunk.starts)]
            hashes = chunk.runs_at(at, length)
        place = np.minimum(np.searchsorted(lookup.keys, hashes), len(lookup.keys) - 1)
        hit = lookup.keys[place] == hashes
        at, key = at[hit], place[hit] + lookup.base
        text = np.searchsorted(offsets, at, "right") - 1 if length else at
        at = at if length else offsets[text]
        room = offsets[text + 1] - at
        fits = room >= length if length else room == self._postings.length[key]
        return text[fits], at[fits], key[fits]

    def _same(self, chunk: Runs, at: Ints, key: Ints) -> Flags:
        """Whether the run at each word of the chunk is that of the key, word by word.

        Runs that overlap share most of their words, so each pair of words is compared once.
        """
        length = self._postings.length[key]
        mine = steps(at, length)
        theirs = steps(self._postings.first[self._postings.ends[key]], length)
        pair, which = np.unique(mine * (len(self._words.starts) + 1) + theirs, return_inverse=True)
        one, two = np.divmod(pair, len(self._words.starts) + 1)
        same = same_words(chunk, one, self._words, two)[which]
        return np.logical_and.reduceat(same, np.cumsum(length) - length) if len(at) else same

    # --- together ------------------------------------------------------------------------------

    def overlaps(self, parts: Iterable[Matches], texts: int, common: float = 1.0) -> Overlaps:
        """What stands in which text, of all that `find` found in so many texts.

        A run in more than the share `common` of the texts, and in more than MOST_TEXTS, is passed
        over: it is boilerplate of the data.
        """
        return put_together(self._postings, parts, max(MOST_TEXTS, common * texts))

    def stretch(self, passage: int, first: int, count: int) -> str:
        """So many words of a passage, as its normalised text has them."""
        return self._words.text(int(self._words.offsets[passage]) + first, count)
