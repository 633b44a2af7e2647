"""Forests: grown by scikit-learn, and laid out as arrays that predict the same without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karat.errors import RecipeError
from karat.rewards.head_parts import Floats, Forest


def sklearn_forest(trees: int, leaf: int, tree_features: float, seed: int) -> Any:
    """An unfitted scikit-learn forest.

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
        trees,
        min_samples_leaf=leaf,
        max_features=tree_features,
        random_state=seed,
        n_jobs=1,
    )


def forest_of(members: Sequence[Sequence[Any]]) -> Forest:
    """Fitted scikit-learn forests as one `Forest`: those of a member add up.

    Each member has as many trees. A `Forest` gives the mean of a member's trees, so where forests
    add up the leaves are scaled.
    """
    trees = [[tree for f in forests for tree in f.estimators_] for forests in members]
    scales = [
        len(trees[m]) / len(f.estimators_)
        for m, forests in enumerate(members)
        for f in forests
        for _ in f.estimators_
    ]
    grown = [estimator.tree_ for own in trees for estimator in own]
    parts = [_tree_arrays(tree, scale) for tree, scale in zip(grown, scales, strict=True)]
    sizes = [len(part[0]) for part in parts]
    roots_T = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    children = [part[2] + root for part, root in zip(parts, roots_T, strict=True)]
    return Forest(
        roots_T=roots_T,
        feature_K=np.concatenate([part[0] for part in parts]).astype(np.int32),
        threshold_K=np.concatenate([part[1] for part in parts]),
        child_K=np.concatenate(children).astype(np.int32),
        value_KA=np.concatenate([part[3] for part in parts]),
        depth=max(max(int(tree.max_depth) for tree in grown), 1),
        members=len(members),
    )


def _tree_arrays(tree: Any, scale: float) -> tuple[NDArray[Any], Floats, NDArray[Any], Floats]:
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
    value_KA = np.where(leaf_K[:, None], scale * tree.value[order][:, :, 0], 0.0)
    return feature_K, threshold_K, child, value_KA
