"""Voices: what variety on purpose did: which share of rows each value has, and what it did to the
reward.

Every candidate is counted, chosen or not, so that the effect is of the voice and not of the choice.
Each value is set against all others of its axis, with an interval; of many values some look
effective by chance, so the terminal shows the clearest ones only and says how many were compared.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import orjson
from rich.table import Table
from rich.text import Text

from karat import parquet
from karat.columns import READ_ROWS, score_values
from karat.curation.moments import Moments
from karat.intervals import difference
from karat.report.cells import clean, grid
from karat.report.grading import ASKED, DECIDED, DRAWN, ON
from karat.rundir import Run
from karat.steps._variety import Axis

AXES = (*get_args(Axis), "task")
MOST_VALUES = 50  # of an axis; a column with more is no voice
SHOWN = 6
COUNTED = {"items": "items listed"}  # what a count is called where its name alone says too little
ELSEWHERE = (DECIDED, ASKED, DRAWN, ON)  # how counts begin that grading tells of


class _Value:
    """Rows with one value of one axis."""

    def __init__(self) -> None:
        self.rows = self.accepted = 0
        self.scores = Moments()  # of each graded row, the mean of its candidates


def voices(run: Run, ranking: str | None) -> dict[str, list[dict[str, Any]]]:
    """By axis, its values: rows, accepted ones, their share of all accepted, effect on the reward.

    `effect` is the mean of the rows' mean scores by `ranking`, less that of the axis' other rows,
    on the reward's own scale, with 95% limits; None where it cannot be told. Axes of answers begin
    with `answer.`.
    """
    found: dict[str, dict[str, _Value]] = {}
    accepted = 0
    for path, is_accepted in ((run.accepted_file, True), (run.dropped_file, False)):
        with parquet.Parts(path) as file:
            for batch in file.iter_batches(READ_ROWS, columns=["meta", "responses"]):
                means = _row_means(batch.column("responses"), ranking)
                accepted += batch.num_rows if is_accepted else 0
                for text, mean in zip(batch.column("meta").to_pylist(), means, strict=True):
                    for axis, value in _spoken(orjson.loads(text)):
                        one = found.setdefault(axis, {}).setdefault(value, _Value())
                        one.rows += 1
                        one.accepted += is_accepted
                        if np.isfinite(mean):
                            one.scores.add(float(mean))
    kept = {axis: values for axis, values in found.items() if 1 < len(values) <= MOST_VALUES}
    return {axis: _axis(values, accepted) for axis, values in sorted(kept.items())}


def _spoken(meta: dict[str, Any]) -> list[tuple[str, str]]:
    """(axis, value) of one row."""
    answer = meta.get("answer_voice")
    own = [(axis, meta[axis]) for axis in AXES if isinstance(meta.get(axis), str)]
    if isinstance(answer, dict):
        own += [
            (f"answer.{axis}", value)
            for axis, value in answer.items()
            if axis in AXES and isinstance(value, str)
        ]
    return own


def _row_means(responses: Any, ranking: str | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    """mean_P: of each row's graded candidates; NaN where none is graded."""
    counts_P = np.diff(responses.offsets.to_numpy())
    if ranking is None:
        return np.full(len(counts_P), np.nan)
    score_R = score_values(responses.flatten().field("scores"), ranking)
    owner_R = np.repeat(np.arange(len(counts_P)), counts_P)
    some = np.isfinite(score_R)
    sums_P = np.bincount(owner_R[some], score_R[some], minlength=len(counts_P))
    graded_P = np.bincount(owner_R[some], minlength=len(counts_P))
    with np.errstate(invalid="ignore"):
        means: np.ndarray[Any, np.dtype[np.float64]] = sums_P / graded_P
    return means


def _axis(values: dict[str, _Value], accepted: int) -> list[dict[str, Any]]:
    entries = []
    total = Moments()
    for one in values.values():
        if one.scores.n:
            total.merge(one.scores.n, one.scores.mean, one.scores.m2)
    for name, one in sorted(values.items(), key=lambda item: (-item[1].rows, item[0])):
        effect = difference(one.scores.sample, total.without(one.scores).sample)
        entries.append(
            {
                "value": name,
                "rows": one.rows,
                "accepted": one.accepted,
                "share": one.accepted / accepted if accepted else 0.0,
                "score": one.scores.mean if one.scores.n else None,
                "effect": None
                if effect is None
                else {"value": effect.value, "low": effect.low, "high": effect.high},
            }
        )
    return entries


def voice_table(report: dict[str, Any]) -> list[Table | Text]:
    """The voices whose effect on the reward is clear, and a line on all of them.

    Nothing where no effect could be told, as where nothing was graded.
    """
    told = [(axis, e) for axis, entries in report.get("variety", {}).items() for e in entries]
    tested = [(axis, e) for axis, e in told if e["effect"] is not None]
    clear = [(a, e) for a, e in tested if e["effect"]["low"] > 0 or e["effect"]["high"] < 0]
    if not tested:
        return []
    table = grid("voice", "rows", "accepted", "share", "effect on reward", "95%")
    clear.sort(key=lambda pair: -abs(pair[1]["effect"]["value"]))
    for axis, e in clear[:SHOWN]:
        effect = e["effect"]
        table.add_row(
            clean(f"{axis}: {e['value']}", 80), f"{e['rows']:,}", f"{e['accepted']:,}",
            f"{e['share']:.0%}", f"{effect['value']:+.2f}",
            f"{effect['low']:+.2f} … {effect['high']:+.2f}",
        )  # fmt: skip
    by_chance = len(tested) * 0.05
    axes = len(report["variety"])
    line = (
        f"{len(told)} values on {axes} axes; {len(clear)} of {len(tested)} have a clear effect on "
        f"the reward, where chance alone would show about {by_chance:.0f}; all are in report.json"
    )
    return [table, Text(line)] if clear else [Text(line)]


def yields(report: dict[str, Any]) -> list[Text]:
    """A line for each step that counted what it wrote."""
    return [
        clean(f"{step['label']}: {counted}")
        for step in report["funnel"]
        if (counted := _in_words(step.get("notes", {}).get("counts", {})))
    ]


def _in_words(counts: dict[str, int]) -> str:
    """Counts called `of: what` stand together: "refusal: 17 failed, 983 passed"."""
    groups: dict[str, list[str]] = {}
    for name, n in counts.items():
        if not name.startswith(ELSEWHERE):
            of, colon, what = COUNTED.get(name, name).rpartition(": ")
            groups.setdefault(of + colon, []).append(f"{n:,} {what}")
    return "; ".join(of + ", ".join(parts) for of, parts in groups.items())
