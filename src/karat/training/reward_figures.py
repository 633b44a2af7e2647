"""Held-out figures of a reward head, with intervals, beside the baselines a reader would ask for.

Folds are by prompt and shared by every source, so that no prompt is trained on and tested on. Every
accuracy has a 95% bootstrap interval over prompts and stands beside "the longer answer wins" on the
same pairs: on a few hundred pairs a bare percentage says little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from karat.rewards import features
from karat.rewards.head import ATTRIBUTES, Floats, Head, with_reward
from karat.training.ratings import HumanData
from karat.training.reward_fit import Fit, Predictor, Settings, Table, fit_head, table_of

Say = Callable[[str], None]
_LENGTH = features.NAMES.index("log_chars")
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value with its 95% interval; `longer` is the baseline on the same pairs."""

    name: str
    n: int
    value: float
    low: float
    high: float
    longer: float = float("nan")
    gain_low: float = float("nan")
    gain_high: float = float("nan")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Pairs judged by the reward and by length: 1 won, ½ tied, 0 lost; `gap` of helpfulness."""

    win_P: Floats
    longer_P: Floats
    group_P: NDArray[np.str_]
    gap_P: Floats

    def where(self, mask_P: NDArray[np.bool_]) -> Outcomes:
        """The outcomes that the mask selects."""
        return Outcomes(
            self.win_P[mask_P], self.longer_P[mask_P], self.group_P[mask_P], self.gap_P[mask_P]
        )

    def figure(self, name: str) -> Figure:
        """Accuracy, its interval, the longer baseline and the interval of the gain over it."""
        if not len(self.win_P):
            nan = float("nan")
            return Figure(name, 0, nan, nan, nan)
        low, high = interval(self.win_P, self.group_P)
        gain = interval(self.win_P - self.longer_P, self.group_P)
        value, longer = float(self.win_P.mean()), float(self.longer_P.mean())
        return Figure(name, len(self.win_P), value, low, high, longer, *gain)


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything measured about one way of fitting; `rated` is there for paired comparisons."""

    pairs: tuple[Figure, ...]
    attributes: tuple[Figure, ...]
    spoiled: tuple[Figure, ...]
    picks_longer: float
    rated: Outcomes


def cross_validate(
    table: Table,
    settings: Settings,
    folds: int = 5,
    repeats: int = 4,
    fit: Fit = fit_head,
    say: Say | None = None,
) -> Figures:
    """Repeated K-fold by prompt over rated rows, pairs and spoiled copies together."""
    scores_VRA = np.empty((repeats, len(table.x_RF), len(ATTRIBUTES) + 1))
    won_VP = np.empty((repeats, len(table.group_P)))
    spoiled_VKR = np.empty((repeats, len(table.spoiled_KRF), len(table.x_RF)))
    for v in range(repeats):
        fold_R, fold_P = folds_of(table, folds, settings.seed + v)
        for k in range(folds):
            if say:
                say(f"repeat {v + 1} of {repeats}, fold {k + 1} of {folds}")
            head = fit(table, settings, fold_R != k, fold_P != k)
            held_R, held_P = fold_R == k, fold_P == k
            scores_VRA[v, held_R] = with_reward(head.predict(table.x_RF[held_R]))
            won_VP[v, held_P] = _wins(head, table.chosen_PF[held_P], table.rejected_PF[held_P])
            for i, x_RF in enumerate(table.spoiled_KRF.values()):
                spoiled_VKR[v, i, held_R] = _wins(head, table.x_RF[held_R], x_RF[held_R])
    rated = rated_outcomes(table, scores_VRA[:, :, -1])
    length = _compare(table.chosen_PF[:, _LENGTH], table.rejected_PF[:, _LENGTH])
    given = Outcomes(won_VP.mean(axis=0), length, table.group_P, np.zeros(len(length)))
    sound_R = table.y_RA[:, 0] >= 3
    spoiled = [
        Figure(
            kind,
            int(sound_R.sum()),
            float(spoiled_VKR[:, i, sound_R].mean()),
            *interval(spoiled_VKR[:, i, sound_R].mean(axis=0), table.group_R[sound_R]),
        )
        for i, kind in enumerate(table.spoiled_KRF)
    ]
    pairs = [
        rated.figure("rated pairs"),
        rated.where(rated.gap_P >= 2).figure("rated pairs, gap of 2 or more"),
    ]
    pairs += [given.figure("preference pairs")] if len(length) else []
    agree = np.where(rated.longer_P == 1, rated.win_P, 1 - rated.win_P)
    return Figures(
        tuple(pairs), _correlations(table, scores_VRA), tuple(spoiled), float(agree.mean()), rated
    )


