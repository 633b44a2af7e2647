"""What changed between two data sets: rows that came, went or are answered otherwise, and why.

Rows are matched by what they ask (all turns, up to case and white space), not by their ids or their
place: two runs of one recipe, a file and what curation left of it, two versions of a set from the
Hub are compared alike. Where one side is a run, its dropped rows say why a row is missing there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.moments import Moments
from karat.curation.shingles import digests, normalise
from karat.intervals import difference
from karat.report.survey_source import own_file, read_foreign
from karat.row import Response, Row
from karat.rundir import Run
from karat.stage import read_rows
from karat.table import plain

AT_ONCE = 1024
SHARES = ("source", "model", "task", "topic", "difficulty", "split")  # whose shares are compared
MOST_VALUES = 12  # of one of them
MOST_REASONS = 12
Keys = NDArray[np.uint64]


class Side(NamedTuple):
    """One data set: what it asks and answers by digest, in file order, and its figures."""

    name: str
    prompts: Keys
    answers: Keys
    figures: dict[str, Moments]
    shares: dict[str, Counter[str]]


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

    About 60 bytes a row. Raises: RecipeError.
    """
    one, other = _side(a), _side(b)
    first = dict(zip(one.prompts.tolist(), one.answers.tolist(), strict=True))
    shared = [(first[p], q) for p, q in _pairs(other) if p in first]
    gone = one.prompts[~np.isin(one.prompts, other.prompts)]
    new = other.prompts[~np.isin(other.prompts, one.prompts)]
    return Differences(
        one.name, other.name, (len(one.prompts), len(other.prompts)), len(shared),
        sum(p != q for p, q in shared), _why(gone, b), _why(new, a),
        {name: _change(one, other, name) for name in sorted({*one.figures, *other.figures})},
        {name: both for name in SHARES if (both := _both(one.shares[name], other.shares[name]))},
    )  # fmt: skip


def _pairs(side: Side) -> Iterator[tuple[int, int]]:
    """(prompt, answer), each prompt once."""
    return iter(dict(zip(side.prompts.tolist(), side.answers.tolist(), strict=True)).items())


def _side(path: Path) -> Side:
    file = own_file(path)
    prompts, answers = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    figures: dict[str, Moments] = {}
    shares: dict[str, Counter[str]] = {name: Counter() for name in SHARES}
    rows = _live(read_rows(file) if file else read_foreign(path))
    while part := list(islice(rows, AT_ONCE)):
        chosen = [(row.kept() or [Response("")])[0] for row in part]
        prompts.append(_digests(_asked(row) for row in part))
        answers.append(_digests(response.content for response in chosen))
        for row, response in zip(part, chosen, strict=True):
            _measure(row, response, figures, shares)
    return Side(str(path), np.concatenate(prompts), np.concatenate(answers), figures, shares)


def _live(rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if row.dropped is None)


def _asked(row: Row) -> str:
    return "\n".join(m.content for m in row.messages if m.role != "system")


def _digests(texts: Iterable[str]) -> Keys:
    found: Keys = digests(normalise(pa.array([plain(text) for text in texts], pa.string())))
    return found


def _measure(
    row: Row, response: Response, figures: dict[str, Moments], shares: dict[str, Counter[str]]
) -> None:
    found = {
        "words of the prompt": float(len(_asked(row).split())),
        "words of the answer": float(len(response.content.split())),
        "responses a row": float(len(row.responses)),
        **response.scores,
    }
    for name, value in found.items():
        figures.setdefault(name, Moments()).add(value)
    told = {"source": row.source, "model": response.model or "given", **row.meta}
    for name in SHARES:
        if isinstance(said := told.get(name), str):
            shares[name][said] += 1


def _why(missing: Keys, where: Path) -> dict[str, int]:
    """Why these rows are not in the data at `where`: as its run says, if it is one."""
    if not len(missing):
        return {}
    counts: Counter[str] = Counter()
    if (where / "recipe.yaml").is_file() and Run.open(where).dropped_file.is_file():
        left = set(missing.tolist())
        rows = read_rows(Run.open(where).dropped_file)
        while part := list(islice(rows, AT_ONCE)):
            for row, key in zip(part, _digests(_asked(r) for r in part).tolist(), strict=True):
                if key in left:
                    left.discard(key)
                    counts[(row.dropped or "").partition(" (")[0]] += 1
    reasons = dict(counts.most_common(MOST_REASONS))
    if others := counts.total() - sum(reasons.values()):
        reasons["other reasons"] = others
    if unknown := len(missing) - counts.total():
        reasons["not there"] = unknown
    return reasons


def _change(one: Side, other: Side, name: str) -> dict[str, Any]:
    """Mean on each side, and the difference with its limits where there is enough of both."""
    before, after = (side.figures.get(name, Moments()) for side in (one, other))
    found = difference(after.sample, before.sample)
    return {
        "a": before.mean if before.n else None,
        "b": after.mean if after.n else None,
        "change": None if found is None else [found.value, found.low, found.high],
    }


def _both(one: Counter[str], other: Counter[str]) -> dict[str, tuple[float, float]]:
    """Shares of the values that are most frequent on either side."""
    totals = max(1, one.total()), max(1, other.total())
    values = [value for value, _ in (one + other).most_common(MOST_VALUES)]
    return {value: (one[value] / totals[0], other[value] / totals[1]) for value in values}
