"""Trains a reward head on human ratings or preferences and writes it with its card.

A small head takes minutes on two cores, so `karat reward train` measures before it saves: repeated
cross-validation by prompt, sets that were never trained on, spoiled answers, the baselines, and
what calibration, length and uncertainty are worth. The head that is saved is then fitted on
everything given.
"""

from __future__ import annotations

import base64
import datetime
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from karat.errors import RecipeError
from karat.rewards.columns import read_raw
from karat.rewards.head_file import head_from_bytes, pack
from karat.rewards.head_model import Head
from karat.rewards.hidden import Reader
from karat.row import Message
from karat.training._items import prompt_marks
from karat.training.ratings import HumanData, Pair, Rated, read_human, read_tests
from karat.training.reward_card import Measured, TrainResult, card_of, licence_of
from karat.training.reward_cross import Held, Say, cross_validate
from karat.training.reward_figures import figures_of, unseen_figure
from karat.training.reward_fit import fit_head
from karat.training.reward_plan import Plan, reader_of, settings_of
from karat.training.reward_search import search
from karat.training.reward_settings import (
    FEWEST_MEMBERS,
    RATED,
    Objective,
    Representation,
    Settings,
)
from karat.training.reward_states import Kept
from karat.training.reward_table import Table, table_of
from karat.training.reward_trees import sklearn_forest
from karat.training.reward_trust import calibrations, lengths, sureness

_FEWEST = 20
STATES = ".states"  # of a head that is not written yet
_PREFERENCES: tuple[Objective, ...] = ("bt", "margin", "scaled")


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
    reader: Kept | None = None,
) -> tuple[Head, Measured]:
    """Fit a head on rated rows and preference pairs; the figures are from held-out folds by prompt.

    `searched` names the representations and objectives to compare: the best of them is fitted.
    `sources` says which file each row is of: figures are given for each. `reader` is of the model
    whose layers are read where the settings or the search have that representation.

    Raises:
        RecipeError: scikit-learn is missing, there are too few prompts for the folds, or nothing of
            the kind that the objective learns from.
    """
    settings = settings or Settings()
    data = HumanData(list(rows), list(pairs))
    _check_counts(data, settings, folds)
    if reader is not None:
        reader.learn(data, say)
    table = table_of(data, settings.seed, sources=sources, reader=reader)
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
    plan: Plan | None = None,
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
    start, plan = time.monotonic(), plan or Plan()
    if out.suffix != ".npz":
        raise RecipeError(f"{out}: the name of a reward head ends in .npz")
    (train, sources), held = _read_train(data), read_tests(tests)
    settings, searched = settings_of(plan, train)
    model = reader_of(plan, train, out, say)
    reader = Kept(model, out.with_suffix(STATES)) if model is not None else None
    if reader is not None:
        if say and reader.count:
            say(f"{reader.count:,} answers were read before")
        # Before anything is fitted: a set that cannot be read must not cost the head that can.
        for one in held.values():
            reader.learn(one, say)
    if say and train.left_out:
        say("left out: " + ", ".join(f"{n} {reason}" for reason, n in train.left_out.items()))
    head, measured = train_head(
        train.rated, train.pairs, settings=settings, searched=searched, sources=sources,
        folds=plan.folds, repeats=plan.repeats, jobs=plan.jobs, say=say, reader=reader,
    )  # fmt: skip
    settings = measured.settings
    licence = licence_of(list(train.files))
    used = model if settings.frozen else None  # the search may find it not worth its time
    if used is not None:
        licence = " AND ".join(dict.fromkeys([licence, used.reading.licence]))
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
        tests=tuple(
            unseen_figure(saved, one, name, train.groups, used and reader)
            for name, one in held.items()
        ),
        data=train.files,
        test_data={name: count for d in held.values() for name, count in d.files.items()},
        folds=plan.folds,
        repeats=plan.repeats,
        prompts=len(train.groups),
        head=saved,
        head_bytes=len(content),
        responses_per_cpu_s=speed(saved, train, used),
        wall_s=time.monotonic() - start,
        command=command,
        date=today or datetime.datetime.now(tz=datetime.UTC).date(),
    )
    _write(out, content, card_of(result))
    if reader is not None:
        reader.forget()
    return result


def _marks(data: HumanData) -> str:
    """The sorted `prompt_marks` of everything trained on, base64."""
    marks = np.sort(prompt_marks(data.groups)).astype("<u8")
    return base64.b64encode(marks.tobytes()).decode("ascii")


def speed(head: Head, data: HumanData, reader: Reader | None = None) -> float:
    """Responses graded per CPU second, everything included, one prompt at a time."""
    texts: dict[tuple[Message, ...], list[str]] = {}
    most = 400 if reader is None else 16  # each takes a second
    for row in data.rated[:most]:
        texts.setdefault(row.prompt, []).append(row.response)
    for pair in data.pairs[: most // 2]:
        texts.setdefault(pair.prompt, []).extend([pair.chosen, pair.rejected])
    count = sum(map(len, texts.values()))
    start = time.process_time()
    for prompt, responses in texts.items():
        raw_NR = read_raw(prompt, responses, head.columns.static)
        if reader is not None:
            raw_NR = np.hstack([raw_NR, reader.read(prompt, responses)])
        head.predict(raw_NR)
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
