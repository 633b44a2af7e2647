"""Gopher's repetition filter: lines, paragraphs and runs of words that a page says again.

Made for pages. Answers enumerate, and a list of one pattern is none the worse for it: for answers
the verifier `repetition`, which looks for loops, is the one to use. This is here for documents, and
to say what the published limits would drop.

Runs of n + 1 words can only come twice where both runs of n words in them do. So each length looks
only at what was left of the last, and the whole costs little more than one sort of all words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
import numpy as np

from karat.curation.limits import Statistic
from karat.curation.pages import Floats, Ints, Pages, share

Part = Annotated[float, msgspec.Meta(ge=0, le=1)] | None
By = dict[int, Annotated[float, msgspec.Meta(ge=0)] | None]  # the limit for runs of so many words


class GopherRepetition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of what is said again, as shares of a text's lines, paragraphs or characters.

    `max_top_runs`: of the most common run of 2, 3, 4 words; `max_repeated_runs`: of runs of 5 … 10
    words that came before. `least_turns`: how often a run must come to be the most common one.

    Source: Rae et al. 2021 (2112.11446) App. A1.1, table A1.
    """

    max_lines: Part = 0.3
    max_paragraphs: Part = 0.3
    max_line_characters: Part = 0.2
    max_paragraph_characters: Part = 0.2
    max_top_runs: By = msgspec.field(default_factory=lambda: {2: 0.2, 3: 0.18, 4: 0.16})
    max_repeated_runs: By = msgspec.field(
        default_factory=lambda: {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}
    )
    least_turns: Annotated[int, msgspec.Meta(ge=1)] = 1


GOPHER_REPETITION = {
    "published": GopherRepetition(),
    # In two words "the most common pair" is all there is; lists and verses repeat their lines.
    "alignment": GopherRepetition(
        max_lines=None,
        max_line_characters=0.3,
        max_top_runs={2: 0.4, 3: 0.36, 4: 0.32},
        max_repeated_runs={10: 0.6},
        least_turns=3,
    ),
}


def gopher_repetition(pages: Pages, limits: GopherRepetition) -> list[Statistic]:
    """Repeated paragraphs and lines, by number and by characters; the most common short run of
    words; characters in longer runs that came before. In the order of the published code.

    Of repeated runs those that overlap one already counted are not counted again.
    """
    size = pages.sizes
    paragraphs = np.array([_repeats(_paragraphs(text)) for text in pages.texts])
    lines = np.array([_repeats(_lines(text)) for text in pages.texts])
    parts = [
        ("repeated paragraphs", paragraphs, 0, limits.max_paragraphs),
        ("characters in repeated paragraphs", paragraphs, 1, limits.max_paragraph_characters),
        ("repeated lines", lines, 0, limits.max_lines),
        ("characters in repeated lines", lines, 1, limits.max_line_characters),
    ]
    found = []
    for name, counts, column, limit in parts:
        held = counts.reshape(-1, 3)
        whole = held[:, 2] if column == 0 else size
        found.append(Statistic(name, share(held[:, column], whole), high=limit, kind="share"))
    longest = max([*limits.max_top_runs, *limits.max_repeated_runs], default=0)
    for runs in runs_of(pages, longest):
        n = runs.n
        if n in limits.max_top_runs:
            top = share(runs.most_common(limits.least_turns), size)
            limit = limits.max_top_runs[n]
            found.append(Statistic(f"most common {n}-gram", top, high=limit, kind="share"))
        if n in limits.max_repeated_runs:
            again = share(runs.said_again(), size)
            limit = limits.max_repeated_runs[n]
            found.append(Statistic(f"repeated {n}-grams", again, high=limit, kind="share"))
    return found


def _paragraphs(text: str) -> list[str]:
    """What two line ends or more part."""
    pieces = text.strip().split("\n\n")
    if "\n\n\n" in text:
        pieces = [bare for piece in pieces if (bare := piece.lstrip("\n"))]
    return pieces or [""]


def _lines(text: str) -> list[str]:
    """As split at runs of line ends: one at an edge of the text leaves an empty line there."""
    edges = [""] * (text.startswith("\n") + text.endswith("\n"))
    return [*filter(None, text.split("\n")), *edges]


