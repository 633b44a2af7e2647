"""What changed between two data sets: rows that came, went or are answered otherwise, and why.

Rows are matched by what they ask (all turns, up to case and white space), not by their ids or their
place: two runs of one recipe, a file and what curation left of it, two versions of a set from the
Hub are compared alike. Where one side is a run, its dropped rows say why a row is missing there.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat import parquet
from karat.curation.moments import Moments
from karat.intervals import difference
from karat.report.side import SHARES, Floats, Keys, Side, read_side, reasons
from karat.rundir import Run

MOST_VALUES = 12  # of one of them
MOST_REASONS = 12


class Differences(msgspec.Struct):
    """`both` prompts stand on both sides, `answered` of them with another answer; `gone` are rows
    of A only, by why B dropped them, `new` rows of B only, by why A had. `figures`: by name, the
    mean on each side and the difference with its 95% limits; `shares`: by column and value, both
    shares."""

    a: str
    b: str
    rows: tuple[int, int]
    both: int
    answered: int
    gone: dict[str, int]
    new: dict[str, int]
    figures: dict[str, dict[str, Any]]
    shares: dict[str, dict[str, tuple[float, float]]]

    def as_tree(self) -> dict[str, Any]:
        """For programs."""
        tree: dict[str, Any] = msgspec.to_builtins(self)
        return tree


def differences(a: Path, b: Path) -> Differences:
    """What changed from `a` to `b`: runs, or files and folders that `read` can read.

    About 100 bytes a row. Raises: RecipeError.
    """
    return between(read_side(a), read_side(b), _dropped(a), _dropped(b))


def between(
    one: Side, other: Side, dropped: Path | None = None, others: Path | None = None
) -> Differences:
    """The same of two sides that are read; `dropped` and `others` are the files that say why a row
    is missing on the first and on the second. Raises: RecipeError."""
    places = matched(one.prompts_N, other.prompts_N)
    gone = one.prompts_N[~np.isin(one.prompts_N, other.prompts_N)]
    new = other.prompts_N[~np.isin(other.prompts_N, one.prompts_N)]
    return Differences(
        one.name, other.name, (one.rows, other.rows), len(places),
        int((one.answers_N[places[:, 0]] != other.answers_N[places[:, 1]]).sum()),
        _why(gone, others), _why(new, dropped),
        {name: _change(one, other, name) for name in sorted({*one.numbers, *other.numbers})},
        {name: both for name in SHARES if (both := _both(one.shares[name], other.shares[name]))},
    )  # fmt: skip


def matched(one: Keys, other: Keys) -> NDArray[np.int64]:
    """(place in one, place in the other) of every prompt that both have, in the first one's order.
    Of a prompt that stands several times on a side, the last counts."""
    (keys, mine), (others, theirs) = _lasts(one), _lasts(other)
    _, at, there = np.intersect1d(keys, others, assume_unique=True, return_indices=True)
    places: NDArray[np.int64] = np.stack([mine[at], theirs[there]], axis=1)
    return places[np.argsort(places[:, 0])]


def _lasts(keys: Keys) -> tuple[Keys, NDArray[np.int64]]:
    found, place = np.unique(keys[::-1], return_index=True)
    return found, len(keys) - 1 - place


def _dropped(path: Path) -> Path | None:
    """Where a run says why it dropped rows; None for what is no run."""
    if not (path / "recipe.yaml").is_file():
        return None
    file = Run.open(path).dropped_file
    return file if parquet.exists(file) else None


def _why(missing: Keys, dropped: Path | None) -> dict[str, int]:
    """Why these rows are not in the other data: as its run says, if it is one."""
    if not len(missing):
        return {}
    counts = reasons(dropped, missing) if dropped is not None else Counter[str]()
    told = dict(counts.most_common(MOST_REASONS))
    if others := counts.total() - sum(told.values()):
        told["other reasons"] = others
    if unknown := len(missing) - counts.total():
        told["not there"] = unknown
    return told


def _change(one: Side, other: Side, name: str) -> dict[str, Any]:
    """Mean on each side, and the difference with its limits where there is enough of both."""
    before, after = (moments(side.numbers.get(name)) for side in (one, other))
    found = difference(after.sample, before.sample)
    return {
        "a": before.mean if before.n else None,
        "b": after.mean if after.n else None,
        "change": None if found is None else [found.value, found.low, found.high],
    }


def moments(values: Floats | None) -> Moments:
    """Of the numbers that are there."""
    known = values[np.isfinite(values)] if values is not None else np.zeros(0)
    found = Moments()
    if len(known):
        mean = float(known.mean())
        with np.errstate(over="ignore"):  # a reward may give 1e300, whose square is none
            found.merge(len(known), mean, float(((known - mean) ** 2).sum()))
    return found


def _both(one: Counter[str], other: Counter[str]) -> dict[str, tuple[float, float]]:
    """Shares of the values that are most frequent on either side."""
    totals = max(1, one.total()), max(1, other.total())
    values = [value for value, _ in (one + other).most_common(MOST_VALUES)]
    return {value: (one[value] / totals[0], other[value] / totals[1]) for value in values}
