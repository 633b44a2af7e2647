"""Finds and reads the sets that `--on` names: a file, a folder, or a set on the Hugging Face hub.

`[KIND=]PLACE`. The kind follows from the keys of the first record; KIND= says it where one looks
like another. A folder is one set of all its files. On the hub the split is the one that is measured
on, `OWNER/NAME[:SUBSET][@SPLIT]` says another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from karat.errors import RecipeError, did_you_mean
from karat.evaluating.benchmarks import SPLITS
from karat.evaluating.items import EvalSet, Item
from karat.evaluating.shapes import MANGLED, READERS, kind_of
from karat.steps._files import file_format, input_files, read_files
from karat.training._hub import is_saved, name_of, set_records

Records = Iterator[tuple[str, str, dict[str, Any]]]  # (place in words, name of the file, record)
# Files whose folder says what they are.
_PLAIN = ("ratings", "dataset", "data", "train", "test", "validation", "preference", "filtered")


def read_set(written: str) -> EvalSet:
    """The set that `[KIND=]PLACE` names. Raises: RecipeError."""
    kind, _, place = written.partition("=") if _is_forced(written) else ("", "", written)
    if kind and kind not in READERS:
        raise RecipeError(f"--on {written}: no kind of set '{kind}'; {did_you_mean(kind, READERS)}")
    path = Path(place).expanduser()
    made = EvalSet(_name(place), kind, [])
    for where, file, record in _records(place, path, made):
        try:
            found = kind or kind_of(record)
            made.kind = made.kind or found
            if found != made.kind:
                raise ValueError(f"a record of {found} in a set of {made.kind}")
            for item in READERS[found](record, file):
                if isinstance(item, Item):
                    made.items.append(item)
                else:
                    made.left_out[item] = made.left_out.get(item, 0) + 1
        except MANGLED as error:
            why = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise RecipeError(f"{where}: {why}") from None
    if made.kind == "ratings":
        made.items = _by_prompt(made.items)
    if not made.items:
        told = ", ".join(f"{n:,} {reason}" for reason, n in made.left_out.items())
        raise RecipeError(f"--on {written}: nothing to measure on{f' ({told})' if told else ''}")
    return made


def read_sets(written: Sequence[str]) -> list[EvalSet]:
    """All sets, under names that differ. Raises: RecipeError."""
    found: list[EvalSet] = []
    for text in written:
        made = read_set(text)
        others = {other.name for other in found}
        if made.name in others:
            number = next(n for n in range(2, 1000) if f"{made.name} {n}" not in others)
            made.name = f"{made.name} {number}"
        found.append(made)
    return found


def _is_forced(written: str) -> bool:
    """Whether KIND= stands before the place; names of files may hold an = too."""
    kind, sign, _ = written.partition("=")
    return bool(sign) and "/" not in kind and "." not in kind and not Path(written).exists()


def _records(place: str, path: Path, made: EvalSet) -> Records:
    """Everything the place holds; notes the names of its files. Raises: RecipeError."""
    name = name_of(place)
    if name is not None and (is_saved(path) or not path.exists()):
        split = name.split or SPLITS.get(name.place, "")
        name = name._replace(split=split)
        made.files.append(str(name))
        told = name.subset or name.place.rpartition("/")[2]
        yield from ((where, told, found) for where, found in set_records(name))
        return
    if not path.exists():
        raise RecipeError(f"--on {place}: no such file or folder")
    for file in _files(path):
        made.files.append(f"{file.absolute().parent.name}/{file.name}")
        stem = _stem(file)
        for record in read_files([file], file):
            if record.value is None:
                raise RecipeError(
                    f"{file.parent / record.where}: {record.problem}; mend the record, or take it "
                    "out"
                )
            yield str(file.parent / record.where), stem, record.value


def _files(path: Path) -> list[Path]:
    """The files of a set. LLMBar as published is `dataset.json` in a folder for each part, with the
    answers of its evaluators below."""
    if path.is_dir() and (published := sorted(path.rglob("dataset.json"))):
        parts = [file for file in published if "CaseStudy" not in file.parts]
        return parts or published
    return input_files(path)


def _stem(file: Path) -> str:
    """What a file says of its records: its name without endings, or its folder's."""
    stem = file.name
    while file_format(Path(stem)) and "." in stem:
        stem = stem.rpartition(".")[0]
    plain = stem.partition("-0000")[0] in _PLAIN
    return file.absolute().parent.name if plain else stem


def _name(place: str) -> str:
    path = Path(place).expanduser()
    if path.is_file():
        return _stem(path)
    return path.absolute().name if path.is_dir() else place.rpartition("/")[2]


def _by_prompt(items: Sequence[Item]) -> list[Item]:
    """Responses to one prompt as one item, in the order of the file; the same text twice is one,
    with the ratings it has first."""
    held: dict[object, list[Item]] = {}
    for item in items:
        held.setdefault(item.prompt, []).append(item)
    return [
        Item(
            some[0].prompt, tuple(item.responses[0] for item in some), some[0].group,
            ratings=tuple(item.ratings[0] for item in some),
        )
        for some in (_distinct(every) for every in held.values())
    ]  # fmt: skip


def _distinct(items: Sequence[Item]) -> list[Item]:
    return list({item.responses[0]: item for item in reversed(items)}.values())[::-1]
