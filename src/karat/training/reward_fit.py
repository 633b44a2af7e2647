"""Fits a reward head: a linear map and a forest on ratings, preferences and spoiled responses.

Preferences say nothing on a 0–4 scale, so they join in a second round as pseudo-ratings: the head
of the round before places both responses, and they are moved apart around their midpoint in the
order a human chose. On held-out HelpSteer2 prompts, pairs and spoiled copies together were worth
five points of pair accuracy over the same head on ratings alone (`benchmarks/reward_head.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karat.errors import RecipeError
from karat.rewards import features
from karat.rewards.head import Floats, Forest, Head, Linear
from karat.row import Message
from karat.training.corruptions import KINDS, TRAINED, ratings_of, spoil
from karat.training.ratings import HumanData, Pair

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a head is fitted. Weights are relative to a human-rated row, which weighs 1."""

    trees: int = 100
    leaf: int = 8
    tree_features: float = 0.33
    ridge: float = 300.0
    rounds: int = 2
    pair_weight: float = 1.0
    pair_shift: tuple[float, ...] = (0.6, 0.6, 0.3, 0.0, 0.0)
    spoiled_weight: float = 0.15
    spoiled_per_row: int = 2
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Table:
    """Human data as features: R rated rows with K spoiled copies each, and P pairs.

    Rows of one `prompt_R` answer the same conversation; those of one `group` begin with the same
    user turn, and never straddle a split.
    """

    x_RF: Floats
    y_RA: Floats
    prompt_R: NDArray[np.int64]
    group_R: NDArray[np.str_]
    spoiled_KRF: dict[str, Floats]
    chosen_PF: Floats
    rejected_PF: Floats
    group_P: NDArray[np.str_]


def table_of(data: HumanData, seed: int, spoiled: Sequence[str] = KINDS) -> Table:
    """Compute the features of everything once; about a millisecond per response."""
    width = len(features.NAMES)
    rows: list[Floats] = []
    for i, item in enumerate(data.rated):
        rng = random.Random(f"{seed}:{i}")
        others = [
            o for o in rng.sample(data.rated, min(20, len(data.rated))) if o.group != item.group
        ]
        other = others[0].response if others else ""
        prompt = item.prompt[-1].content if item.prompt else ""
        copies = spoil(item.response, prompt, other, rng)
        rows.append(features.features(item.prompt, [item.response, *(copies[k] for k in spoiled)]))
    x_RKF = np.array(rows) if rows else np.empty((0, 1 + len(spoiled), width))
    pairs_P2F = pair_features(data.pairs)
    prompts: dict[tuple[Message, ...], int] = {}
    return Table(
        x_RF=x_RKF[:, 0],
        y_RA=np.array([item.ratings for item in data.rated], dtype=np.float64).reshape(-1, 5),
        prompt_R=np.array([prompts.setdefault(item.prompt, len(prompts)) for item in data.rated]),
        group_R=np.array([item.group for item in data.rated], dtype=np.str_),
        spoiled_KRF={kind: x_RKF[:, k] for k, kind in enumerate(spoiled, start=1)},
        chosen_PF=pairs_P2F[:, 0],
        rejected_PF=pairs_P2F[:, 1],
        group_P=np.array([item.group for item in data.pairs], dtype=np.str_),
    )


def pair_features(pairs: Sequence[Pair]) -> Floats:
    """x_P2F: the features of the chosen and of the rejected response of each pair."""
    if not pairs:
        return np.empty((0, 2, len(features.NAMES)))
    return np.array([features.features(p.prompt, [p.chosen, p.rejected]) for p in pairs])


def fit_head(table: Table, settings: Settings, rated: Mask, paired: Mask) -> Head:
    """Fit on the rows and pairs that the masks select."""
    x_RF, y_RA, weight_R = _rated_rows(table, settings, rated)
    head = _fit(x_RF, y_RA, weight_R, settings)
    if not paired.any():
        return head
    chosen_PF, rejected_PF = table.chosen_PF[paired], table.rejected_PF[paired]
    x_all, weight_all = (
        np.concatenate([x_RF, chosen_PF, rejected_PF]),
        np.full(2 * paired.sum(), settings.pair_weight),
    )
    shift_A = np.array(settings.pair_shift)
    for _ in range(settings.rounds):
        middle_PA = (head.predict(chosen_PF) + head.predict(rejected_PF)) / 2
        y_all = np.concatenate([y_RA, middle_PA + shift_A, middle_PA - shift_A])
        head = _fit(x_all, y_all, np.concatenate([weight_R, weight_all]), settings)
    return head


