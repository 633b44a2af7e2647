"""What is measured of a round: the held-out reward beside the best so far, variety, collapse.

The held-out reward says whether the student got better, by a grader that selected nothing; the
same prompts and the same seed in every round, so that rounds are compared prompt by prompt. It is
no guard: a reward can rise while rare words are being lost (curation/collapse.py), so what stops a
collapse looks at the words alone, beside people's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.curation.collapse import MARGINS, compared
from karat.curation.diversity import diversity
from karat.exporters.base import accepted_rows
from karat.intervals import Interval
from karat.row import Row
from karat.scoring.lift import effect
from karat.steps._guarding import CHARS, Texts, said

Floats = NDArray[np.float64]
VARIETY = ("rows", "vendi_embedding", "self_bleu", "distinct_2", "near_duplicates", "mean_words")


class Graded(msgspec.Struct):
    """A student's held-out answers: mean score by prompt (row id), and the first answer of each."""

    scores: dict[str, float]
    answers: list[str]


class Guard(msgspec.Struct, frozen=True):
    """Whether rare words are being lost. `says` is empty where nothing is; `figures` by what was
    compared with what: ratio and interval of each measure, 1 = no difference."""

    trips: bool
    says: str
    figures: dict[str, dict[str, tuple[float, float, float]]]


def graded(accepted: Path, score: str) -> Graded:
    """Of a held-out run. A prompt without a graded answer is left out."""
    found = Graded({}, [])
    for row in accepted_rows(accepted):
        own = [one for one in row.responses if one.call]
        values = [v for one in own if math.isfinite(v := one.scores.get(score, math.nan))]
        if values:
            found.scores[row.id] = float(np.mean(values))
            found.answers.append(own[0].content)
    return found


def mean(found: Graded, seed: int) -> Interval:
    """The mean reward and its 95% interval over prompts."""
    values = np.array(list(found.scores.values()), np.float64)
    return _of(values, seed) if len(values) else Interval(math.nan, -math.inf, math.inf)


def _of(values_P: Floats, seed: int) -> Interval:
    """Of a mean over prompts, by Student's t: with ten prompts the percentiles of a bootstrap lie
    above zero by chance one time in twenty where they should one time in forty."""
    if len(values_P) < 2:
        return Interval(float(values_P[0]), -math.inf, math.inf)
    return effect(values_P, np.zeros(len(values_P)), seed=seed).difference


def gain(found: Graded, best: Graded, seed: int) -> Interval:
    """The mean difference on the prompts that both answered, with its 95% interval."""
    both = [key for key in found.scores if key in best.scores]
    if not both:
        return Interval(math.nan, -math.inf, math.inf)
    values = np.array([found.scores[key] - best.scores[key] for key in both], np.float64)
    return _of(values, seed)


def variety(texts: Iterable[str]) -> dict[str, float]:
    """A few measures of curation.diversity."""
    measured = diversity(texts)
    return {name: float(measured[name]) for name in VARIETY}


def human_texts(files: Sequence[Path], mixed: Iterable[str]) -> tuple[list[str], int]:
    """(people's answers, those in the mix first; how many those are)."""
    inside = Texts()
    for text in mixed:
        inside.add(text)
    first, others = set(inside.texts), Texts()
    for file in files:
        for row in accepted_rows(file):
            if (text := said(row)[:CHARS]) and text not in first:
                others.add(text)
    return [*inside.texts, *others.texts], len(inside.texts)


def guard(data: Path, human_files: Sequence[Path], number: int, seed: int) -> Guard:
    """The data of round `number`, of all rounds up to it, beside people's text; and what this round
    made beside what the first and the last one made.

    It trips where this round says less of what people say than an earlier one did, beyond the
    interval and a margin. That the whole set differs from human text is told, but no reason to
    stop: made rows may simply be about other things.
    """
    made: dict[int, Texts] = {}
    mixed: list[str] = []
    for row in accepted_rows(data):
        if row.source == "human":
            mixed.append(said(row))
        else:
            made.setdefault(_round(row), Texts()).add(said(row))
    human, used = human_texts(human_files, mixed)
    everything = [text for texts in made.values() for text in texts.texts]
    now = made.get(number, Texts()).texts
    asked: list[tuple[str, list[str], int, list[str] | None]] = []
    asked.append(("set beside human text", everything, used, None))
    for before in sorted({1, number - 1} - {0, number}):
        earlier = made.get(before, Texts()).texts
        asked.append((f"round {number} beside round {before}", now, 0, earlier))
    figures, worse = {}, list[str]()
    for name, texts, inside, previous in asked:
        found = compared(texts, human, inside, previous=previous, seed=seed, meanings=False)
        if found is None:
            continue
        figures[name] = {
            key: (one.ratio.value, one.ratio.low, one.ratio.high)
            for key, one in found.figures.items()
            if key in MARGINS
        }
        if previous is not None and found.worse:
            worse.append(found.says(*name.split(" beside ")))
    return Guard(bool(worse), "; ".join(worse), figures)


def _round(row: Row) -> int:
    number = row.meta.get("round")
    return number if isinstance(number, int) else 0
