"""Human ratings and preferences as tokens, parted by prompt: what is learned from, what chooses the
weights, what is measured.

Three parts, because a figure on the prompts that chose the weights would flatter them. Two rated
answers to one prompt are a preference too, so a pairwise objective learns from a file of ratings,
and a regression is measured on pairs.

Source: HelpSteer2-Preference (2410.01257 §3) for strengths of 1 to 3; where only ratings are there,
the difference of helpfulness stands for it, ties left out (HelpSteer2, 2406.08673 §5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from karat.errors import RecipeError, RowError
from karat.rewards.head import ATTRIBUTES
from karat.row import Message
from karat.training.finetune.reader import Reader
from karat.training.finetune.settings import Objective, RewardSettings
from karat.training.ratings import HumanData, Pair, pairs_of

FEWEST = 20
Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One rated answer (one text, five ratings) or one pair (chosen and rejected, its strength)."""

    texts: tuple[Ids, ...]
    target: tuple[float, ...]

    @property
    def longest(self) -> int:
        """Tokens of its longest text."""
        return max(len(ids) for ids in self.texts)

    @property
    def tokens(self) -> int:
        """Tokens of all its texts."""
        return sum(len(ids) for ids in self.texts)


@dataclass(slots=True)
class Counts:
    """What became of the data: `too_long` were left out, or cut where `cut`; `refused` by the chat
    template, for the reason `why`."""

    train: int = 0
    validation: int = 0
    too_long: int = 0
    cut: bool = False
    refused: int = 0
    why: str = ""
    longest: int = 0

    def lines(self) -> list[str]:
        """What a person should know of it."""
        found = []
        if self.too_long:
            done = "cut at their beginning" if self.cut else "left out"
            found.append(f"{self.too_long:,} longer than {self.longest:,} tokens: {done}")
        if self.refused:
            found.append(f"{self.refused:,} refused by the chat template: {self.why}")
        return found


@dataclass(frozen=True, slots=True)
class Parts:
    """The data of each part; no prompt is in two of them."""

    train: HumanData
    validation: HumanData
    held_out: HumanData


@dataclass(slots=True)
class Examples:
    """The tokens of one objective."""

    train: list[Example] = field(default_factory=list)
    validation: list[Example] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


def part(data: HumanData, settings: RewardSettings) -> Parts:
    """Part by prompt, evenly within rated and other prompts. Raises: RecipeError for too few."""
    rng = np.random.default_rng(settings.split_seed)
    rated = {row.group for row in data.rated}
    others = {pair.group for pair in data.pairs} - rated
    if len(rated) + len(others) < FEWEST:
        raise RecipeError(
            f"{len(rated) + len(others)} prompts with ratings or preferences: give at least "
            f"{FEWEST}, some are needed to choose the weights and some to measure them"
        )
    place: dict[str, str] = {}
    for groups in (sorted(rated), sorted(others)):
        count = len(groups)
        held = round(settings.held_out * count)
        chosen = min(count - held, max(1, round(settings.validation * count)))
        names = ["held_out"] * held + ["validation"] * chosen + ["train"] * (count - held - chosen)
        place.update(
            {groups[g]: name for g, name in zip(rng.permutation(count), names, strict=True)}
        )
    return Parts(**{name: _only(data, place, name) for name in ("train", "validation", "held_out")})


def check_rated(train: HumanData, settings: RewardSettings) -> None:
    """Raises: RecipeError where the one reward weighs an attribute that nobody rated: its output
    is never trained and stays what chance drew."""
    ratings_RA = np.array([row.ratings for row in train.rated]).reshape(-1, len(ATTRIBUTES))
    weights_A = settings.attribute_weights()
    none = [
        name
        for name, rated, weight in zip(
            ATTRIBUTES, np.isfinite(ratings_RA).any(axis=0), weights_A, strict=True
        )
        if weight and not rated
    ]
    if none and len(ratings_RA):
        raise RecipeError(
            f"weights: {settings.weights} weighs {', '.join(none)}, which nobody rated in this "
            "data; helpfulness weighs itself alone (--set weights=helpfulness)"
        )


def _only(data: HumanData, place: dict[str, str], name: str) -> HumanData:
    return HumanData(
        rated=[row for row in data.rated if place[row.group] == name],
        pairs=[pair for pair in data.pairs if place[pair.group] == name],
    )


def all_pairs(data: HumanData) -> list[Pair]:
    """The preferences given, and those that two ratings of one prompt imply where no preference
    says anything about these two answers."""
    given = {(p.prompt, frozenset((p.chosen, p.rejected))) for p in data.pairs}
    implied = [
        pair
        for pair in pairs_of(data).pairs
        if (pair.prompt, frozenset((pair.chosen, pair.rejected))) not in given
    ]
    return [*data.pairs, *implied]


def examples(
    parts: Parts, objective: Objective, reader: Reader, settings: RewardSettings
) -> Examples:
    """The tokens an objective learns from. Raises: RecipeError where there are none."""
    made = Examples()
    made.counts.cut, made.counts.longest = settings.too_long == "truncate_left", reader.most
    made.train = _encoded(parts.train, objective, reader, made.counts)
    made.validation = _encoded(parts.validation, objective, reader, made.counts)
    made.counts.train, made.counts.validation = len(made.train), len(made.validation)
    if not made.train or not made.validation:
        what = "rated answers" if objective == "regression" else "pairs of which one is preferred"
        seen = "; ".join(made.counts.lines())
        raise RecipeError(
            f"objective {objective}: no {what} to train on and validate with"
            + (f" ({seen})" if seen else ": give data that has them, or another objective")
        )
    return made


def _encoded(
    data: HumanData, objective: Objective, reader: Reader, counts: Counts
) -> list[Example]:
    found = []
    for prompt, responses, target in _items(data, objective):
        texts, long = [], False
        try:
            for response in responses:
                ids, over = reader.read(prompt, response)
                texts.append(ids)
                long |= over
        except RowError as error:
            counts.refused += 1
            counts.why = counts.why or str(error)
            continue
        counts.too_long += long
        if counts.cut or not long:
            found.append(Example(tuple(texts), target))
    return found


def _items(
    data: HumanData, objective: Objective
) -> Iterable[tuple[tuple[Message, ...], tuple[str, ...], tuple[float, ...]]]:
    if objective == "regression":
        for row in data.rated:
            if any(map(isfinite, row.ratings)):
                yield row.prompt, (row.response,), row.ratings
        return
    for pair in all_pairs(data):
        strength = pair.strength if isfinite(pair.strength) else 1.0
        yield pair.prompt, (pair.chosen, pair.rejected), (strength,)


def micro_batches(batch: Sequence[Example], budget: int) -> list[list[Example]]:
    """A batch cut into parts of at most `budget` tokens, padding included; one example is never
    cut. Like lengths come together, so that little of a part is padding; what one step of the
    optimiser learns from stays the same."""
    parts: list[list[Example]] = []
    rows = width = 0
    for example in sorted(batch, key=lambda one: -one.longest):
        rows += len(example.texts)
        if parts and rows * width <= budget:
            parts[-1].append(example)
        else:
            parts.append([example])
            rows, width = len(example.texts), example.longest
    return parts
