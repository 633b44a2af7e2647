"""Which row a reviewer sees next, and which of its answers.

Rows where a grader is unsure, or graders disagree, teach most; but how often people agree with a
reward on such rows says nothing about the run. So a quarter of the rows, drawn by their ids, is set
aside in every queue: they come at random, every fourth time, and no other way, and figures over
them are unbiased. Another draw marks the rows that every reviewer sees, without which nobody could
say how far two of them agree. Both draws follow from the seed alone, so a queue is the same on any
machine, at any time, in any order of reviewers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.curation.words import mix
from karat.errors import RecipeError
from karat.reviewing.choice import Asked, answers_of, main_scores
from karat.reviewing.lines import key_of
from karat.reviewing.pool import Floats, Hashes, Ints, Pool
from karat.reviewing.store import Said
from karat.rewards.review_lines import COMPARISON, RATING, SKIP
from karat.row import Row
from karat.scoring.disagreement import choice_gap, score_gap
from karat.scoring.tallies import within

Name = Literal["random", "uncertainty", "disagreement"]
Mode = Literal["rate", "compare"]
NAMES: tuple[Name, ...] = ("random", "uncertainty", "disagreement")

RANDOM_SHARE = 0.25  # of the rows, set aside to be drawn at random
EVERY = 4  # which row of any queue is one of these
SHARED = 0.3  # of the rows every reviewer sees
MOST_GRADERS = 4  # compared with each other
_SHARED_SALT = np.uint64(0x9E3779B97F4A7C15)


class Item(NamedTuple):
    """A row to review: which of its responses, in the order in which they are shown; those a
    reviewer has spoken about already; how it was drawn."""

    place: int
    row: Row
    licences: list[str]
    shown: list[int]
    done: list[int]
    drawn: Name
    shared: bool


class Turn(NamedTuple):
    place: int
    drawn: Name


class Seen(msgspec.Struct):
    """What has been said of each row: `mine` counts a reviewer's answers, with how many there are
    to give; `skipped` are rows he passed over; `others` rows that somebody else finished."""

    mine: dict[str, tuple[int, int]] = {}
    skipped: set[str] = set()
    others: set[str] = set()

    def done(self, row: str) -> bool:
        count, of = self.mine.get(row, (0, 1))
        return row in self.skipped or count >= of


def seen_by(rater: str, said: Iterable[Said]) -> Seen:
    """What a reviewer need not be asked again."""
    found = Seen(mine={}, skipped=set(), others=set())
    keys: dict[tuple[bool, str], set[tuple[str, ...]]] = defaultdict(set)
    of: dict[tuple[bool, str], int] = {}
    for one in said:
        at = one.rater == rater, one.row
        if one.kind == SKIP:
            if at[0]:
                found.skipped.add(one.row)
        elif one.kind in (RATING, COMPARISON):
            keys[at].add(one.keys)
            of[at] = max(1, one.of)
    for (own, row), held in keys.items():
        if own:
            found.mine[row] = len(held), of[own, row]
        elif len(held) >= of[own, row]:
            found.others.add(row)
    return found


class Queue:
    """One order of a run's rows. Raises: RecipeError where the run has no scores for it."""

    def __init__(self, pool: Pool, name: Name, mode: Mode, answers: int = 2) -> None:
        self.pool, self.name, self.mode = pool, name, mode
        self.answers = answers if mode == "rate" else 2
        fit_P = pool.count_P >= (2 if mode == "compare" else 1)
        aside_P = set_aside(pool.turn_P)
        self._shared_P = shared(pool.turn_P)
        by_turn = np.argsort(pool.turn_P, kind="stable")
        self._random: Ints = by_turn[(fit_P & aside_P)[by_turn]]
        if name == "random":
            self._ranked: Ints = by_turn[(fit_P & ~aside_P)[by_turn]]
            return
        worth_P = uncertainty(pool, mode) if name == "uncertainty" else disagreement(pool)
        # Equally worthy rows in random order, those without a figure last.
        order = np.lexsort((pool.turn_P, -np.nan_to_num(worth_P, nan=-np.inf)))
        self._ranked = order[(fit_P & ~aside_P)[order]]

    def __len__(self) -> int:
        return len(self._random) + len(self._ranked)

    def turns(self) -> Iterator[Turn]:
        """All rows in order: every fourth one of those set aside, until either has run out."""
        if self.name == "random":
            yield from (Turn(int(place), "random") for place in self._random)
            yield from (Turn(int(place), "random") for place in self._ranked)
            return
        random, ranked = map(int, self._random), map(int, self._ranked)
        number = 0
        while True:
            first, other = (random, ranked) if number % EVERY == 1 else (ranked, random)
            place = next(first, None)
            drawn: Name = "random" if first is random else self.name
            if place is None:
                place, drawn = next(other, None), "random" if other is random else self.name
            if place is None:
                return
            yield Turn(place, drawn)
            number += 1

    def next(self, rater: str, said: list[Said], want: str = "") -> Item | None:
        """The next row of a reviewer; None where there is none left.

        A row whose answers are half rated comes first, `want` before that. What another reviewer
        finished is passed over, unless everybody is to see it.
        """
        seen = seen_by(rater, said)
        begun = [row for row, (count, of) in seen.mine.items() if count < of]
        mine = [one for one in said if one.rater == rater]
        for row in filter(None, [want, *(row for row in begun if row not in seen.skipped)]):
            place = self.pool.find(row)
            if place is not None and (item := self._item(Turn(place, self._drawn(place)), mine)):
                return item
        for turn in self.turns():
            row = self.pool.ids[turn.place].as_py()
            if seen.done(row) or (row in seen.others and not self._shared_P[turn.place]):
                continue
            if item := self._item(turn, mine):
                return item
        return None

    def _drawn(self, place: int) -> Name:
        return "random" if set_aside(self.pool.turn_P[place : place + 1])[0] else self.name

    def at(self, row: str) -> Item | None:
        """A row by its id, with what is asked about it in this queue."""
        place = self.pool.find(row)
        return None if place is None else self._item(Turn(place, self._drawn(place)), [])

    def _item(self, turn: Turn, mine: list[Said]) -> Item | None:
        """None where the row's answers are all the same, and two are wanted."""
        row, licences = self.pool.row(turn.place)
        asked = Asked(turn.drawn, self.mode, self.answers, self.pool.main, self.pool.seed)
        shown = answers_of(row, asked, self.pool.keys)
        if not shown or (self.mode == "compare" and len(shown) < 2):
            return None
        known = {key for one in mine if one.row == row.id for key in one.keys}
        done = [place for place in shown if key_of(row, row.responses[place]) in known]
        everybody = bool(self._shared_P[turn.place])
        return Item(turn.place, row, licences, shown, done, turn.drawn, everybody)