def _repeats(pieces: Sequence[str]) -> tuple[int, int, int]:
    """(pieces said before, characters in them, pieces)."""
    once = set(pieces)
    if len(once) == len(pieces):
        return 0, 0, len(pieces)
    return len(pieces) - len(once), sum(map(len, pieces)) - sum(map(len, once)), len(pieces)


class Runs:
    """The runs of n words that come twice or more in one text of the batch.

    place_R: the first word of each; class_R: equal for equal runs of one text; both by class, then
    by place.
    """

    def __init__(self, pages: Pages, n: int, place_R: Ints, class_R: Ints) -> None:
        self.n, self.place_R, self.class_R = n, place_R, class_R
        self._ends = pages.word_ends
        self._upto = np.append(0, np.cumsum(pages.word_sizes))

    def most_common(self, least: int) -> Floats:
        """Characters in each text's most common run, of equals the first, in all its turns, blanks
        between its words included; 0 where none turns so often."""
        found = np.zeros(len(self._ends) - 1)
        if least <= 1:
            some = np.diff(self._ends) >= self.n
            found[some] = self._size(self._ends[:-1][some]) + self.n - 1
        if not len(self.place_R):
            return found
        first = np.flatnonzero(np.append(True, np.diff(self.class_R) != 0))
        turns = np.diff(np.append(first, len(self.class_R)))
        place = self.place_R[first]
        text = np.searchsorted(self._ends, place, "right") - 1
        order = np.lexsort((-place, turns, text))
        best = order[np.append(np.diff(text[order]) != 0, True)]
        best = best[turns[best] >= least]
        found[text[best]] = (self._size(place[best]) + self.n - 1) * turns[best]
        return found

    def said_again(self) -> Floats:
        """Characters of each text in runs that came before: read from the start, each repeat is
        counted and stepped over."""
        found = np.zeros(len(self._ends) - 1)
        order = np.argsort(self.place_R)
        places = self.place_R[order]
        sizes = self._size(places).tolist()
        texts = (np.searchsorted(self._ends, places, "right") - 1).tolist()
        seen: set[int] = set()
        beyond = 0
        classes = self.class_R[order].tolist()
        for place, own, size, text in zip(places.tolist(), classes, sizes, texts, strict=True):
            if place < beyond:
                continue
            if own in seen:
                found[text] += size
                beyond = place + self.n
            else:
                seen.add(own)
        return found

    def _size(self, place: Ints) -> Ints:
        size: Ints = self._upto[place + self.n] - self._upto[place]
        return size


def runs_of(pages: Pages, longest: int) -> Iterator[Runs]:
    """Runs of one word, of two, … of `longest` that come twice or more in their text."""
    words, ends = pages.words, pages.word_ends
    many = int(words.max(initial=0)) + 1
    text_W = pages.owners
    place = np.arange(len(words))
    key = text_W * many + words
    for n in range(1, longest + 1):
        place, own = twice(key, place)
        yield Runs(pages, n, place, own)
        # A longer run needs a repeated one at its second word too, in the same text.
        held = np.full(len(words) + 1, -1, np.int64)
        held[place] = own
        fits = (held[place + 1] >= 0) & (place + n < ends[1:][text_W[place]])
        place, own = place[fits], own[fits]
        key = own * many + words[place + n]


def twice(key: Ints, place: Ints) -> tuple[Ints, Ints]:
    """(place, class) of the keys that occur more than once, by class, then by place. Places are
    different, none is negative, and neither is a key."""
    most = int(place.max(initial=0)) + 1
    if int(key.max(initial=0)) < 2**62 // most:  # sorting one number is far faster than a pair
        key, place = np.divmod(np.sort(key * most + place), most)
    else:
        order = np.lexsort((place, key))
        key, place = key[order], place[order]
    new = np.append(True, key[1:] != key[:-1])[: len(key)]
    alone = new & np.append(new[1:], True)[: len(key)]
    own = np.cumsum(new[~alone]) - 1
    return place[~alone], own
