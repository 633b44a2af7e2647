"""Best of k for a run: what `meter` found, or else what its candidates say by themselves.

Every run that graded several answers to a prompt has paid for the whole curve already. Where its
recipe has no `meter`, the curve is worked out here from the scores in its rows, a part of them
where they are many: a hundred thousand prompts leave an interval too narrow to be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from karat import parquet
from karat.columns import READ_ROWS, owners, score_values
from karat.errors import RecipeError
from karat.recipefile import parse
from karat.report.grading import notes_of
from karat.report.grading_plots import NARROW, WIDE, best_of_k
from karat.report.recommendation import plain
from karat.report.run_charts import Pair, pair
from karat.rundir import Run
from karat.scoring.overoptimisation import meter

MOST_PROMPTS = 100_000
LEAST_PROMPTS = 2
SCORES = "responses.list.element.scores"
DRAWS_ON = "best_of"  # a step that stops drawing where answers are good: its pools are no samples


class Curve(msgspec.Struct):
    """A curve and whose it is: `curve` as `meter` notes it, None where there is none, and `why`.

    `source` says where it is from: a step's label, or the rows.
    """

    by: str
    held_out: str | None
    curve: dict[str, Any] | None
    source: str
    within: list[str] = []
    why: str = ""

    @property
    def advice(self) -> str:
        """What the curve says, in words."""
        if self.curve is None:
            return self.why
        first, last = self.curve["rungs"][0], self.curve["rungs"][-1]
        own = (
            f"{self.by} rises from {plain(first['grading']['value'])} to "
            f"{plain(last['grading']['value'])} at the best of {last['k']}"
        )
        if self.held_out is None:
            return (
                f"{own}. No reward was held out, and a reward that grades itself always rises: "
                "grade with a second one to see what the picking is worth."
            )
        held = (
            f"{self.held_out}, which did not pick, goes from {plain(first['held']['value'])} to "
            f"{plain(last['held']['value'])}"
        )
        warning = f" {self.curve['warning'].capitalize()}." if self.curve["warning"] else ""
        return (
            f"{own}; {held}. Recommended: the best of {self.curve['recommended']}, the smallest "
            f"number within one standard error of the highest.{warning}"
        )

    @property
    def charts(self) -> list[Pair]:
        """The reward that picks, and the one held out."""
        if self.curve is None:
            return []
        curve, places = self.curve, range(1 if self.held_out is None else 2)
        return [
            pair(
                lambda width, n=place: best_of_k(  # type: ignore[misc]  # bound at once
                    curve, self.by, self.held_out, width, self.within
                )[n],
                (WIDE, NARROW), ("The reward that picks", "A reward held out")[place],
                self.advice, f"best-of-{self.source}-{place}",
            )
            for place in places
        ]  # fmt: skip


def curves_of(run: Run, report: dict[str, Any]) -> list[Curve]:
    """Those of `meter` steps; else the one of the rows, where prompts have several scores."""
    found = [
        Curve(
            notes["by"], notes["held_out"], notes.get("curve"), label,
            report["grading"]["steps"][label]["within_prompt"],
            "" if notes.get("curve") else "too few prompts have two answers graded",
        )
        for label, notes in notes_of(report, "meter")
    ]  # fmt: skip
    return found or [one for one in [_from_rows(run, report)] if one is not None]


def _from_rows(run: Run, report: dict[str, Any]) -> Curve | None:
    by, held, within = _keys(run, report)
    if by is None:
        return None
    if next(notes_of(report, DRAWS_ON), None):
        return Curve(
            by, held, None, "rows",
            why="best_of drew more answers where the first were bad, so that their number depends "
            "on how good they are; a meter step before it would measure",
        )  # fmt: skip
    counts_P, by_R, held_R = _pools(run, by, held)
    if (counts_P >= 2).sum() < LEAST_PROMPTS:
        return None
    for key, scores_R in ((by, by_R), (held, held_R)):
        if key in within:
            owner_R = np.repeat(np.arange(len(counts_P)), counts_P)
            scores_R -= (np.bincount(owner_R, scores_R) / counts_P)[owner_R]
    found = meter(counts_P, by_R, None if held is None else held_R)
    if len(found.rungs) < 2:
        return None
    return Curve(by, held, msgspec.to_builtins(found), "rows", within)


def _keys(run: Run, report: dict[str, Any]) -> tuple[str | None, str | None, list[str]]:
    """(the score that picks, one of another reward that had no part in it, those of the two that
    are measured from the prompt's mean).

    The recipe is only read, never loaded: looking at a run must not run what it names. So whether
    the held-out score compares between prompts is not known, and it is taken not to.
    """
    keys = [key for key, spread in report["scores"].items() if spread["all"].get("count")]
    wholes = [key for key in keys if key.endswith(".reward")]
    by = report.get("ranking") if report.get("ranking") in keys else next(iter(wholes), None)
    if by is None:
        return None, None, []
    try:
        rewards = parse(run.recipe).get("rewards") or {}
    except RecipeError:
        rewards = {}
    mine = by.rpartition(".")[0]
    apart = [key for key in wholes if _apart(mine, key.rpartition(".")[0], rewards)]
    held = apart[0] if mine in rewards and apart else None
    steps = report.get("grading", {}).get("steps", {}).values()
    within = {key for one in steps for key in one.get("within_prompt", ())}
    return by, held, [key for key in (by, held) if key and (key in within or key == held)]


def _apart(one: str, other: str, rewards: dict[str, Any]) -> bool:
    """Whether two rewards of a recipe have nothing to do with each other."""
    if one == other or other not in rewards or rewards.get(one) == rewards[other]:
        return False
    texts = [orjson.dumps(rewards.get(name), default=str).decode() for name in (one, other)]
    return one not in texts[1] and other not in texts[0]


def _pools(
    run: Run, by: str, held: str | None
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """(counts_P, by_R, held_R) of the prompts whose answers both have graded."""
    counts: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    values: list[NDArray[np.float64]] = [np.zeros((0, 2))]
    for scores in _batches(run):
        responses = scores.flatten().field("scores")
        by_R = score_values(responses, by)
        held_R = score_values(responses, held) if held else by_R
        graded_R = np.isfinite(by_R) & np.isfinite(held_R)
        counts.append(np.bincount(owners(scores)[graded_R], minlength=len(scores)))
        values.append(np.column_stack((by_R[graded_R], held_R[graded_R])))
    counts_P, flat = np.concatenate(counts), np.concatenate(values)
    return counts_P[counts_P > 0], flat[:, 0], flat[:, 1]


def _batches(run: Run) -> Iterator[pa.ListArray]:
    """The answers' scores of accepted and dropped rows; of every second or third group of rows, and
    so on, where they are over MOST_PROMPTS."""
    tables = [parquet.Parts(path).groups() for path in (run.accepted_file, run.dropped_file)]
    total = sum(group.rows for groups in tables for group in groups)
    every = max(1, -(-total // MOST_PROMPTS))
    place = 0
    for groups in tables:
        for group in groups:
            place += 1
            if (place - 1) % every and len(groups) >= every:
                continue
            for batch in parquet.batches(group.file, READ_ROWS, [SCORES], [group.number]):
                yield batch.column("responses")
