"""Intervals of measures of variety, from half samples drawn without replacement.

A bootstrap sample repeats texts, and repetition is what these measures are about: it would shift
every one of them down, and the interval would miss the figure it belongs to. A half sample repeats
nothing. Its own figure is off as well, since every measure moves with the number of texts, but its
spread is not: the variance over subsets of r of n texts, times r / (n - r), estimates the variance
of the figure of all n. At one half that factor is 1.

Source: the delete-d jackknife: Shao and Wu 1989 (Annals of Statistics 17, 1176–1197), whose result
holds for figures too rough for the ordinary jackknife.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

DRAWS = 100
LEVEL = 0.95
LEAST = 8  # texts; of fewer, halves say nothing


def half_sample_interval(
    figure: Callable[[NDArray[np.int64]], float], texts: int, value: float
) -> tuple[float, float] | None:
    """Where the figure of `texts` texts lies, at 95%; None for fewer than eight texts.

    `figure` is given the sorted places of a half; `value` is the figure of all. Draws are the same
    every time. How far off: other texts of the same kind, as many as these.
    """
    if texts < LEAST:
        return None
    rng = np.random.default_rng(0)
    half = texts // 2
    drawn = [figure(np.sort(rng.permutation(texts)[:half])) for _ in range(DRAWS)]
    error = float(np.std(drawn, ddof=1)) * (half / (texts - half)) ** 0.5
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
    return value - reach, value + reach
