"""What a set counts: one unit of credit for each thing that can be right or wrong in it.

Mostly a unit is an item. Of ratings it is each two responses that people rated apart; RewardBench
2's Ties count a question, its twin, and the two together. Scores go in, credit comes out, and the
same for what random scores would get: so a baseline is counted by the very rules of the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from karat.errors import RecipeError
from karat.evaluating.items import EvalSet, Floats, Ints, Item, numbered
from karat.scoring.credit import (
    accuracy_by_chance,
    best_of_credit,
    chance_of_ties,
    grid_credit,
    pair_credit,
    standing_of,
    ties_credit,
)

STRICT = ("judgebench",)  # where equal scores are wrong
ONE, MANY, MARGINS = "one right answer", "many right answers", "margins"


class Units(NamedTuple):
    """credit_UK: NaN where a response has no score. `subsets` are named in order of appearance.
    `item_U` is what was asked about, and `weight_U` the size of the difference, where known."""

    credit_UK: Floats
    subset_U: Ints
    subsets: list[str]
    prompt_U: Ints
    prompts: int
    item_U: Ints
    strength_U: Floats

    def place(self, subset: str) -> int:
        return self.subsets.index(subset) if subset in self.subsets else -1


Comparison = tuple[int, int, int, float]  # item, place of the better response, of the worse, gap


def comparisons(found: EvalSet) -> list[Comparison]:
    """All pairs of a better and a worse response; of Ties none, whose questions have a hundred."""
    made: list[Comparison] = []
    for number, item in enumerate(found.items):
        if found.kind == "ratings":
            made += [(number, *two) for two in _rated_apart(item)]
        elif not item.tie and item.subset.lower() != "ties":
            every = len(item.responses)
            made += [
                (number, better, worse, item.strength)
                for better in range(item.right)
                for worse in range(item.right, every)
            ]
    return made


def _rated_apart(item: Item) -> list[tuple[int, int, float]]:
    """(better, worse, by how much) of each two responses whose helpfulness differs."""
    helpful = [ratings[0] for ratings in item.ratings]
    pairs = combinations(range(len(helpful)), 2)
    ordered = [(a, b) if helpful[a] > helpful[b] else (b, a) for a, b in pairs]
    return [(a, b, helpful[a] - helpful[b]) for a, b in ordered if helpful[a] > helpful[b]]


def units(found: EvalSet, scores: Sequence[Floats]) -> Units:
    """Of scores_N of each item's responses, in the item's own order; NaN where there is none."""
    if found.kind == "rewardbench2":
        return _rewardbench2(found, scores)
    if found.kind == "rmbench":
        credit = [
            np.full(9, np.nan) if np.isnan(s).any() else grid_credit(s[:3], s[3:]).ravel()
            for s in scores
        ]
        return _of_items(found, np.array(credit))
    made = comparisons(found)
    gap_C = np.array([scores[item][a] - scores[item][b] for item, a, b, _ in made])
    credit_C = pair_credit(gap_C, 0.0 if found.kind in STRICT else 0.5)
    return _of_comparisons(found, made, credit_C)


def by_chance(found: EvalSet) -> Units:
    """What random scores get, as expectations."""
    if found.kind == "rewardbench2":
        return _rewardbench2(found, None)
    if found.kind == "rmbench":
        return _of_items(found, np.full((len(found.items), 9), 0.5))
    made = comparisons(found)
    return _of_comparisons(found, made, np.full(len(made), 0.5))


def _of_items(found: EvalSet, credit_UK: Floats) -> Units:
    prompt_I, prompts = found.prompts()
    subset_I, _ = numbered([item.subset for item in found.items])
    names = list(dict.fromkeys(item.subset for item in found.items))
    item_I = np.arange(len(found.items))
    strength_I = np.array([item.strength for item in found.items])
    return Units(credit_UK, subset_I, names, prompt_I, prompts, item_I, strength_I)


def _of_comparisons(found: EvalSet, made: Sequence[Comparison], credit_C: Floats) -> Units:
    prompt_I, prompts = found.prompts()
    item_C = np.array([one[0] for one in made], np.int64)
    strength_C = np.array([one[3] for one in made], np.float64)
    names = [found.items[item].subset for item in item_C]
    subset_C, _ = numbered(names)
    subsets = list(dict.fromkeys(names))
    prompt_C = prompt_I[item_C]
    return Units(credit_C[:, None], subset_C, subsets, prompt_C, prompts, item_C, strength_C)


# --- RewardBench 2 -------------------------------------------------------------------------------


def _rewardbench2(found: EvalSet, scores: Sequence[Floats] | None) -> Units:
    """Credit of three columns: those of margins have all, of the others the first alone counts.

    `scores` None: by chance.
    """
    prompt_I, prompts = found.prompts()
    rows: list[tuple[Floats, str, int, int]] = []  # credit_K, subset, prompt, item
    ties: dict[str, dict[str, int]] = {}
    for place, item in enumerate(found.items):
        if item.subset.lower() == "ties":
            kind, _, number = item.key.partition(":")
            if kind in ties.setdefault(number, {}):
                raise RecipeError(f"{found.name}: two records of Ties have the id {item.key}")
            ties[number][kind] = place
            continue
        one = 1 / len(item.responses) if scores is None else np.nan
        if scores is not None and not np.isnan(scores[place]).any():
            one = best_of_credit(scores[place])
        rows.append((_padded(one), item.subset, int(prompt_I[place]), place))
    for pair in ties.values():
        rows += _twins(found, scores, pair, int(prompt_I[next(iter(pair.values()))]))
    names = [row[1] for row in rows]
    return Units(
        np.array([row[0] for row in rows]).reshape(len(rows), 3), numbered(names)[0],
        list(dict.fromkeys(names)), np.array([row[2] for row in rows], np.int64), prompts,
        np.array([row[3] for row in rows], np.int64), np.full(len(rows), np.nan),
    )  # fmt: skip


def _twins(
    found: EvalSet, scores: Sequence[Floats] | None, pair: dict[str, int], prompt: int
) -> list[tuple[Floats, str, int, int]]:
    """The units of a question with many right answers and of its twin with one."""
    rows = []
    for kind, name in (("ref", ONE), ("tied", MANY)):
        if kind in pair:
            item = found.items[pair[kind]]
            value = accuracy_by_chance(item.right, len(item.responses))
            if scores is not None:
                scores_N = scores[pair[kind]]
                known = not np.isnan(scores_N).any()
                value = float(standing_of(scores_N, item.right).accurate) if known else np.nan
            rows.append((_padded(value), name, prompt, pair[kind]))
    if len(pair) == 2:
        tied, one = (found.items[pair[kind]] for kind in ("tied", "ref"))
        margins: tuple[float, ...] = (np.nan,) * 3
        if scores is None:
            margins = chance_of_ties(_size(tied), _size(one))[2:]
        elif not any(np.isnan(scores[place]).any() for place in pair.values()):
            margins = ties_credit(
                standing_of(scores[pair["tied"]], tied.right),
                standing_of(scores[pair["ref"]], one.right),
            )
        rows.append((np.array(margins), MARGINS, prompt, pair["tied"]))
    return rows


def _size(item: Item) -> tuple[int, int]:
    return item.right, len(item.responses)


def _padded(value: float) -> Floats:
    return np.array([value, 0.0, 0.0])
