"""repetition: whether a response loops, or says most of what it says twice.

Two things are told apart. A loop is one piece again and again in a row, which a model falls into
and does not leave. A few turns are a refrain or a list, so it must turn often and either take up
much of the response or stand at its end. And a text can say the same things in other places: there
the share of its characters that stand in runs of words said before is counted, as Gopher's filter
of web pages does. Its limits (.10 to .15) are for pages: of 913 answers in HelpSteer2 10% are above
.15 by runs of ten words, many of them lists of one pattern with the best coherence. So ours is far
higher.

Source: MassiveText, Rae et al. 2021 (arXiv 2112.11446), table A1, duplicate n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.curation.turns import words
from karat.verifiers._prose import without_code
from karat.verifiers.base import Item, Verdict

NEEDS: tuple[str, ...] = ()
EXTRA = ""
SHARES = True  # a verdict says what part was passed

Part = Annotated[float, msgspec.Meta(gt=0, le=1)]
Times = Annotated[int, msgspec.Meta(ge=2)]

READ = 20_000  # characters
LONGEST_PIECE = 100  # words of a piece that may come again in a row
LOOP = 24  # words of a loop with all its turns; of shorter ones nothing is told
TELLING = 4  # words of a piece that are no numbers, from which `times` turns are enough
PART = 0.3  # of the words in loops, from which the place of a loop does not matter
RUN = 10  # words of a run that counts when it comes again: Gopher's longest
FEWEST = 50  # words from which runs are counted
GLYPHS = 60  # equal characters in a row, as "aaaa…"
_DRAWN = frozenset("-_=*.·•~#+|…/\\ \t\n")  # rules and fields left open


def verify(item: Item, *, most: Part = 0.6, times: Times = 4) -> Verdict:
    """Passes what neither loops nor repeats itself; undecided where there are no words.

    `times`: how often in a row a piece of four words or more makes a loop; a shorter one needs 24
    words in all. `most`: the share of characters in runs of ten words that came before, from which
    a response fails. Code counts for loops only. `share`: what part of the response is said for the
    first time.
    """
    text = item.response[:READ]
    if glyph := _drawn_out(text):
        return Verdict(passed=False, reason=f"one character over and over: {glyph[:8]}…", share=0.0)
    found = words(text)
    if not found:
        return Verdict(passed=None)
    start, size, turns = _loop(found, times)
    looped = size * turns
    if looped >= LOOP and (looped >= PART * len(found) or start + looped + size > len(found)):
        piece = " ".join(found[start : start + min(size, 12)])
        share = 1 - (looped - size) / len(found)
        return Verdict(passed=False, reason=f"loops {turns} times: {piece}", share=share)
    said = words(without_code(text))
    again = _said_again(said) if len(said) >= FEWEST else 0.0
    reason = f"{again:.0%} of it is said twice" if again > most else ""
    return Verdict(passed=again <= most, reason=reason, share=1 - again)


def _drawn_out(text: str) -> str:
    """A run of one character that is no rule and no open field; empty where there is none."""
    if len(text) < GLYPHS:
        return ""
    code = _codes(text)
    edge = np.flatnonzero(np.append(True, code[1:] != code[:-1]))
    length = np.diff(np.append(edge, len(code)))
    for place in edge[length >= GLYPHS]:
        if (
            text[place] not in _DRAWN
            and not "─" <= text[place] <= "▟"
            and text[place].isprintable()
        ):
            return text[place] * GLYPHS
    return ""


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _loop(found: Sequence[str], times: int) -> tuple[int, int, int]:
    """(first word, words of the piece, turns) of the longest loop; numbers do not count, so that a
    numbered list of one line is a loop."""
    kept = ["" if word.isdigit() else word for word in found]
    numbers: dict[str, int] = {}
    code = np.array([numbers.setdefault(word, len(numbers)) for word in kept], np.int64)
    best = (0, 0, 0)
    for size in range(1, min(LONGEST_PIECE, len(code) // 2) + 1):
        same = code[size:] == code[:-size]
        if int(same.sum()) < size * (times - 1):
            continue
        edge = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
        start, length = edge[::2], edge[1::2] - edge[::2]
        most = int(length.argmax())
        turns = int(length[most]) // size + 1
        first = int(start[most])
        # A table of numbers is no loop, and its two or three headings alone make none.
        telling = sum(bool(word) for word in kept[first : first + size])
        least = times if telling >= TELLING else -(-LOOP // max(telling, 1))
        if telling and turns >= least and size * turns > best[1] * best[2]:
            best = (first, size, turns)
    return best


def _said_again(found: Sequence[str]) -> float:
    """The share of characters in runs of RUN words that stand earlier in the text too."""
    size = np.array([len(word) for word in found])
    again = np.zeros(len(found), np.bool_)
    seen: set[tuple[str, ...]] = set()
    for place in range(len(found) - RUN + 1):
        run = tuple(found[place : place + RUN])
        if run in seen:
            again[place : place + RUN] = True
        seen.add(run)
    return float(size[again].sum() / size.sum())
