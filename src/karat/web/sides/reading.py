"""Two data sets read for a comparison, off the event loop, once for every state of their files.

A million rows take some seconds. Meanwhile a page can say how far it is; what was read is kept for
the pages that follow, a hundred bytes a row.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from karat.errors import KaratError
from karat.report.apart import Apart, apart
from karat.report.differences import Differences, between, matched
from karat.report.side import WORDS, Side, read_side
from karat.web.desk import desk
from karat.web.faults import note
from karat.web.sides.data import Data, recipe_of, seen
from karat.web.sides.recipes import same_score

SIDES, PAIRS = 6, 16  # kept
_at_work = ThreadPoolExecutor(2, thread_name_prefix="karat-compare")
Key = tuple[object, ...]
T = TypeVar("T")


class Compared(NamedTuple):
    """Both sides and what is between them. `places_P` are the rows of each prompt that both have;
    `scores` are given by the same reward on both sides, `others` are not."""

    a: Side
    b: Side
    places_P: NDArray[np.int64]
    found: Differences
    apart: list[Apart]
    scores: list[str]
    others: list[str]

    @property
    def differ(self) -> NDArray[np.bool_]:
        """Which of the prompts that both have are answered otherwise."""
        answers = self.a.answers_N[self.places_P[:, 0]], self.b.answers_N[self.places_P[:, 1]]
        differ: NDArray[np.bool_] = answers[0] != answers[1]
        return differ

    def only(self, which: str) -> NDArray[np.int64]:
        """The rows of the side `a` or `b` whose prompts the other has not."""
        mine, theirs = (self.a, self.b) if which == "a" else (self.b, self.a)
        return np.flatnonzero(~np.isin(mine.prompts_N, theirs.prompts_N))


class Reading:
    """A comparison under way: how far, from 0 to 1, and why not where it failed."""

    def __init__(self) -> None:
        self.shares = [0.0, 0.0]
        self.why = ""
        self.task: asyncio.Task[None] | None = None

    @property
    def share(self) -> float:
        return 0.95 * sum(self.shares) / 2


class Sides:
    """Of one server."""

    def __init__(self) -> None:
        self._sides: OrderedDict[Key, Side] = OrderedDict()
        self._pairs: OrderedDict[Key, Compared] = OrderedDict()
        self._reading: dict[Key, Reading] = {}

    async def compared(self, a: Data, b: Data, wait_s: float) -> Compared | Reading:
        """The comparison, or what is at work on it after so long."""
        key = (*a.key, *b.key)
        if key in self._pairs:
            self._pairs.move_to_end(key)
            return self._pairs[key]
        reading = self._reading.get(key)
        if reading is None or reading.why:
            reading = self._reading[key] = Reading()
            reading.task = asyncio.create_task(self._read(key, a, b, reading))
        assert reading.task is not None
        await asyncio.wait({reading.task}, timeout=wait_s)
        return self._pairs.get(key, reading)

    async def _read(self, key: Key, a: Data, b: Data, reading: Reading) -> None:
        loop = asyncio.get_running_loop()
        try:
            made = await loop.run_in_executor(_at_work, self._made, a, b, reading)
        except (KaratError, OSError) as error:
            reading.why = str(error)
            for one in (a, b):  # where a folder lies is nobody's business who only sees pages
                reading.why = reading.why.replace(str(one.place.run.path), one.place.name)
        except Exception as error:
            reading.why = note(error, "while two data sets were compared")
        else:
            _keep(self._pairs, key, made, PAIRS)
            self._reading.pop(key, None)

    def _made(self, a: Data, b: Data, reading: Reading) -> Compared:
        """Raises: KaratError."""
        one, other = (self._side(data, place, reading) for place, data in enumerate((a, b)))
        places_P = matched(one.prompts_N, other.prompts_N)
        both = [name for name in one.scores if name in other.numbers]
        scores = [name for name in both if _comparable(name, a, b)]
        return Compared(
            one, other, places_P, between(one, other, a.dropped, b.dropped),
            apart(one, other, places_P, [*scores, *WORDS[1:2]]), scores,
            [name for name in both if name not in scores],
        )  # fmt: skip

    def _side(self, data: Data, place: int, reading: Reading) -> Side:
        held = self._sides.get(data.key)
        if held is None:

            def told(share: float) -> None:
                reading.shares[place] = share

            held = read_side(data.path if data.file else data.place.run.path, data.name, told)
            _keep(self._sides, data.key, held, SIDES)
        reading.shares[place] = 1.0
        return held


def _keep(kept: OrderedDict[Key, T], key: Key, value: T, most: int) -> None:
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)


def _comparable(name: str, a: Data, b: Data) -> bool:
    """Whether a score means the same on both sides: the same reward, on a scale of its own."""
    same = a.place == b.place or same_score(name, recipe_of(a), recipe_of(b))
    return same and name not in within_prompt(a) and name not in within_prompt(b)


def within_prompt(data: Data) -> set[str]:
    """Scores that compare answers of one row only, as its report says."""
    grading = (seen(data).report or {}).get("grading") or {}
    steps = grading.get("steps") if isinstance(grading, dict) else None
    found: set[str] = set()
    for one in (steps or {}).values() if isinstance(steps, dict) else ():
        found |= set(one.get("within_prompt") or ()) if isinstance(one, dict) else set()
    return found


def sides(request: Request) -> Sides:
    """Those of the server that got this request."""
    return desk(request).own(Sides, Sides)