def _rated_rows(table: Table, settings: Settings, rated: Mask) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(settings.seed)
    kinds = [kind for kind in TRAINED if kind in table.spoiled_KRF]
    per_row = min(settings.spoiled_per_row, len(kinds)) if settings.spoiled_weight else 0
    x, y = [table.x_RF[rated]], [table.y_RA[rated]]
    for r in np.flatnonzero(rated):
        for k in rng.choice(len(kinds), per_row, replace=False) if per_row else ():
            x.append(table.spoiled_KRF[kinds[k]][r][None])
            y.append(ratings_of(kinds[k], table.y_RA[r])[None])
    human = int(rated.sum())
    x_all, y_all = np.concatenate(x), np.concatenate(y)
    weight = np.where(np.arange(len(x_all)) < human, 1.0, settings.spoiled_weight)
    return x_all, y_all, weight


def _fit(x_NF: Floats, y_NA: Floats, weight_N: Floats, settings: Settings) -> Head:
    trees = sklearn_forest(settings)
    trees.fit(x_NF, y_NA, sample_weight=weight_N)
    return Head(fit_linear(x_NF, y_NA, weight_N, settings.ridge), forest_of(trees), {})


def sklearn_forest(settings: Settings) -> Any:
    """The unfitted scikit-learn forest of these settings.

    Raises:
        RecipeError: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import ExtraTreesRegressor
    except ImportError as error:
        raise RecipeError(
            "training a reward head needs scikit-learn: pip install 'karat[reward]'"
        ) from error
    return ExtraTreesRegressor(
        settings.trees,
        min_samples_leaf=settings.leaf,
        max_features=settings.tree_features,
        random_state=settings.seed,
        n_jobs=1,
    )


def fit_linear(x_NF: Floats, y_NA: Floats, weight_N: Floats, ridge: float) -> Linear:
    """Weighted ridge regression on clipped, standardised features, in closed form."""
    low_F, high_F = np.percentile(x_NF, [1, 99], axis=0)
    clipped_NF = np.clip(x_NF, low_F, high_F)
    scale_F = clipped_NF.std(axis=0) + 1e-9
    none = np.zeros((x_NF.shape[1], y_NA.shape[1]))
    mean_F = np.asarray(clipped_NF.mean(axis=0), dtype=np.float64)
    shape = Linear(low_F, high_F, mean_F, scale_F, none, none[0])
    z_NF = shape.standardise(x_NF)
    z_mean_F = np.average(z_NF, axis=0, weights=weight_N)
    y_mean_A = np.average(y_NA, axis=0, weights=weight_N)
    centred_NF = z_NF - z_mean_F
    gram_FF = centred_NF.T @ (centred_NF * weight_N[:, None]) + ridge * np.eye(x_NF.shape[1])
    right_FA = centred_NF.T @ ((y_NA - y_mean_A) * weight_N[:, None])
    weight_FA = np.asarray(np.linalg.solve(gram_FF, right_FA), dtype=np.float64)
    bias_A = y_mean_A - z_mean_F @ weight_FA
    return Linear(low_F, high_F, mean_F, scale_F, weight_FA, bias_A)


def forest_of(trees: Any) -> Forest:
    """A fitted scikit-learn forest as arrays that predict the same without scikit-learn."""
    parts = [_tree_arrays(estimator.tree_) for estimator in trees.estimators_]
    sizes = [len(part[0]) for part in parts]
    roots_T = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    return Forest(
        roots_T=roots_T,
        feature_K=np.concatenate([p[0] for p in parts]).astype(np.int32),
        threshold_K=np.concatenate([p[1] for p in parts]),
        child_K=np.concatenate([p[2] + r for p, r in zip(parts, roots_T, strict=True)]).astype(
            np.int32
        ),
        value_KA=np.concatenate([p[3] for p in parts]),
        depth=max(int(e.tree_.max_depth) for e in trees.estimators_),
    )


def _tree_arrays(tree: Any) -> tuple[NDArray[Any], Floats, NDArray[Any], Floats]:
    """Nodes reordered so that siblings are neighbours, the left one first."""
    order, position = [0], 0
    child = np.empty(tree.node_count, dtype=np.int64)
    while position < len(order):
        node = order[position]
        leaf = tree.children_left[node] < 0
        child[position] = position if leaf else len(order)
        if not leaf:
            order += [tree.children_left[node], tree.children_right[node]]
        position += 1
    leaf_K = tree.children_left[order] < 0
    feature_K = np.where(leaf_K, 0, tree.feature[order])
    threshold_K = np.where(leaf_K, np.inf, tree.threshold[order])
    value_KA = np.where(leaf_K[:, None], tree.value[order][:, :, 0], 0.0)
    return feature_K, threshold_K, child, value_KA


class Predictor(Protocol):
    """Anything that turns features x_NF into ratings y_NA, 0–4."""

    def predict(self, x_NF: Floats, /) -> Floats:
        """y_NA for x_NF."""
        ...


Fit = Callable[[Table, Settings, Mask, Mask], Predictor]
