"""The parts of a reward head: a linear map, a forest of regression trees, and what corrects them.

Each holds M members, fitted on parts of the prompts, side by side in one array: what they agree on
is the score, what they disagree on its uncertainty, and a hundred trees cost the same whether they
belong to one member or to ten. A row's numbers never hang on the rows beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

_Z_LIMIT = 3.0
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Standard:
    """Columns clipped to `low_F`..`high_F`, centred, and standardised to ±3 deviations.

    Clipping bounds what a text unlike any seen in training can do to the score.
    """

    low_F: Floats
    high_F: Floats
    mean_F: Floats
    scale_F: Floats

    def __call__(self, x_NF: Floats) -> Floats:
        """z_NF, in deviations."""
        z_NF = (np.clip(x_NF, self.low_F, self.high_F) - self.mean_F) / self.scale_F
        return np.asarray(np.clip(z_NF, -_Z_LIMIT, _Z_LIMIT), dtype=np.float64)


def standard_of(x_NF: Floats) -> Standard:
    """Clipped at the first and the ninety-ninth percentile of these rows."""
    low_F, high_F = np.percentile(x_NF, [1, 99], axis=0)
    clipped_NF = np.clip(x_NF, low_F, high_F)
    return Standard(low_F, high_F, clipped_NF.mean(axis=0), clipped_NF.std(axis=0) + 1e-9)


@dataclass(frozen=True, slots=True)
class Linear:
    """M linear maps from F standardised columns to A outputs."""

    weight_MFA: Floats
    bias_MA: Floats

    def predict(self, z_NF: Floats) -> Floats:
        """y_NMA."""
        members, width, outputs = self.weight_MFA.shape
        flat = self.weight_MFA.transpose(1, 0, 2).reshape(width, members * outputs)
        # One row at a time: a product of the whole matrix rounds differently for different N, and a
        # score must not depend on what else was graded with it.
        rows = [z_F @ flat for z_F in z_NF]
        return np.array(rows).reshape(-1, members, outputs) + self.bias_MA


@dataclass(frozen=True, slots=True)
class Forest:
    """Regression trees laid end to end: node i goes to `child[i]`, or one further if x > threshold.

    A leaf is its own child with an infinite threshold, so every response walks `depth` steps
    through every tree at once and no step asks who has arrived. The trees of a member stand
    together, and each of the `members` has as many.
    """

    roots_T: Ints
    feature_K: Ints
    threshold_K: Floats
    child_K: Ints
    value_KA: Floats
    depth: int
    members: int = 1

    def predict(self, x_NF: Floats) -> Floats:
        """y_NMA: the mean over the trees of each member."""
        # scikit-learn compares in float32, and so must this, to take the same turns.
        x32_NF = x_NF.astype(np.float32)
        blocks = [self._block(x32_NF[i : i + _BLOCK]) for i in range(0, len(x_NF), _BLOCK)]
        shape = (0, self.members, self.value_KA.shape[1])
        return np.concatenate(blocks) if blocks else np.empty(shape)

    def _block(self, x_NF: NDArray[np.float32]) -> Floats:
        rows_N1 = np.arange(len(x_NF))[:, None]
        node_NT = np.broadcast_to(self.roots_T, (len(x_NF), len(self.roots_T)))
        for _ in range(self.depth):
            right_NT = x_NF[rows_N1, self.feature_K[node_NT]] > self.threshold_K[node_NT]
            node_NT = self.child_K[node_NT] + right_NT
        value_NTA = self.value_KA[node_NT]
        trees = len(self.roots_T) // self.members
        value_NMTA = value_NTA.reshape(len(x_NF), self.members, trees, value_NTA.shape[2])
        return np.asarray(value_NMTA.mean(axis=2), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Line:
    """A straight recalibration of A outputs: slope·y + intercept."""

    slope_A: Floats
    intercept_A: Floats

    def __call__(self, y_NA: Floats) -> Floats:
        """The recalibrated outputs, in any shape that ends in A."""
        return np.asarray(y_NA * self.slope_A + self.intercept_A, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Curve:
    """What a reward pays for length: `height_G` at `log_chars_G`, straight between and level
    beyond."""

    log_chars_G: Floats
    height_G: Floats

    def __call__(self, log_chars_N: Floats) -> Floats:
        """The height at each length."""
        return np.asarray(np.interp(log_chars_N, self.log_chars_G, self.height_G))


def same_line(outputs: int) -> Line:
    """A recalibration that changes nothing."""
    return Line(np.ones(outputs), np.zeros(outputs))
