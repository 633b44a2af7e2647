"""compare: the same prompts through several models, the same grader, one set of figures.

The recipe's own steps are run, up to the one that chooses, once for each candidate with only
`respond` changed. They share one journal, so what comes before `respond` is bought once, and a
comparison that was stopped goes on where it stood. Candidates run one after another: side by side
they would slow each other down, and their times would say nothing.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson

from karat.api import Watcher, opened, watched
from karat.claiming import claimed
from karat.comparison.candidates import Comparison, Measured, judge
from karat.comparison.paid import Paid, paid_answers, shared_cost
from karat.comparison.trial import Trial
from karat.driving import drive
from karat.errors import RecipeError, RunError
from karat.mill import Mill
from karat.models.families import related
from karat.models.spec import ModelSpec
from karat.recipe import Recipe
from karat.report.compare import page
from karat.report.frontier import picture
from karat.report.png import as_png
from karat.report.recommendation import recommend
from karat.row import Response, Row
from karat.rundir import Run, write_atomic
from karat.stage import read_rows
from karat.yaml12 import dump

MOST_ROWS = 10_000  # beyond, no interval gets narrower than what prompts were chosen by


class _Outcome(NamedTuple):
    """What came of one candidate."""

    name: str
    spec: ModelSpec
    rows: dict[str, Row]
    paid: Paid
    warnings: list[str]


def compare(
    recipe: Recipe | str | Path, models: Sequence[str] = (), n: int = 100,
    out: str | Path | None = None, *, watch: Watcher | None = None,
) -> Comparison:  # fmt: skip
    """Compares models as the recipe's teacher on its first n rows, and writes what it found.

    `models` are names of the recipe's models or `provider/model`; left open, those its `respond`
    names. compare.json, .html and .svg (and .png where resvg-py is installed) are written to `out`,
    by default runs/NAME-compare, whose journal keeps what is paid for: running again is free. `out`
    may be the recipe's own run: what either of them has paid for serves the other.
    Raises: RecipeError before anything is spent, RunError after.
    """
    loaded = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    if not 2 <= n <= MOST_ROWS:
        raise RecipeError(f"compare over 2 to {MOST_ROWS:,} rows, not {n:,}")
    trial = Trial.of(loaded, list(dict.fromkeys(models)))
    place = Run.at(out, f"{loaded.name}-compare")
    with claimed(place), tempfile.TemporaryDirectory() as folder:
        write_atomic(place.path / "compare.yaml", dump(trial.recipe.resolved()).encode())
        outcomes, shared = drive(_ask_all(trial, place, Path(folder), n, watch))
        found = _judged(trial, outcomes, shared)
        _write(found, place)
    return found


# --- asking --------------------------------------------------------------------------------------


async def _ask_all(
    trial: Trial, place: Run, folder: Path, n: int, watch: Watcher | None
) -> tuple[list[_Outcome], float | None]:
    outcomes, shared = [], None
    routes = [_routes(trial.recipe.models[name]) for name in trial.names]
    for place_of, name in enumerate(trial.names):
        recipe = trial.alone(name)
        spec = recipe.models[name]
        async with opened(recipe, place) as (services, journal):
            mill = Mill(recipe, services, folder, limit=n)
            async with watched(watch, mill.monitor):
                last = await mill.turn()
            rows = {row.id: row for row in read_rows(last) if trial.reached(row)}
            others = set().union(*(r for i, r in enumerate(routes) if i != place_of))
            keys = {row.id: [a.call for a in _answers(row)] for row in rows.values()}
            # What failed for good names no answer; of two candidates at one address only the
            # answered calls can be told apart.
            paid = paid_answers(journal, keys, trial.label, routes[place_of] - others)
            if not any(keys.values()) and spec.rates() is None:
                paid = paid._replace(cost=None)
            shared = shared_cost(journal, trial.label)
            outcomes.append(_Outcome(name, spec, rows, paid, services.warnings))
        if len(rows) < 2:
            break  # nothing to compare, whatever the others would do
    return outcomes, shared


def _routes(spec: ModelSpec) -> set[str]:
    return {one.identity() for one in spec.route()}


def _answers(row: Row) -> list[Response]:
    """A row's answers by the candidate: not those that came with the prompt."""
    return [response for response in row.responses if response.call]


# --- figures -------------------------------------------------------------------------------------


