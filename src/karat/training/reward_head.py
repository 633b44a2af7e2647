"""Trains a reward head on human ratings or preferences and writes it with its card.

A small head takes minutes on two cores, so `karat reward train` measures before it saves: repeated
cross-validation by prompt, sets that were never trained on, spoiled answers, the baselines, and
what calibration, length and uncertainty are worth. The head that is saved is then fitted on
everything given.
"""

from __future__ import annotations

import base64
import datetime
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from karat.errors import RecipeError
from karat.rewards.columns import read_raw
from karat.rewards.head_file import head_from_bytes, pack
from karat.rewards.head_model import Head
from karat.row import Message
from karat.training._items import prompt_marks
from karat.training.ratings import HumanData, Pair, Rated, read_human, read_tests
from karat.training.reward_card import Measured, TrainResult, card_of, licence_of
from karat.training.reward_cross import Held, Say, cross_validate
from karat.training.reward_figures import figures_of, test_figures
from karat.training.reward_fit import fit_head
from karat.training.reward_search import search
from karat.training.reward_settings import (
    FEWEST_MEMBERS,
    OBJECTIVES,
    RATED,
    REPRESENTATIONS,
    Objective,
    Representation,
    Settings,
)
from karat.training.reward_table import Table, table_of
from karat.training.reward_trees import sklearn_forest
from karat.training.reward_trust import calibrations, lengths, sureness

_FEWEST = 20
_PREFERENCES: tuple[Objective, ...] = ("bt", "margin", "scaled")


@dataclass(frozen=True, slots=True)
class Plan:
    """What `karat reward train` was asked for; None lets the data, or the search, decide."""

    objective: Objective | None = None
    representation: Representation | None = None
    members: int = 10
    debias: bool = False
    search: bool = False
    folds: int = 5
    repeats: int = 2
    jobs: int | None = None
    seed: int = 7


def train_head(
    rows: Sequence[Rated],
    pairs: Sequence[Pair] = (),
    *,
    settings: Settings | None = None,
    searched: tuple[Sequence[Representation], Sequence[Objective]] | None = None,
    sources: Sequence[str] | None = None,
    folds: int = 5,
    repeats: int = 2,
    jobs: int | None = None,
    say: Say | None = None,
) -> tuple[Head, Measured]:
    """Fit a head on rated rows and preference pairs; the figures are from held-out folds by prompt.

    `searched` names the representations and objectives to compare: the best of them is fitted.
    `sources` says which file each row is of: figures are given for each.

    Raises:
        RecipeError: scikit-learn is missing, there are too few prompts for the folds, or nothing of
            the kind that the objective learns from.
    """
    settings = settings or Settings()
    data = HumanData(list(rows), list(pairs))
    _check_counts(data, settings, folds)
    table = table_of(data, settings.seed, sources=sources)
    _check_kind(table, settings)
    found = None
    held: Held
    if searched:
        found, settings, held = search(
            table, settings, *searched, folds=folds, repeats=repeats, jobs=jobs, say=say
        )
    else:
        objective = settings.objective
        held = cross_validate(
            table, settings, [objective], folds=folds, repeats=repeats, jobs=jobs, say=say
        )[objective]
    measured = Measured(
        settings=settings,
        figures=figures_of(table, held, settings.debias),
        calibrated=calibrations(table, held),
        lengths=lengths(table, held) if settings.members >= FEWEST_MEMBERS else (),
        sureness=sureness(table, held),
        search=found,
    )
    if say:
        say("fitting on everything")
    everything = (np.ones(len(rows), dtype=bool), np.ones(len(pairs), dtype=bool))
    return fit_head(table, settings, *everything), measured


def _check_counts(data: HumanData, settings: Settings, folds: int) -> None:
    sklearn_forest(1, 1, 1.0, 0)
    prompts = len({row.group for row in data.rated} or {pair.group for pair in data.pairs})
    if prompts < max(folds, _FEWEST) or folds < 2:
        kind = "rated prompts" if data.rated else "prompts with a preference"
        raise RecipeError(
            f"{prompts} {kind} in {folds} folds: give at least {max(folds, _FEWEST)} prompts and 2"
            " folds"
        )
    few = settings.members < FEWEST_MEMBERS
    if few and (settings.debias or settings.objective == "regression+scaled"):
        what = "debiasing" if settings.debias else "regression+scaled"
        raise RecipeError(
            f"{what} learns from what members have not seen: give at least {FEWEST_MEMBERS}"
            f" members, not {settings.members}"
        )


def _check_kind(table: Table, settings: Settings) -> None:
    if settings.objective in RATED and not len(table.raw_RW):
        raise RecipeError(
            f"{settings.objective} learns from ratings, and the data have preferences alone: use"
            f" {', '.join(_PREFERENCES)}, or add ratings"
        )
    if settings.objective in _PREFERENCES and not len(table.better_Q) + len(table.chosen_PW):
        raise RecipeError(
            f"{settings.objective} learns from pairs, and no two rated answers to one prompt differ"
            " in helpfulness: use regression, or add preferences"
        )


