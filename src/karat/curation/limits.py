"""A statistic of texts with the limits it is held to, and what it looked like over a whole run.

Every rule of `filters` comes down to this: a number of each text, the least and the most that
passes, and the name that a drop gives as its reason. A number that cannot be had (the mean word
length of a text without words) is NaN, and fails nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

Kind = Literal["share", "count"]
_EDGES: dict[Kind, Floats] = {
    "share": np.array([0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, np.inf]),
    "count": np.array([0, 1, 2, 3, 5, 10, 30, 100, 300, 1000, 10_000, np.inf]),
}


class Statistic(msgspec.Struct):
    """values: the statistic of each text. A text fails below `low` or above `high`.

    `shown`, where given, says in words what was found in a text that fails, in place of its value.
    `kind` is how it is counted for the report: as a share, or as a number.
    """

    name: str
    values: Floats
    low: float | None = None
    high: float | None = None
    kind: Kind = "count"
    shown: Callable[[int], str] | None = None

    def fails(self) -> Flags:
        """Whether each text fails; never where the value is NaN or there is no limit."""
        failed = np.zeros(len(self.values), np.bool_)
        if self.low is not None:
            failed |= self.values < self.low
        if self.high is not None:
            failed |= self.values > self.high
        return failed

    def reason(self, text: int) -> str:
        """What is wrong with a text that fails: "mean word length (12.3)"."""
        if self.shown is not None:
            return f"{self.name} ({self.shown(text)})"
        value = self.values[text]
        return f"{self.name} ({value:.3g})" if value < 1000 else f"{self.name} ({value:.0f})"


class Tally:
    """Of one rule, what was seen so far. Two tallies of parts add up to that of the whole."""

    def __init__(self) -> None:
        self.failed = 0
        self._tests: dict[str, tuple[Kind, int, NDArray[np.int64]]] = {}

    def add(self, tests: list[Statistic]) -> Flags:
        """Counts one batch; gives what fails in it."""
        failed = np.zeros(len(tests[0].values), np.bool_) if tests else np.zeros(0, np.bool_)
        for test in tests:
            fails = test.fails()
            failed |= fails
            told = test.values[~np.isnan(test.values)]
            places = np.searchsorted(_EDGES[test.kind], told, "right") - 1
            counts = np.bincount(places.clip(0), minlength=len(_EDGES[test.kind]) - 1)
            self._join(test.name, test.kind, int(fails.sum()), counts)
        self.failed += int(failed.sum())
        return failed

    def merge(self, other: Tally) -> None:
        """Adds what another part of the run saw."""
        self.failed += other.failed
        for name, (kind, fails, counts) in other._tests.items():
            self._join(name, kind, fails, counts)

    def _join(self, name: str, kind: Kind, fails: int, counts: NDArray[np.int64]) -> None:
        if name in self._tests:
            _, before, held = self._tests[name]
            fails, counts = before + fails, held + counts
        self._tests[name] = (kind, fails, counts)

    def notes(self) -> dict[str, Any]:
        """How many texts failed, by the rule and by each of its tests, and a histogram of each:
        [[from, texts] …], a bin ending where the next begins; bins without texts are left out."""
        tests = {
            name: {
                "failed": fails,
                "histogram": [
                    [float(edge), int(count)]
                    for edge, count in zip(_EDGES[kind], counts, strict=False)
                    if count
                ],
            }
            for name, (kind, fails, counts) in self._tests.items()
        }
        return {"failed": self.failed, "tests": tests}