def _judged(trial: Trial, outcomes: list[_Outcome], shared: float | None) -> Comparison:
    ids = list(dict.fromkeys(key for outcome in outcomes for key in outcome.rows))
    if len(ids) < 2:
        raise RunError(
            f"{len(ids)} prompts came as far as '{trial.label}': `karat preview` shows what became "
            "of the others"
        )
    reward, _, attribute = trial.by.rpartition(".")
    scale = trial.recipe.reward(reward).attributes[attribute]
    found = judge(
        [_measured(trial, outcome, ids) for outcome in outcomes],
        name=trial.recipe.name, by=trial.by, scale=scale, n=trial.asks.params["n"], best=trial.best,
        seed=trial.recipe.seed, notes=_notes(trial, outcomes), shared_usd=shared,
    )  # fmt: skip
    found.recommendation = recommend(found)
    return found


def _measured(trial: Trial, outcome: _Outcome, ids: list[str]) -> Measured:
    kept, mean = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    accepted, paid = np.zeros(len(ids)), outcome.paid
    for place, key in enumerate(ids):
        row = outcome.rows.get(key)
        graded = [r for r in (_answers(row) if row else []) if _score(r, trial.by) is not None]
        if row is None or not graded:
            continue
        scores = sorted((r.scores[trial.by] for r in graded), reverse=True)
        chosen = [r.scores[trial.by] for r in graded if r.kept] if row.dropped is None else []
        # Thresholds aside, what would have been kept: else a strict one would flatter a model by
        # leaving its good prompts alone. What they turn down counts in `accepted`.
        kept[place] = np.mean(chosen or scores[: trial.best])
        mean[place] = np.mean(scores)
        accepted[place] = row.dropped is None and bool(chosen or not trial.chooses)
    cost = None if paid.cost is None else np.array([paid.cost.get(key, 0.0) for key in ids])
    seconds = np.array([paid.seconds.get(key, math.nan) for key in ids])
    answers = sum(len(_answers(row)) for row in outcome.rows.values())
    return Measured(
        outcome.name,
        outcome.spec.model,
        kept,
        mean,
        accepted,
        cost,
        seconds,
        paid.calls_ms,
        answers,
    )


def _score(response: Response, by: str) -> float | None:
    score = response.scores.get(by)
    return score if score is not None and math.isfinite(score) else None


def _notes(trial: Trial, outcomes: list[_Outcome]) -> list[str]:
    """What a reader must know before trusting the figures."""
    notes = []
    for outcome in outcomes:
        notes += outcome.warnings
        if outcome.paid.cost is None:
            notes.append(
                f"the price of {outcome.name} is unknown, so it is left out of costs; add "
                "price: {input: …, output: …} to the model"
            )
        own = {a.model for row in outcome.rows.values() for a in _answers(row)}
        if others := own - {outcome.spec.model}:
            notes.append(f"some answers of {outcome.name} are by {', '.join(sorted(others))}")
    notes += _leakage(trial, outcomes)
    last = trial.recipe.steps[-1]
    if trial.chooses and (last.params["minimum_sigma"] or last.params["margin_sigma"]):
        notes.append(
            "σ thresholds of 'reject' follow each candidate's own answers: read 'accepted' with "
            "care"
        )
    return list(dict.fromkeys(notes))


def _leakage(trial: Trial, outcomes: list[_Outcome]) -> list[str]:
    """Warnings about graders of a candidate's own family."""
    recipe, graders = trial.recipe, dict[str, list[str]]()
    for call in recipe.steps[trial.at + 1 :]:
        models = {name for _, name in call.named("model")}
        graders |= {name: [s.model for s in recipe.models[name].route()] for name in models}
        rewards = {name for _, name in call.named("reward")}
        graders |= {name: recipe.graders.lineage(name, recipe.models) for name in rewards}
    return [
        f"{grader} would grade its own kind in {outcome.name}: {ties[0]}; judges favour their own: "
        "check with a grader of another family"
        for grader, behind in sorted(graders.items())
        for outcome in outcomes
        if (ties := [tie for one in behind if (tie := related(outcome.spec.model, one))])
    ]


# --- files ---------------------------------------------------------------------------------------


def _write(found: Comparison, place: Run) -> None:
    svg = picture(found)
    files: dict[str, bytes] = {"compare.html": page(found).encode(), "compare.svg": svg.encode()}
    if (drawn := as_png(svg)) is not None:
        files["compare.png"] = drawn
    names = ["compare.json", *files]
    found.files = {name.rpartition(".")[2]: str(place.path / name) for name in names}
    tree: dict[str, Any] = msgspec.to_builtins(found)
    tree.pop("files")  # a directory may be moved
    write_atomic(place.path / "compare.json", orjson.dumps(tree, option=orjson.OPT_INDENT_2))
    for name, data in files.items():
        write_atomic(place.path / name, data)
