"""All figures of an evaluation, each with how many it is of and where it lies.

Everything here ends up in report.json under these names; the terminal and the page add nothing.
"""

from __future__ import annotations

import msgspec

from karat.intervals import Interval
from karat.scoring.paired import Discordance
from karat.scoring.reliability import Reliability


class Row(msgspec.Struct):
    """A line of a set's table. `value` is None where nothing can be said. The baselines are counted
    on the same items by the same rules: random scores, the longer response, the shorter one."""

    label: str
    level: int
    n: int
    value: Interval | None
    random: float | None
    longer: float | None
    shorter: float | None


class Compared(msgspec.Struct):
    """A line on what both rewards scored: both values, their difference and, unit by unit, on how
    many the one or the other alone is right; None where units are not just right or wrong, as the
    grids of RM-Bench are not."""

    label: str
    level: int
    n: int
    first: float | None
    second: float | None
    difference: Interval | None
    discordance: Discordance | None


class Share(msgspec.Struct):
    """A share of n pairs."""

    value: Interval | None
    n: int


class RatioBin(msgspec.Struct):
    """Accuracy on pairs whose log2(better / worse length) lies between two ends."""

    low: float | None
    high: float | None
    accuracy: Interval | None
    n: int


class Length(msgspec.Struct):
    """What length is worth to a reward. `slope` is in σ of its scores for a doubled length, within
    prompts; `people_longer` how often people preferred the longer one."""

    picks_longer: Share
    people_longer: float | None
    picks_longer_worse: Share
    right_when_longer: Share
    right_matched: Share
    slope: Interval | None
    bins: list[RatioBin]


class Attribute(msgspec.Struct):
    """How an attribute goes with people's ratings of it. `kappa` is quadratic-weighted Cohen's κ of
    scores rounded to 0–4, where it is on that scale; `people` that of annotators among each other.
    """

    name: str
    against: str
    n: int
    pearson: Interval | None
    spearman: Interval | None
    kappa: Interval | None
    people: float | None


class SetFigures(msgspec.Struct):
    """One set. `failed` items have no score of a response; `ties` are equal scores among the
    comparisons. `trained_on`: by reward, the share of the prompts it learned from, where that is
    enough to matter."""

    name: str
    kind: str
    title: str
    rule: str
    files: list[str]
    items: int
    prompts: int
    responses: int
    failed: int
    refused: dict[str, int]
    left_out: dict[str, int]
    comparisons: int
    ties: int
    rows: list[Row]
    reliability: Reliability | None
    length: Length | None
    attributes: list[Attribute]
    compared: list[Compared]
    notes: list[str]
    trained_on: dict[str, float] = {}


class Bill(msgspec.Struct):
    """What asking one reward took this time, and in all that the folder's journal holds."""

    reward: str
    calls: int
    cost_usd: float | None
    spent_usd: float
    seconds: float


class Evaluation(msgspec.Struct):
    """A reward on sets; `by` is the attribute that decides pairs. `against` is the second reward,
    and `overall` compares the two on all sets together."""

    reward: str
    identity: str
    by: str
    sets: list[SetFigures]
    bills: list[Bill]
    warnings: list[str]
    against: str = ""
    against_by: str = ""
    overall: Compared | None = None