# --- draws ---------------------------------------------------------------------------------------


def set_aside(turn_P: Hashes) -> NDArray[np.bool_]:
    """Which rows are drawn at random in every queue."""
    return _share(mix(turn_P), RANDOM_SHARE)


def shared(turn_P: Hashes) -> NDArray[np.bool_]:
    """Which rows every reviewer sees."""
    return _share(mix(turn_P ^ _SHARED_SALT), SHARED)


def _share(number_P: Hashes, share: float) -> NDArray[np.bool_]:
    return number_P < np.uint64(int(share * 2**64))


# --- what a row is worth -------------------------------------------------------------------------


def uncertainty(pool: Pool, mode: Mode) -> Floats:
    """worth_P: how unsure the run's graders are of a row.

    Of rows to rate, the greatest `uncertainty` of an answer, where a reward says one; else, and of
    rows to compare, how near the best answer by the run's main score is to the next one.
    """
    told = [key for key in pool.keys if key.endswith(".uncertainty")]
    if mode == "rate" and told:
        owner_R, scores_RK = pool.scores(told)
        worth_P = np.full(len(pool), np.nan)
        np.fmax.at(worth_P, owner_R, np.fmax.reduce(scores_RK, axis=1))
        return worth_P
    if pool.main is None:
        raise RecipeError(
            "this run has no scores, so nothing is known to be uncertain; take the queue random, "
            "or grade its rows"
        )
    owner_R, scores_RK = pool.scores([pool.main])
    return -margins(owner_R, scores_RK[:, 0], len(pool))


def margins(owner_R: Ints, score_R: Floats, rows: int) -> Floats:
    """margin_P: by how much the best score is above the next; NaN with fewer than two."""
    known = ~np.isnan(score_R)
    owner, score = owner_R[known], score_R[known]
    order = np.lexsort((-score, owner))
    owner, score = owner[order], score[order]
    first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1])) if len(owner) else owner
    pairs = first[(first + 1 < len(owner))]
    pairs = pairs[owner[pairs + 1] == owner[pairs]]
    found = np.full(rows, np.nan)
    found[owner[pairs]] = score[pairs] - score[pairs + 1]
    return found


def disagreement(pool: Pool) -> Floats:
    """worth_P: how far graders are apart on a row, in σ of their scores within prompts.

    First come rows that the step cross_validate marked. Then, of each two graders (rewards, judges,
    verifiers), what both lose if the other chooses; of a row with one answer, the gap between their
    scores of it; where there is one grader, what a judge or a panel says of its own disagreement.
    """
    graders = main_scores(pool.keys)[:MOST_GRADERS]
    own = [key for key in pool.keys if key.endswith(".disagreement")]
    worth_P = np.full(len(pool), np.nan)
    if len(graders) >= 2:
        owner_R, scores_RK = pool.scores(graders)
        for one, other in combinations(_in_sigmas(owner_R, scores_RK, len(pool)), 2):
            worth_P = np.fmax(worth_P, choice_gap(one, other, owner_R, len(pool)))
        single = pool.count_P == 1
        if single.any():
            for one, other in combinations(_levelled(scores_RK), 2):
                gap_P = score_gap(one, other, owner_R, len(pool))
                worth_P[single] = np.fmax(worth_P, gap_P)[single]
    elif own:
        owner_R, scores_RK = pool.scores(own)
        np.fmax.at(worth_P, owner_R, np.fmax.reduce(scores_RK, axis=1))
    flagged_P = pool.flagged()
    if np.isnan(worth_P).all() and np.isnan(flagged_P).all():
        raise RecipeError(
            "no two graders graded this run's rows, so none disagree; take another queue, or grade "
            "with a second reward, a judge or a verifier"
        )
    top = np.nanmax(worth_P) if not np.isnan(worth_P).all() else 0.0
    return np.where(np.isnan(flagged_P), worth_P, top + 1 + np.nan_to_num(flagged_P))


def _in_sigmas(owner_R: Ints, scores_RK: Floats, rows: int) -> Iterator[Floats]:
    """Each grader's scores in σ within prompts; 0 of one that never varies."""
    for score_R in scores_RK.T:
        known = ~np.isnan(score_R)
        squares, freedom = within(score_R[known], owner_R[known], rows).sum(axis=0)
        sigma = float(np.sqrt(squares / freedom)) if freedom and squares > 0 else np.inf
        yield score_R / sigma


def _levelled(scores_RK: Floats) -> Iterator[Floats]:
    """Each grader's scores in σ from their mean."""
    for score_R in scores_RK.T:
        known = score_R[~np.isnan(score_R)]
        spread = float(known.std()) if len(known) else 0.0
        yield (score_R - known.mean()) / spread if spread > 0 else np.full_like(score_R, np.nan)