def main_train(
    data: Sequence[Path | str],
    out: Path,
    tests: Sequence[str | Path] = (),
    plan: Plan = Plan(),
    *,
    command: str = "karat reward train",
    say: Say | None = None,
    today: datetime.date | None = None,
) -> TrainResult:
    """Read, cross-validate, fit, and write `out` (.npz) with its card beside it (.md).

    `tests` are ratings or preferences to measure on and never to train on; a folder means
    the JSON files in it. `command` goes into the card; `say` receives one line of progress at a
    time.

    Raises:
        RecipeError: a file is missing or of no known shape, scikit-learn is missing, `out` cannot
            be written, or the data are too few or not of the kind asked for.
    """
    start = time.monotonic()
    if out.suffix != ".npz":
        raise RecipeError(f"{out}: the name of a reward head ends in .npz")
    (train, sources), held = _read_train(data), read_tests(tests)
    settings, searched = settings_of(plan, train)
    if say and train.left_out:
        say("left out: " + ", ".join(f"{n} {reason}" for reason, n in train.left_out.items()))
    head, measured = train_head(
        train.rated, train.pairs, settings=settings, searched=searched, sources=sources,
        folds=plan.folds, repeats=plan.repeats, jobs=plan.jobs, say=say,
    )  # fmt: skip
    settings = measured.settings
    licence = licence_of(list(train.files))
    head = replace(
        head,
        meta={
            "licence": licence,
            "data": train.files,
            "seed": plan.seed,
            "objective": settings.objective,
            "prompts": _marks(train),
        },
    )
    content = pack(head)
    saved = head_from_bytes(content, str(out))
    result = TrainResult(
        name=out.stem,
        measured=measured,
        tests=tuple(test_figures(saved, d, name, train.groups) for name, d in held.items()),
        data=train.files,
        test_data={name: count for d in held.values() for name, count in d.files.items()},
        folds=plan.folds,
        repeats=plan.repeats,
        prompts=len(train.groups),
        head=saved,
        head_bytes=len(content),
        responses_per_cpu_s=speed(saved, train),
        wall_s=time.monotonic() - start,
        command=command,
        date=today or datetime.datetime.now(tz=datetime.UTC).date(),
    )
    _write(out, content, card_of(result))
    return result


def _marks(data: HumanData) -> str:
    """The sorted `prompt_marks` of everything trained on, base64."""
    marks = np.sort(prompt_marks(data.groups)).astype("<u8")
    return base64.b64encode(marks.tobytes()).decode("ascii")


Grid = tuple[Sequence[Representation], Sequence[Objective]]


def settings_of(plan: Plan, data: HumanData) -> tuple[Settings, Grid | None]:
    """The settings to begin with, and the grid to search where a search was asked for.

    Without an objective, ratings are learned by regression and then by their pairs; preferences
    alone by Bradley-Terry, scaled where the data say how strong they are.
    """
    strengths = any(math.isfinite(pair.strength) for pair in data.pairs)
    preferences: Objective = "scaled" if strengths else "bt"
    usual = Settings()
    own: Objective = usual.objective if plan.members >= FEWEST_MEMBERS else "regression"
    settings = Settings(
        objective=plan.objective or (own if data.rated else preferences),
        representation=plan.representation or usual.representation,
        members=plan.members,
        debias=plan.debias,
        seed=plan.seed,
    )
    if not plan.search:
        return settings, None
    able = [
        objective
        for objective in OBJECTIVES
        if (data.rated or objective not in RATED)
        and (plan.members >= FEWEST_MEMBERS or objective != "regression+scaled")
    ]
    objectives = [plan.objective] if plan.objective else able
    representations = [plan.representation] if plan.representation else REPRESENTATIONS
    return settings, (representations, objectives)


def speed(head: Head, data: HumanData) -> float:
    """Responses graded per CPU second, everything included, one prompt at a time."""
    texts: dict[tuple[Message, ...], list[str]] = {}
    for row in data.rated[:400]:
        texts.setdefault(row.prompt, []).append(row.response)
    for pair in data.pairs[:200]:
        texts.setdefault(pair.prompt, []).extend([pair.chosen, pair.rejected])
    count = sum(map(len, texts.values()))
    start = time.process_time()
    for prompt, responses in texts.items():
        head.predict(read_raw(prompt, responses, head.columns.static))
    return count / max(time.process_time() - start, 1e-9)


def _read_train(sources: Sequence[Path | str]) -> tuple[HumanData, list[str]]:
    """Everything together, and the name of the source of each rated row."""
    whole, names = HumanData(), list[str]()
    for source in sources:
        part = read_human([source])
        whole.rated += part.rated
        whole.pairs += part.pairs
        for name, count in part.files.items():
            whole.files[name] = whole.files.get(name, 0) + count
        for reason, count in part.left_out.items():
            whole.left_out[reason] = whole.left_out.get(reason, 0) + count
        names += [next(iter(part.files)) if len(part.files) == 1 else str(source)] * len(part.rated)
    return whole, names


def _write(out: Path, content: bytes, card: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
        out.with_suffix(".md").write_text(card, encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{out}: cannot be written ({error.strerror or error})") from error
