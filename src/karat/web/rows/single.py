"""One row opened: its texts and grades side by side, and everything that is known of its making."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from karat.errors import KaratError
from karat.graders import Graders
from karat.models.rights import Rights
from karat.recipefile import parse
from karat.report.run_scores import in_order
from karat.row import Response, Row
from karat.rundir import Run
from karat.table import SCHEMA, from_batch
from karat.web.rows.calls import Call, Ledger, ledger
from karat.web.rows.engine import Stop
from karat.web.rows.files import Holding
from karat.web.rows.lineage import Trail, Visit, parents_of, trail
from karat.web.rows.terms import owners, terms

LOCAL = (
    "embedded",
    "head",
    "judge",
    "human",
)  # rewards whose scale is known without loading a model
Range = tuple[float, float]


class Grade(msgspec.Struct):
    """One score of one response: where it lies on its scale (0 to 1), and how many standard
    deviations of this row's candidates it is from their mean; None where they are all alike."""

    key: str
    value: float
    share: float
    mean: float
    sigma: float | None
    low: float
    high: float
    own: bool  # the scale is the reward's own, else what the run's scores span


class Candidate(msgspec.Struct):
    """A response with its grades; `place` counts all candidates by the score rows were chosen by,
    1 being the best. `equal` is the number of a kept one with the same score, where this one was
    not kept."""

    number: int
    response: Response
    grades: list[Grade]
    place: int | None = None
    failed: list[str] = []
    equal: int | None = None


class Single(msgspec.Struct):
    """A row and its making. `asked` are the calls by the stage they belong to, `licences` each
    with whose it is."""

    row: Row
    licences: list[tuple[str, str]]
    training: str
    candidates: list[Candidate]
    trail: Trail
    ledger: Ledger
    ranking: str | None = None
    rights: dict[str, Rights] = {}
    other: list[Call] = []
    asked: dict[str, list[Call]] = {}


def fetch(held: Holding, place: int) -> tuple[Row, list[str], str, dict[str, Any]]:
    """(row, licences, training, the whole line of the file) at a place. Raises: MovedError."""
    table = held.read([place], None)
    (batch,) = table.combine_chunks().to_batches()
    (row,) = from_batch(batch.select(SCHEMA.names))
    line = batch.to_pylist()[0]
    return row, line.get("licences") or [], line.get("training") or "", line


def opened(
    run: Run, held: Holding, place: int, ranges: dict[str, Range], stop: Stop, look_s: float
) -> tuple[Single, dict[str, Any]]:
    """A row with its whole lineage. `ranges`: what the run's scores span, where that is known;
    `look_s`: how long to look for calls that only name the row."""
    row, licences, training, line = fetch(held, place)
    paid = ledger(run.journal, _wrote(row), row.id, look_s)
    asked_for = [call.row for call in paid.calls if call.row]
    went = trail(run, row, parents_of(row, asked_for), stop)
    rights = _rights(run, row, paid)
    made = Single(
        row, owners(run, row, licences, rights), training,
        candidates(run, row, held.ranking, ranges), went, paid, held.ranking, rights,
    )  # fmt: skip
    _deal(made)
    return made, line


def _wrote(row: Row) -> dict[str, str]:
    """What each of the row's calls wrote."""
    found = dict.fromkeys(row.calls, "the prompt")
    for number, response in enumerate(row.responses, 1):
        if response.call:
            both = f"{found[response.call]} and " if response.call in found else ""
            found[response.call] = f"{both}response {number}"
    return found


def _deal(made: Single) -> None:
    """Each call to the stage whose step made it; the last such stage, where a step was in two."""
    of_step: dict[str, str] = {}
    for visit in made.trail.visits:
        of_step.update(dict.fromkeys(visit.steps, visit.name))
    for call in made.ledger.calls:
        stage = of_step.get(call.step)
        if stage is None:
            made.other.append(call)
        else:
            made.asked.setdefault(stage, []).append(call)


