"""Trains a reward head on human ratings and writes it with its card: `karat reward train`.

A small head takes a minute on one core, so the command measures before it saves: repeated
cross-validation by prompt, sets that were never trained on, spoiled answers, and the baselines. The
head that is saved is then fitted on everything given.
"""

from __future__ import annotations

import datetime
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from karat.errors import RecipeError
from karat.rewards.features import features
from karat.rewards.head import Head, head_from_bytes
from karat.training.ratings import HumanData, Pair, Rated, read_human
from karat.training.reward_card import TrainResult, card_of, licence_of
from karat.training.reward_figures import Figures, Say, cross_validate, test_figures
from karat.training.reward_fit import Settings, fit_head, sklearn_forest, table_of

_FEWEST = 20


def train_head(
    rows: Sequence[Rated],
    pairs: Sequence[Pair] = (),
    *,
    settings: Settings | None = None,
    folds: int = 5,
    repeats: int = 4,
    say: Say | None = None,
) -> tuple[Head, Figures]:
    """Fit a head on rated rows and preference pairs; the figures are from held-out folds by prompt.

    Raises:
        RecipeError: scikit-learn is missing, or there are too few rated prompts for the folds.
    """
    settings = settings or Settings()
    sklearn_forest(settings)
    data = HumanData(list(rows), list(pairs))
    prompts = len({row.group for row in rows})
    if prompts < max(folds, _FEWEST) or folds < 2:
        raise RecipeError(
            f"{prompts} rated prompts in {folds} folds: give at least {max(folds, _FEWEST)} prompts"
            " and 2 folds"
        )
    table = table_of(data, settings.seed)
    figures = cross_validate(table, settings, folds, repeats, say=say)
    if say:
        say("fitting on everything")
    everything = (np.ones(len(rows), dtype=bool), np.ones(len(pairs), dtype=bool))
    return fit_head(table, settings, *everything), figures


def main_train(
    data: Sequence[Path],
    out: Path,
    tests: Sequence[Path] = (),
    *,
    folds: int = 5,
    repeats: int = 4,
    seed: int = 7,
    say: Say | None = None,
    today: datetime.date | None = None,
) -> TrainResult:
    """Read, cross-validate, fit, and write `out` (.npz) with its card beside it (.md).

    `tests` are files of ratings or preferences to measure on and never to train on; a folder means
    the JSON files in it. `say` receives one line of progress at a time.

    Raises:
        RecipeError: a file is missing or of no known shape, scikit-learn is missing, `out` cannot
            be written, or the ratings are too few.
    """
    start = time.process_time()
    if out.suffix != ".npz":
        raise RecipeError(f"{out}: the name of a reward head ends in .npz")
    settings = Settings(seed=seed)
    train, held = read_human(data), _read_tests(tests)
    head, figures = train_head(
        train.rated, train.pairs, settings=settings, folds=folds, repeats=repeats, say=say
    )
    licence = licence_of(list(train.files))
    head = replace(head, meta={"licence": licence, "data": train.files, "seed": seed})
    content = head.to_bytes()
    saved = head_from_bytes(content, str(out))
    test_rows = tuple(test_figures(saved, d, name, train.groups) for name, d in held.items())
    result = TrainResult(
        name=out.stem,
        figures=figures,
        tests=test_rows,
        data=train.files,
        test_data={name: count for d in held.values() for name, count in d.files.items()},
        settings=settings,
        folds=folds,
        repeats=repeats,
        prompts=len(train.groups),
        head_bytes=len(content),
        responses_per_cpu_s=speed(saved, train.rated),
        cpu_s=time.process_time() - start,
        command=_command(data, out, tests, folds, repeats, seed),
        date=today or datetime.datetime.now(tz=datetime.UTC).date(),
    )
    _write(out, content, card_of(result))
    return result


def speed(head: Head, rows: Sequence[Rated]) -> float:
    """Responses graded per CPU second, features included, one prompt at a time."""
    rows = rows[:400]
    start = time.process_time()
    for row in rows:
        head.predict(features(row.prompt, [row.response]))
    return len(rows) / max(time.process_time() - start, 1e-9)


def _read_tests(paths: Sequence[Path]) -> dict[str, HumanData]:
    """One set per file, or per folder of JSON files."""
    sets: dict[str, HumanData] = {}
    for path in paths:
        files = sorted(path.glob("*.json*")) if path.is_dir() else [path]
        sets[path.stem if path.stem != "ratings" else path.parent.name] = read_human(files)
    return sets


def _command(
    data: Sequence[Path], out: Path, tests: Sequence[Path], folds: int, repeats: int, seed: int
) -> str:
    words = ["karat", "reward", "train", *map(str, data)]
    for test in tests:
        words += ["--test", str(test)]
    words += ["--folds", str(folds), "--repeats", str(repeats), "--seed", str(seed), "-o", str(out)]
    return shlex.join(words)


def _write(out: Path, content: bytes, card: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
        out.with_suffix(".md").write_text(card, encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{out}: cannot be written ({error.strerror or error})") from error
