"""Cross-validation of reward heads: what heads say of prompts they have not seen.

Folds are by prompt and shared by ratings and pairs, so that no prompt is trained on and tested on.
One fit serves several objectives, and folds run side by side in processes, for a forest is the cost
of a head and a fold needs nothing of another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karat.rewards.head_model import ATTRIBUTES, LENGTH
from karat.rewards.head_parts import Curve, Floats, Line
from karat.training.reward_fit import fit_heads
from karat.training.reward_settings import Objective, Settings
from karat.training.reward_table import Ints, Mask, Raw, Table

Say = Callable[[str], None]
_WORTH_A_PROCESS = 500  # texts; below, starting one takes longer than a fold


class Voter(Protocol):
    """What cross-validation asks of a head."""

    @property
    def length(self) -> Curve | None:
        """Its taste for length."""
        ...

    @property
    def attribute_line(self) -> Line:
        """The recalibration of its attributes, which is in its votes."""
        ...

    @property
    def rated(self) -> bool:
        """Whether it says the five attributes."""
        ...

    def votes(self, raw_NR: Floats, *, debiased: bool = True) -> Floats:
        """y_NMA of each member: the attributes it has, then the reward."""
        ...


Fit = Callable[[Table, Settings, Sequence[Objective], Mask, Mask], Mapping[Objective, Voter]]


@dataclass(frozen=True, slots=True)
class Held:
    """What heads said of held-out rows and pairs in V repeats; NaN for attributes they do not say.

    `attributes` as given, `plain` before recalibration; rewards per member, before the taste for
    length is taken off; `taste` is what would be. `fold_VR` says which head spoke; `cpu_s` what all
    fits took.
    """

    attributes_VRA: Floats
    plain_VRA: Floats
    reward_VRM: Floats
    taste_VR: Floats
    chosen_VPM: Floats
    rejected_VPM: Floats
    taste_VP: Floats  # the chosen one's less the rejected one's
    spoiled_VKN: Floats  # 1 where the sound answer won, ½ for a tie
    fold_VR: Ints
    cpu_s: float


def cross_validate(
    table: Table,
    settings: Settings,
    objectives: Sequence[Objective],
    *,
    folds: int = 5,
    repeats: int = 2,
    jobs: int | None = None,
    fit: Fit = fit_heads,
    say: Say | None = None,
) -> dict[Objective, Held]:
    """Repeated K-fold by prompt over rated rows, pairs and spoiled copies together."""
    splits = [folds_of(table, folds, settings.seed + v) for v in range(repeats)]
    tasks = [(v, k) for v in range(repeats) for k in range(folds)]
    calls = [
        (fit, table, settings, objectives, splits[v][0] == k, splits[v][1] == k) for v, k in tasks
    ]
    held = {o: _empty(table, settings, splits) for o in objectives}
    spent = 0.0
    for done, ((v, k), (seconds, parts)) in enumerate(zip(tasks, _run(calls, table, jobs))):  # noqa: B905
        spent += seconds
        if say:
            say(f"{settings.representation}: fold {done + 1} of {len(tasks)}")
        for objective, part in parts.items():
            _put(held[objective], part, v, table, splits[v][0] == k, splits[v][1] == k)
    return {o: replace(h, cpu_s=spent) for o, h in held.items()}


def _run(calls: Sequence[tuple[Any, ...]], table: Table, jobs: int | None) -> Any:
    """The result of each call in order, as they come."""
    if jobs is None:
        texts = len(table.raw_RW) + 2 * len(table.chosen_PW)
        jobs = (os.cpu_count() or 1) if texts >= _WORTH_A_PROCESS else 1
    if jobs == 1:
        return (_fold(*call) for call in calls)
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    return Parallel(n_jobs=jobs, return_as="generator")(delayed(_fold)(*call) for call in calls)


def _fold(
    fit: Fit, table: Table, settings: Settings, objectives: Sequence[Objective],
    held_R: Mask, held_P: Mask,
) -> tuple[float, dict[Objective, dict[str, Floats]]]:  # fmt: skip
    start = time.process_time()
    heads = fit(table, settings, objectives, ~held_R, ~held_P)
    parts = {o: _said(head, table, held_R, held_P) for o, head in heads.items()}
    return time.process_time() - start, parts


def _said(head: Voter, table: Table, held_R: Mask, held_P: Mask) -> dict[str, Floats]:
    def taste(raw_NW: Floats) -> Floats:
        return head.length(raw_NW[:, LENGTH]) if head.length else np.zeros(len(raw_NW))

    rows, chosen, rejected = (
        raw.astype(np.float64)
        for raw in (table.raw_RW[held_R], table.chosen_PW[held_P], table.rejected_PW[held_P])
    )
    votes_RMA = head.votes(rows, debiased=False)
    said_RA, line = votes_RMA[:, :, :-1].mean(axis=1), head.attribute_line
    nothing_RA = np.full((len(rows), len(ATTRIBUTES)), np.nan)
    return {
        "attributes_VRA": said_RA if head.rated else nothing_RA,
        "plain_VRA": (said_RA - line.intercept_A) / line.slope_A if head.rated else nothing_RA,
        "reward_VRM": votes_RMA[:, :, -1],
        "taste_VR": taste(rows),
        "chosen_VPM": head.votes(chosen, debiased=False)[:, :, -1],
        "rejected_VPM": head.votes(rejected, debiased=False)[:, :, -1],
        "taste_VP": taste(chosen) - taste(rejected),
        "spoiled_VKN": _above_spoiled(head, table, held_R),
    }


def _above_spoiled(head: Voter, table: Table, held_R: Mask) -> Floats:
    """win_KN of the tested rows that are held out."""
    kept_N = held_R[table.tested_N]
    sound_N = _reward(head, table.raw_RW[table.tested_N[kept_N]])
    spoiled_KNW = table.tested_KNW[:, kept_N]
    kinds, rows, width = spoiled_KNW.shape
    spoiled_KN = _reward(head, spoiled_KNW.reshape(-1, width)).reshape(kinds, rows)
    return compare(sound_N[None], spoiled_KN)


def _reward(head: Voter, raw_NW: Raw) -> Floats:
    reward_N: Floats = head.votes(raw_NW.astype(np.float64), debiased=False)[:, :, -1].mean(axis=1)
    return reward_N


def compare(left: NDArray[Any], right: NDArray[Any]) -> Floats:
    """1 where left is greater, ½ for a tie, else 0."""
    return np.asarray((left > right) + 0.5 * (left == right), dtype=np.float64)


def _empty(table: Table, settings: Settings, folds: Sequence[tuple[Ints, Ints]]) -> Held:
    repeats, rows, pairs = len(folds), len(table.raw_RW), len(table.chosen_PW)
    members, kinds = settings.members, len(table.tested_KNW)
    return Held(
        attributes_VRA=np.empty((repeats, rows, len(ATTRIBUTES))),
        plain_VRA=np.empty((repeats, rows, len(ATTRIBUTES))),
        reward_VRM=np.empty((repeats, rows, members)),
        taste_VR=np.empty((repeats, rows)),
        chosen_VPM=np.empty((repeats, pairs, members)),
        rejected_VPM=np.empty((repeats, pairs, members)),
        taste_VP=np.empty((repeats, pairs)),
        spoiled_VKN=np.empty((repeats, kinds, len(table.tested_N))),
        fold_VR=np.array([fold_R for fold_R, _ in folds]),
        cpu_s=0.0,
    )


def _put(
    held: Held, part: dict[str, Floats], v: int, table: Table, rows: Mask, pairs: Mask
) -> None:
    for name, values in part.items():
        whole = getattr(held, name)
        if name == "spoiled_VKN":
            whole[v][:, rows[table.tested_N]] = values
        else:
            whole[v][pairs if name.partition("_V")[2].startswith("P") else rows] = values


def folds_of(table: Table, folds: int, seed: int) -> tuple[Ints, Ints]:
    """The fold of each rated row and of each pair, by prompt, evenly within both kinds of data."""
    rng = np.random.default_rng(seed)
    rated = sorted(set(table.group_R.tolist()))
    others = sorted(set(table.group_P.tolist()) - set(rated))
    fold: dict[str, int] = {}
    for names in (rated, others):
        fold.update({names[g]: i % folds for i, g in enumerate(rng.permutation(len(names)))})
    fold_R = np.array([fold[g] for g in table.group_R.tolist()], dtype=np.int64)
    return fold_R, np.array([fold[g] for g in table.group_P.tolist()], dtype=np.int64)