def candidates(
    run: Run, row: Row, ranking: str | None, ranges: dict[str, Range]
) -> list[Candidate]:
    """The row's responses with their grades, each on its scale."""
    keys = in_order(dict.fromkeys(key for one in row.responses for key in one.scores), ranking)
    own = scales(run)
    spread: dict[str, tuple[float, float, float, float, bool]] = {}
    for key in keys:
        values = [one.scores[key] for one in row.responses if key in one.scores]
        finite = np.array([value for value in values if math.isfinite(value)] or [0.0])
        low, high, is_own = _scale(key, finite.tolist(), own, ranges)
        with np.errstate(over="ignore", invalid="ignore"):  # a user's reward may say 1e300
            spread[key] = (float(finite.mean()), float(finite.std()), low, high, is_own)
    by = ranking or ""
    ranks = [one.scores[by] for one in row.responses if by in one.scores]
    ranked = sorted(filter(math.isfinite, ranks), reverse=True)
    order = {value: place for place, value in reversed([*enumerate(ranked, 1)])}
    failed = _failed(row)
    kept: dict[float, int] = {}
    for number, one in enumerate(row.responses):
        if one.kept and by in one.scores:
            kept.setdefault(one.scores[by], number)
    return [
        Candidate(
            number, response,
            [_grade(key, response.scores[key], *spread[key]) for key in keys
             if key in response.scores],
            order.get(response.scores.get(by, math.inf)),
            failed.get(number, []),
            kept.get(response.scores.get(by, math.nan)) if response.kept is False else None,
        )
        for number, response in enumerate(row.responses)
    ]  # fmt: skip


def _grade(
    key: str, value: float, mean: float, sd: float, low: float, high: float, own: bool
) -> Grade:
    share, middle = (_share(one, low, high) for one in (value, mean))
    sigma = (value - mean) / sd if sd > 1e-9 and math.isfinite(sd) else math.nan
    return Grade(key, value, share, middle, sigma if math.isfinite(sigma) else None, low, high, own)


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies on its scale, 0 to 1."""
    found = (value - low) / (high - low) if high > low else 0.0
    return min(1.0, max(0.0, found)) if not math.isnan(found) else 0.0


def _scale(
    key: str, values: Sequence[float], own: dict[str, Range], ranges: dict[str, Range]
) -> tuple[float, float, bool]:
    low, high = own.get(key, (float("-inf"), float("inf")))
    if low > float("-inf") and high < float("inf"):
        return low, high, True
    low, high = ranges.get(key, (min(values), max(values)))
    return min(low, *values), max(high, *values), False


def _failed(row: Row) -> dict[int, list[str]]:
    """Which checks each response failed, and why."""
    listed = row.meta.get("failed_checks")
    found: dict[int, list[str]] = {}
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict) and isinstance(one.get("response"), int):
            said = f"{one.get('check')}: {one.get('reason')}"
            found.setdefault(one["response"], []).append(said)
    return found


def scales(run: Run) -> dict[str, Range]:
    """The scale of each score whose reward says one; empty where the recipe cannot be read."""
    try:
        return _scales(run.recipe, run.recipe.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=16)
def _scales(recipe: Path, changed_ns: int) -> dict[str, Range]:
    try:
        tree = parse(recipe)
        written = tree.get("rewards") or {}
        graders = Graders(written, Path(str(tree.get("folder") or recipe.parent)), {})
        found: dict[str, Range] = {}
        for name, value in written.items():
            kind = value if isinstance(value, str) else value.get("reward")
            if isinstance(kind, str) and kind.partition("/")[0] in LOCAL:
                attributes = graders.get(name).attributes
                found |= {f"{name}.{attribute}": scale for attribute, scale in attributes.items()}
    except (KaratError, OSError, AttributeError, TypeError, ValueError):
        return {}
    return found


def _rights(run: Run, row: Row, paid: Ledger) -> dict[str, Rights]:
    """What the terms of each model behind the row say."""
    called = [call.model for call in paid.calls if call.kind != "score"]
    called += [response.model for response in row.responses if response.call]
    return terms(run, called, [r.model for r in row.responses if not r.call])


def visits(made: Single) -> list[tuple[Visit, list[Call]]]:
    """The stages in order, each with the calls that were made there."""
    return [(visit, made.asked.get(visit.name, [])) for visit in made.trail.visits]
