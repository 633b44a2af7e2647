"""From students' answers to figures: each measure's value of every student on every prompt, the
arms' means, and the contrasts that were planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.intervals import Interval
from karat.lifting.held_out import HeldOut, verified
from karat.lifting.workshop import Student
from karat.scoring.lift import Contrast, contrasts, effect

Floats = NDArray[np.float64]
ROLES = ("primary", "secondary", "third", "also")


class ArmMean(msgspec.Struct, frozen=True):
    """An arm's mean over prompts and students, and each student's."""

    mean: Interval
    students: list[float]


class Measure(msgspec.Struct, frozen=True):
    """One measure of all arms. `unit` multiplies values for people: 100 makes shares points.
    `left_out` prompts had no value for one student or more."""

    name: str
    role: str
    unit: float
    unit_name: str
    prompts: int
    left_out: int
    arms: dict[str, ArmMean]
    contrasts: list[Contrast]


def measure(
    name: str, role: str, values: Mapping[str, Sequence[Sequence[float]]],
    pairs: Sequence[tuple[str, str]], unit: float = 1.0, unit_name: str = "", seed: int = 0,
) -> Measure | None:  # fmt: skip
    """`values`: of each arm a line per student, a value per prompt, NaN for none. None where fewer
    than two prompts have all values."""
    arms = {arm: np.atleast_2d(np.array(lines, np.float64)) for arm, lines in values.items()}
    whole_P = np.all([np.isfinite(one).all(axis=0) for one in arms.values()], axis=0)
    if int(whole_P.sum()) < 2:
        return None
    arms = {arm: one[:, whole_P] for arm, one in arms.items()}
    nothing = np.zeros((1, int(whole_P.sum())))
    means = {
        arm: ArmMean(effect(one, nothing, seed=seed).difference, one.mean(axis=1).tolist())
        for arm, one in arms.items()
    }
    found = contrasts(arms, pairs, seed=seed)
    return Measure(
        name, role, unit, unit_name, int(whole_P.sum()), int((~whole_P).sum()), means, found
    )  # fmt: skip


def by_verifier(
    held: HeldOut, students: Sequence[Student], pairs: Sequence[tuple[str, str]], name: str
) -> list[Measure]:
    """The primary measure, and where it is a matter of degree whether all was done as well."""
    shares, wholes = dict[str, list[Any]](), dict[str, list[Any]]()
    for one in students:
        verdicts = verified(held, one.answers)
        shares.setdefault(one.arm, []).append([share for share, _ in verdicts])
        wholes.setdefault(one.arm, []).append([whole for _, whole in verdicts])
    found = [measure(name, "primary", shares, pairs, 100.0, "points")]
    if shares != wholes:
        found.append(measure("everything asked was done", "also", wholes, pairs, 100.0, "points"))
    return [one for one in found if one is not None]


def by_length(
    students: Sequence[Student], pairs: Sequence[tuple[str, str]]
) -> Measure | None:  # fmt: skip
    """Characters of the answers: what a student of long answers learned at least."""
    values: dict[str, list[Any]] = {}
    for one in students:
        values.setdefault(one.arm, []).append([float(len(text)) for text in one.answers])
    return measure("characters of the answers", "also", values, pairs, 1.0, "characters")


def by_likelihood(
    students: Sequence[Student], pairs: Sequence[tuple[str, str]]
) -> Measure | None:  # fmt: skip
    """How likely the references are to each student."""
    values: dict[str, list[Any]] = {}
    for one in students:
        values.setdefault(one.arm, []).append(one.nats)
    if not students or not students[0].nats:
        return None
    return measure(
        "log-likelihood of human references", "third", values, pairs, 1.0, "nats a token"
    )
