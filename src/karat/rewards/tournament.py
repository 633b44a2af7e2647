"""Who beats whom among n responses: which pairs meet, and what their verdicts add up to.

A judge that compares prefers whichever response it reads first more often than not (2306.05685
§3.3), so each pair meets twice, once in each order, and a preference that does not survive the swap
is none. Equal texts are one player: they get equal scores, and a pair of them is a tie that nobody
is paid to find. Everybody meets everybody where the responses are few; beyond that each meets the
same number of opponents, who follow from the texts alone: by their place in the row they would be
samples of the same model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from karat.rewards.base import Scale, Scores
from karat.row import digest
from karat.together import all_of

ATTRIBUTES: dict[str, Scale] = {"wins": (0.0, 1.0), "consistency": (0.0, 1.0), "first": (0.0, 1.0)}
OPPONENTS = 4
Pair = tuple[int, int]


class Verdict(NamedTuple):
    """How a pair ended. `margin` is above 0 where the first of the two is better, 0 for a tie.

    `same`: whether both orders said so. `first`: the share of answers that went to the response
    shown first, a tie counting half. Both mean nothing where nobody was `asked`.
    """

    margin: float
    same: bool = True
    first: float = 0.5
    asked: bool = True


Compare = Callable[[str, str], Awaitable[Verdict]]


def once_each(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """(the distinct texts in order, which of them each text is)."""
    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return list(place), [place[text] for text in texts]


def schedule(texts: Sequence[str], opponents: int) -> list[Pair]:
    """The pairs of distinct texts that meet, lower place first.

    All n(n−1)/2 where nobody has more than `opponents` to meet; else each meets its neighbours on a
    circle in the order of the texts' digests: `opponents` of them, one more where both numbers are
    odd, hence n·opponents/2 pairs.
    """
    count = len(texts)
    if count - 1 <= opponents:
        return list(combinations(range(count), 2))
    circle = sorted(range(count), key=lambda place: digest(texts[place]))
    steps = list(range(1, opponents // 2 + 1))
    if opponents % 2:
        steps.append(count // 2 if count % 2 == 0 else opponents // 2 + 1)
    met = {
        (min(a, b), max(a, b))
        for step in steps
        for start in range(count)
        for a, b in [(circle[start], circle[(start + step) % count])]
    }
    return sorted(met)


def meetings(count: int, opponents: int) -> int:
    """How many pairs of `count` distinct texts meet."""
    each = min(count - 1, opponents + (opponents % 2) * (count % 2)) if count else 0
    return count * each // 2


async def play(texts: Sequence[str], opponents: int, compare: Compare) -> dict[Pair, Verdict]:
    """The verdicts on the pairs of these distinct texts that meet. Raises: what `compare` does."""
    pairs = schedule(texts, opponents)
    verdicts = await all_of(compare(texts[a], texts[b]) for a, b in pairs)
    return dict(zip(pairs, verdicts, strict=True))


def standings(count: int, verdicts: Mapping[Pair, Verdict]) -> list[Scores]:
    """The ATTRIBUTES of each player.

    `wins`: the share of its comparisons that it won, a tie counting half. `consistency`: the share
    of those it was judged in that ended the same in both orders, 1 where it was judged in none.
    `first`: the share of answers about it that went to whichever response was shown first; .5 is no
    position bias.
    """
    return [_standing(place, verdicts) for place in range(count)]


def _standing(place: int, verdicts: Mapping[Pair, Verdict]) -> Scores:
    own = [(v.margin if pair[0] == place else -v.margin, v) for pair, v in verdicts.items()
           if place in pair]  # fmt: skip
    asked = [v for _, v in own if v.asked]
    points = [1.0 if margin > 0 else 0.0 if margin < 0 else 0.5 for margin, _ in own]
    return {
        "wins": sum(points) / len(points) if points else 0.5,
        "consistency": sum(v.same for v in asked) / len(asked) if asked else 1.0,
        "first": sum(v.first for v in asked) / len(asked) if asked else 0.5,
    }
