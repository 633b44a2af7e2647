"""What a run holds for training a reward model: people's ratings of its responses, or its pairs.

A line of `ratings.jsonl` names what it rates by a digest, so that the file stays small and can be
given away without the texts. To learn from it the texts are looked up in the run it lies in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from karat import parquet
from karat.errors import RecipeError
from karat.exporters import trl_preference
from karat.exporters.base import accepted_rows
from karat.rewards.head import ATTRIBUTES
from karat.rewards.human import rating_key
from karat.rewards.rated_files import read_records
from karat.row import Message
from karat.rundir import Run
from karat.training._items import Line, Rated, group_of

RATINGS = "ratings.jsonl"
Said = tuple[tuple[Message, ...], str]


def is_run(folder: Path) -> bool:
    """Whether the folder is a run's."""
    return (folder / "recipe.yaml").is_file() or parquet.exists(folder / "accepted.parquet")


def pair_records(run: Run, split: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(place in words, record) of each line of the run's export trl-preference, made anew; of the
    part `split`, "train" where none is named. Raises: RecipeError where there is none."""
    if not parquet.exists(run.accepted_file):
        raise RecipeError(f"{run.path} has no accepted.parquet: run it to the end first")
    with TemporaryDirectory() as folder:
        try:
            made = trl_preference.export(run, Path(folder))
        except (OSError, pa.ArrowException) as error:
            raise RecipeError(f"{run.accepted_file} cannot be read ({error})") from None
        path = made.files.get(split or "train")
        if path is None:
            reasons = [f"{count:,} {reason}" for reason, count in made.left_out.items()]
            reasons += [f"there is a part '{part}'" for part in made.files]
            what = f"pair in its part '{split}'" if split else "pair of answers"
            raise RecipeError(f"{run.path} has no {what} ({'; '.join(reasons) or 'it is empty'})")
        for number, (_, record) in enumerate(read_records(path), start=1):
            yield f"{run.path}, pair {number}", record


def rated_lines(path: Path, lines: Sequence[tuple[str, Line]]) -> tuple[list[Rated], int]:
    """The mean of each response's raters, in the order in which the responses come first, and how
    many rated responses are not in the run that the file lies in.

    A rater who rates a response again has changed his mind: the later line counts. Raises:
    RecipeError where the lines name responses by key and none is found.
    """
    held: dict[str, dict[str, dict[str, float]]] = {}  # key → attribute → rater → value
    said: dict[str, Said] = {}
    for where, line in lines:
        key = line.key or rating_key(line.prompt, line.response).hex()
        if not line.key:
            said.setdefault(key, (line.prompt, line.response))
        for attribute, values in line.values.items():
            of = held.setdefault(key, {}).setdefault(attribute, {})
            many = len(values) > 1
            rater = line.rater or where
            of.update({f"{rater}/{i}" if many else rater: v for i, v in enumerate(values)})
    if missing := held.keys() - said.keys():
        said |= _texts(path, missing)
    rated = [_mean(*said[key], values) for key, values in held.items() if key in said]
    return rated, len(held) - len(rated)


def _mean(prompt: tuple[Message, ...], response: str, values: dict[str, dict[str, float]]) -> Rated:
    # In order of value: a mean must not depend on the order of the file.
    found = (sorted(values.get(name, {}).values()) for name in ATTRIBUTES)
    ratings = tuple(fmean(of) if of else float("nan") for of in found)
    return Rated(prompt, response, ratings, group_of(prompt))


def _texts(path: Path, keys: Collection[str]) -> dict[str, Said]:
    """What was rated, out of the run around the file. Raises: RecipeError."""
    run = next((Run(folder) for folder in path.absolute().parents[:2] if is_run(folder)), None)
    if run is None:
        raise RecipeError(
            f"{path} names responses by key, and their texts are in the run that was rated: name "
            f"the run's directory, with {path.name} in it"
        )
    found: dict[str, Said] = {}
    for file in (run.accepted_file, run.dropped_file):
        try:
            for row in accepted_rows(file) if parquet.exists(file) else ():
                for response in row.responses:
                    key = rating_key(row.messages, response.content).hex()
                    if key in keys:
                        found[key] = tuple(row.messages), response.content
        except (OSError, pa.ArrowException) as error:
            raise RecipeError(f"{file} cannot be read ({error})") from None
    if not found:
        raise RecipeError(
            f"{path}: none of the {len(keys):,} responses it names by key is in {run.path}; the "
            "file lies in another run than the one that was rated, or that run has not ended"
        )
    return found