def test_figures(head: Head, data: HumanData, name: str, seen: set[str]) -> Figure:
    """Accuracy of a finished head on pairs it never saw; prompts in `seen` are left out."""
    kept = HumanData(
        rated=[r for r in data.rated if r.group not in seen],
        pairs=[p for p in data.pairs if p.group not in seen],
    )
    table = table_of(kept, seed=0, spoiled=())
    reward_VR = with_reward(head.predict(table.x_RF))[None, :, -1]
    rated = rated_outcomes(table, reward_VR)
    length = _compare(table.chosen_PF[:, _LENGTH], table.rejected_PF[:, _LENGTH])
    win = _wins(head, table.chosen_PF, table.rejected_PF)
    both = Outcomes(
        np.concatenate([rated.win_P, win]),
        np.concatenate([rated.longer_P, length]),
        np.concatenate([rated.group_P, table.group_P]),
        np.concatenate([rated.gap_P, np.zeros(len(win))]),
    )
    return both.figure(name)


def folds_of(table: Table, folds: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fold of each rated row and of each pair, by prompt, evenly within both kinds of data."""
    rng = np.random.default_rng(seed)
    rated = sorted(set(table.group_R.tolist()))
    others = sorted(set(table.group_P.tolist()) - set(rated))
    fold: dict[str, int] = {}
    for names in (rated, others):
        fold.update({names[g]: i % folds for i, g in enumerate(rng.permutation(len(names)))})
    fold_R = np.array([fold[g] for g in table.group_R.tolist()], dtype=np.int64)
    return fold_R, np.array([fold[g] for g in table.group_P.tolist()], dtype=np.int64)


def rated_outcomes(table: Table, reward_VR: Floats) -> Outcomes:
    """Every two responses of one prompt that differ in human helpfulness, mean over V repeats."""
    y_RA, length_R = table.y_RA, table.x_RF[:, _LENGTH]
    members: dict[int, list[int]] = {}
    for i, prompt in enumerate(table.prompt_R.tolist()):
        members.setdefault(prompt, []).append(i)
    found = [(i, j) for ids in members.values() for n, i in enumerate(ids) for j in ids[n + 1 :]]
    a, b = np.array(found, dtype=np.int64).reshape(-1, 2).T
    gap = y_RA[a, 0] - y_RA[b, 0]
    better, worse = np.where(gap > 0, a, b)[gap != 0], np.where(gap > 0, b, a)[gap != 0]
    return Outcomes(
        win_P=_compare(reward_VR[:, better], reward_VR[:, worse]).mean(axis=0),
        longer_P=_compare(length_R[better], length_R[worse]),
        group_P=table.group_R[better],
        gap_P=np.abs(gap[gap != 0]),
    )


def _compare(left: Floats, right: Floats) -> Floats:
    return np.asarray((left > right) + 0.5 * (left == right), dtype=np.float64)


def _wins(head: Predictor, better_NF: Floats, worse_NF: Floats) -> Floats:
    if not len(better_NF):
        return np.empty(0)
    return _compare(*(with_reward(head.predict(x_NF))[:, -1] for x_NF in (better_NF, worse_NF)))


def interval(value_N: Floats, group_N: NDArray[np.str_], seed: int = 0) -> tuple[float, float]:
    """95% percentile bootstrap of the mean of N values, resampling whole prompts."""
    _, code_N = np.unique(group_N, return_inverse=True)
    sum_G, count_G = np.bincount(code_N, weights=value_N), np.bincount(code_N)
    draw_BG = np.random.default_rng(seed).integers(0, len(sum_G), (_DRAWS, len(sum_G)))
    mean_B = sum_G[draw_BG].sum(axis=1) / count_G[draw_BG].sum(axis=1)
    low, high = np.percentile(mean_B, [2.5, 97.5])
    return float(low), float(high)


def _correlations(table: Table, scores_VRA: Floats) -> tuple[Figure, ...]:
    """Pearson r of each attribute with the human rating, interval over prompts."""
    groups, code_R = np.unique(table.group_R, return_inverse=True)
    rows: Sequence[NDArray[np.int64]] = [np.flatnonzero(code_R == g) for g in range(len(groups))]
    rng, figures = np.random.default_rng(0), []
    draws = [
        np.concatenate([rows[g] for g in rng.integers(0, len(rows), len(rows))]) for _ in range(300)
    ]
    for i, name in enumerate(ATTRIBUTES):
        human_R, score_VR = table.y_RA[:, i], scores_VRA[:, :, i]
        value = float(np.mean([np.corrcoef(human_R, s_R)[0, 1] for s_R in score_VR]))
        sampled = [np.corrcoef(human_R[d], score_VR.mean(axis=0)[d])[0, 1] for d in draws]
        low, high = np.percentile(sampled, [2.5, 97.5])
        figures.append(Figure(name, len(human_R), value, float(low), float(high)))
    return tuple(figures)
