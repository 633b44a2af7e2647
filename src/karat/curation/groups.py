"""Texts that similar ones join to groups, and which of a group stay.

A group is made by pairs, over any number of steps; within it a text goes only if it is similar to
one that stays, so nothing merges through a chain.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.curation.closeness import Floats, Ints


class Repeats(msgspec.Struct):
    """repeats_N: the text that each text repeats, -1 where it stays. similarity_N: to that text.

    A text that is repeated always stays itself.
    """

    repeats: Ints
    similarity: Floats

    @property
    def clusters(self) -> int:
        """How many texts are repeated by others."""
        return len(np.unique(self.repeats[self.repeats >= 0]))


class Comparing(Protocol):
    """Says of pairs of texts whether they are near, and how near."""

    def compare(self, left: Ints, right: Ints) -> tuple[NDArray[np.bool_], Floats]: ...


def leave(label: Ints, place: Ints, texts: Comparing, turns: Ints | None = None) -> Repeats:
    """Turn by turn, the best text left in every group stays and takes the similar ones away.

    So a text repeats the first, in order of place, of those that stay and are similar to it.
    turns_L: after how many turns a group is left as it is; -1, and without it, when it is empty.
    """
    repeats = np.full(len(label), -1, np.int64)
    similarities = np.zeros(len(label))
    left = np.flatnonzero(np.bincount(label, minlength=1)[label] > 1)
    left = left[np.lexsort((place[left], label[left]))]
    turn = 0
    while len(left):
        first = np.append(True, label[left[1:]] != label[left[:-1]])
        heads = np.flatnonzero(first)
        stays = np.repeat(left[first], np.diff(np.append(heads, len(left))))[~first]
        left = left[~first]
        near, similarity = texts.compare(left, stays)
        repeats[left[near]] = stays[near]
        similarities[left[near]] = similarity[near]
        left = left[~near]
        turn += 1
        if turns is not None:
            left = left[turns[label[left]] != turn]
    return Repeats(repeats, similarities)


class Groups:
    """Union-find on arrays: `root` is the lowest member of each one's group."""

    def __init__(self, size: int) -> None:
        self.root = np.arange(size)

    def join(self, left: Ints, right: Ints) -> None:
        while True:
            one, two = self.root[left], self.root[right]
            if np.array_equal(one, two):
                return
            np.minimum.at(self.root, np.maximum(one, two), np.minimum(one, two))
            while not np.array_equal(self.root, self.root[self.root]):
                self.root = self.root[self.root]


class Joined:
    """Groups among so many texts that only those of some group are held: 16 bytes for each.

    `members` are the texts held, rising; `root` says of each at which place of `members` the lowest
    one of its group is.
    """

    def __init__(self) -> None:
        self.members: Ints = np.zeros(0, np.int64)
        self._groups = Groups(0)

    @property
    def root(self) -> Ints:
        return self._groups.root

    @property
    def label(self) -> Ints:
        """label_M: the lowest member of each member's group."""
        return self.members[self.root]

    def admit(self, texts: Ints) -> None:
        """Makes members of texts, those that are new in groups of their own."""
        members = np.union1d(self.members, texts)
        before = np.searchsorted(members, self.members)
        groups = Groups(len(members))
        groups.root[before] = before[self.root]
        self.members, self._groups = members, groups

    def join(self, left: Ints, right: Ints) -> None:
        """Makes one group of the groups of each pair of places."""
        self._groups.join(left, right)

    def dismiss(self) -> None:
        """Forgets the members that are alone."""
        some = np.bincount(self.root, minlength=len(self.members))[self.root] > 1
        groups = Groups(int(some.sum()))
        groups.root = (np.cumsum(some) - 1)[self.root[some]]
        self.members, self._groups = self.members[some], groups
