"""Human ratings and preferences, read into one shape whatever they came in.

Sources are files, folders, runs and names on the Hugging Face hub, and none needs an option: the
keys of a record say what it is. What is no preference is counted by reason and never kept, and what
cannot be read stops with its place, since a reward model is no better than what it was shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from karat.errors import RecipeError
from karat.rewards.head import REWARD_WEIGHTS
from karat.rewards.rated_files import messages_of
from karat.rewards.review_lines import told
from karat.row import Message
from karat.rundir import Run
from karat.steps._files import input_files, read_files
from karat.training._hub import is_saved, name_of, set_records
from karat.training._items import Line, Pair, Rated
from karat.training._rated_runs import RATINGS, is_run, pair_records, rated_lines
from karat.training._records import MANGLED, items_of

__all__ = ["HumanData", "Implied", "Pair", "Rated", "messages_of", "pairs_of", "read_human"]

By = Literal["helpfulness", "goodness"]
Records = Iterable[tuple[str, dict[str, Any]]]

_WEIGHTS: dict[str, tuple[float, ...]] = {
    "helpfulness": (1.0, 0.0, 0.0, 0.0, 0.0),
    "goodness": REWARD_WEIGHTS,
}
_TRAIN = re.compile(r"(^|[._-])train([._-]|$)")
_HELD = re.compile(r"(^|[._-])(val|valid|validation|dev|test)([._-]|$)")
_PLACE = re.compile(r": ?(item |row )?(\d+)$")  # as karat.steps._files writes it
_ALIKE = 1e-9


@dataclass(slots=True)
class HumanData:
    """What sources held: how many items by file, and how many records were `left_out` by reason."""

    rated: list[Rated] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def skipped(self) -> int:
        """How many were left out: ties and twins for the most part."""
        return sum(self.left_out.values())

    @property
    def groups(self) -> set[str]:
        """The groups of everything held."""
        return {row.group for row in self.rated} | {pair.group for pair in self.pairs}


class Implied(NamedTuple):
    """Pairs that ratings imply, and how many were left out by reason."""

    pairs: list[Pair]
    left_out: dict[str, int]


def read_human(sources: Sequence[Path | str]) -> HumanData:
    """Read ratings and preferences: files, folders of them, runs, and sets on the hub.

    Files: .jsonl, .json, .csv, .tsv, .parquet, packed or not. A folder: all of these in it. A run:
    its `ratings.jsonl`, else the pairs of its export. A name: `OWNER/NAME[:SUBSET][@SPLIT]`
    (`karat[hf]`), split train where none is named; a folder or a run may be named so too.

    Known records: ratings (`prompt, response` and any of the five attributes, HelpSteer's shape),
    preferences (`prompt, response_1, response_2, preference_strength`; `context, response1,
    response2, overall_preference`), pairs (`chosen, rejected` with or without `prompt`: TRL,
    hh-rlhf, RewardBench), LLMBar (`input, output_1, output_2, label`), Arena votes, OpenAssistant
    trees (`prompt.replies`), and what karat writes: `ratings.jsonl` and `trl-preference.jsonl`.

    Raises:
        RecipeError: a source is missing, or record L of it is none of these.
    """
    data = HumanData()
    for source in sources:
        for name, path, records in _opened(source):
            count = len(data.rated) + len(data.pairs)
            _add(data, path, records)
            count = len(data.rated) + len(data.pairs) - count
            data.files[name] = data.files.get(name, 0) + count
    return data


def read_tests(sources: Sequence[Path | str]) -> dict[str, HumanData]:
    """Sets that are only measured, each under a name of its own: its file's, or of ratings.jsonl
    its folder's. Raises: RecipeError."""
    found: dict[str, HumanData] = {}
    for source in sources:
        path, number = Path(source), 1
        stem = path.stem if path.stem != "ratings" else path.absolute().parent.name
        while (name := f"{stem} {number}" if number > 1 else stem) in found:
            number += 1
        found[name] = read_human([source])
    return found


def pairs_of(data: HumanData, by: By = "helpfulness") -> Implied:
    """Every two responses of one prompt of which people rated one higher.

    `strength` is the difference on 0–4, rounded into 1–3. `goodness` is .65 helpfulness + .8
    correctness + .45 coherence, over 1.9, by which HelpSteer2's set for DPO was made. Left out and
    counted: ties, the same text twice, and pairs of which a needed rating is missing.

    Source: HelpSteer2 (2406.08673 §5, DPO); strengths as in HelpSteer2-Preference (2410.01257).
    """
    weights = np.array(_WEIGHTS[by])
    needed = weights > 0
    by_prompt: dict[tuple[Message, ...], list[tuple[float, Rated]]] = {}
    for row in data.rated:
        worth = float(np.array(row.ratings)[needed] @ weights[needed])  # NaN where one is missing
        by_prompt.setdefault(row.prompt, []).append((worth, row))
    implied = Implied([], {})
    for rows in by_prompt.values():
        for (one, first), (two, second) in combinations(rows, 2):
            gap = one - two
            if reason := _no_pair(gap, first.response, second.response):
                implied.left_out[reason] = implied.left_out.get(reason, 0) + 1
                continue
            better, worse = (first, second) if gap > 0 else (second, first)
            strength = float(np.clip(np.round(abs(gap)), 1, 3))
            pair = Pair(better.prompt, better.response, worse.response, better.group, strength)
            implied.pairs.append(pair)
    return implied


def _no_pair(gap: float, first: str, second: str) -> str:
    if np.isnan(gap):
        return "not rated"
    if abs(gap) < _ALIKE:
        return "tie"
    if not first.strip() or not second.strip():
        return "empty answer"
    return "same text twice" if first.split() == second.split() else ""


# --- records -------------------------------------------------------------------------------------


def _add(data: HumanData, path: Path, records: Records) -> None:
    """Put what the records hold into `data`. Raises: RecipeError."""
    lines: list[tuple[str, Line]] = []
    left_out = data.left_out
    for where, record in told(records, "training"):
        try:
            items = list(items_of(record)) or ["no pair"]
        except MANGLED as error:
            why = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise RecipeError(f"{where}: no rating or preference karat knows: {why}") from None
        for item in items:
            if isinstance(item, Rated):
                data.rated.append(item)
            elif isinstance(item, Pair):
                data.pairs.append(item)
            elif isinstance(item, Line):
                lines.append((where, item))
            else:
                left_out[item] = left_out.get(item, 0) + 1
    if lines:
        rated, absent = rated_lines(path, lines)
        data.rated += rated
        if absent:
            reason = "rated response not in the run"
            left_out[reason] = left_out.get(reason, 0) + absent


def _opened(source: Path | str) -> Iterator[tuple[str, Path, Records]]:
    """(name, path, records) of each file that a source is. Raises: RecipeError."""
    path = Path(source)
    if not path.exists():
        name = name_of(str(source))
        if name is None:
            raise RecipeError(f"{source}: cannot be read (no such file or folder)")
        if is_run(Path(name.place)):
            yield _run_name(name.place), path, pair_records(Run(name.place), name.split)
        else:
            yield name.label, path, set_records(name)
    elif is_run(path) and (path / RATINGS).is_file():
        yield _file(path / RATINGS)
    elif is_run(path):
        yield _run_name(path), path, pair_records(Run(path))
    elif is_saved(path) and (name := name_of(str(source))):
        yield name.label, path, set_records(name)
    else:
        files = input_files(path)
        _not_a_split(path, files)
        yield from map(_file, files)


def _run_name(folder: Path | str) -> str:
    return f"{Path(folder).absolute().name}/trl-preference"


def _file(path: Path) -> tuple[str, Path, Records]:
    return f"{path.parent.name}/{path.name}", path, _records(path)


def _not_a_split(folder: Path, files: Sequence[Path]) -> None:
    """Raises: RecipeError where a folder's files are for training and for measuring."""
    train = next((file for file in files if _TRAIN.search(file.name)), None)
    held = next((file for file in files if _HELD.search(file.name)), None)
    if folder.is_dir() and train and held:
        raise RecipeError(
            f"{folder} holds {train.name} and {held.name}: what is measured on must not be trained "
            f"on, so name one of them, or {folder}@train"
        )


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place in words, record) of each record of a file. Raises: RecipeError."""
    for record in read_files([path], path):
        place = _PLACE.sub(lambda found: f", {found[1] or 'line '}{found[2]}", record.where)
        where = str(path.parent / place)
        value = record.value
        if value is None and "NaN" in record.problem:
            value = _with_nan(record.raw)
        if value is None:
            raise RecipeError(f"{where}: {record.problem}; mend the line, or take it out")
        yield where, value


def _with_nan(raw: bytes) -> dict[str, Any] | None:
    """A record as Python writes it, in which NaN stands for what was not rated."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
