"""Evaluation sets as items: known ones from the Hub, others from files.

A set is named in one place of a recipe and looked for in this order: a file or folder of that name,
a known name, a name on the Hub. Sets of the Hub are kept by `datasets` on this machine, so that a
second run needs no network, and a machine without one can be given the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec

from karat.curation.overlap import Passage
from karat.errors import RecipeError, RunError, did_you_mean
from karat.steps._files import as_json, input_files, read_files
from karat.steps._known_sets import KNOWN, KnownSet, known
from karat.steps._shapes import look, quoted

Part = Literal["question", "answer", "context"]
Finder = Callable[[str], Path]  # where a recipe's file lies

# Columns of files nobody has described, the likeliest first.
QUESTIONS = (
    "question", "prompt", "problem", "instruction", "turns", "messages", "conversations",
    "question_content", "query", "input", "ctx", "sentence", "text",
)  # fmt: skip
ANSWERS = ("answer", "solution", "canonical_solution", "response", "output", "completion", "target")
KEYS = ("task_id", "question_id", "id", "key", "uid")
SAMPLES = 100  # records that are asked for a column
SPEAKERS = ("role", "from")
MODELS = ("assistant", "gpt", "model")


class Item(msgspec.Struct):
    """One item: what it is called ("#17" without a name of its own), and its texts by part."""

    name: str
    texts: dict[str, list[str]]


class EvaluationSet(msgspec.Struct):
    name: str
    items: list[Item]
    licence: str = ""


class Columns(msgspec.Struct):
    """Columns the user names for files, and the split of a set on the Hub nobody has described."""

    question: Sequence[str] = ()
    answer: Sequence[str] = ()
    split: str = "test"


def problem(names: Iterable[str], find: Finder, columns: Columns) -> str | None:
    """What speaks against loading these sets, as far as can be told without asking the Hub."""
    for name in names:
        path = find(name)
        try:
            if path.exists():
                records = _local(path, name, columns)
                _fields(list(islice(records, SAMPLES)), known(name), columns, name)
            elif known(name) is None and not _on_hub(name):
                hint = did_you_mean(name, KNOWN)
                return f"against: no file or folder {path}, and no set is known as '{name}'; {hint}"
            elif find_spec("datasets") is None:
                return f"against: '{name}' needs Hugging Face datasets: pip install 'karat[hf]'"
        except RecipeError as error:
            return f"against: {error}"
    return None


def load_sets(names: Iterable[str], find: Finder, columns: Columns) -> list[EvaluationSet]:
    """The sets in order. Raises: RecipeError for one that says nothing, RunError for one that
    cannot be had now."""
    return [_load(name, find(name), columns) for name in names]


def passages(sets: Sequence[EvaluationSet], parts: Sequence[Part]) -> list[Passage]:
    """The texts of these parts; items are numbered through all sets."""
    found, item = [], 0
    for group, one in enumerate(sets):
        for each in one.items:
            for part in parts:
                found += [
                    Passage(text, item, group, part == "question")
                    for text in each.texts.get(part, [])
                ]
            item += 1
    return found


def _load(name: str, path: Path, columns: Columns) -> EvaluationSet:
    entry = known(name)
    records = list(_local(path, name, columns) if path.exists() else _hub(name, entry, columns))
    fields = _fields(records[:SAMPLES], entry, columns, name)
    items = []
    for number, record in enumerate(records):
        texts = {
            part: _texts_of(record, fields[part]) for part in ("question", "answer", "context")
        }
        own = str(look(record, fields["key"][0]) or "") if fields["key"] else ""
        items.append(Item(own or f"#{number}", texts))
    if not any(text.strip() for item in items for text in item.texts["question"]):
        raise RecipeError(f"'{name}' has no text in {quoted(fields['question'])}")
    return EvaluationSet(_title(name, path), items, entry.licence if entry else "")


def _title(name: str, path: Path) -> str:
    return path.name if path.exists() and known(name) is None else name


def _on_hub(name: str) -> bool:
    """Whether it looks like `owner/name` of the Hub rather than like a file."""
    owner, _, rest = name.partition("/")
    return bool(owner and rest) and "/" not in rest and not Path(name).suffix


# --- records -------------------------------------------------------------------------------------


def _local(path: Path, name: str, columns: Columns) -> Iterator[dict[str, Any]]:
    """Records of a file or folder. Raises: RecipeError."""
    if any((path / f"dataset_{kind}.json").is_file() for kind in ("info", "dict")):
        entry = known(name)
        yield from _saved(path, entry.split if entry else columns.split)
        return
    if path.suffix.lower() == ".txt":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read ({error})") from None
        yield from ({"question": line} for line in lines if line.strip())
        return
    for record in read_files(input_files(path), path):
        if record.value is None:
            raise RecipeError(f"{record.where}: {record.problem}; mend the line, or take it out")
        yield record.value


def _hub(name: str, entry: KnownSet | None, columns: Columns) -> Iterator[dict[str, Any]]:
    """Records of a set on the Hub. Raises: RecipeError, RunError."""
    try:
        import datasets
    except ImportError:
        raise RecipeError(
            f"'{name}' needs Hugging Face datasets: pip install 'karat[hf]'"
        ) from None
    one = entry or KnownSet(name, (), split=columns.split)
    for config in one.configs:
        try:
            if one.files:
                found = datasets.load_dataset("json", data_files=list(one.files), split="train")
            else:
                found = datasets.load_dataset(one.place, config, split=one.split)
        except Exception as error:  # whatever the hub, the network or a token raises
            said = " ".join(str(error).split())[:300]
            raise RunError(
                f"evaluation set '{name}' cannot be had from the Hub ({type(error).__name__}: "
                f"{said}); run again with a network, or copy it here and name the file"
            ) from None
        yield from (as_json(value) for value in found)


def _saved(path: Path, split: str) -> Iterator[dict[str, Any]]:
    """Records of a folder that `datasets` saved. Raises: RecipeError."""
    try:
        import datasets
    except ImportError:
        raise RecipeError(f"{path} needs Hugging Face datasets: pip install 'karat[hf]'") from None
    found = datasets.load_from_disk(str(path))
    if isinstance(found, dict):
        if split not in found:
            raise RecipeError(f"{path} has no split '{split}'; {did_you_mean(split, found)}")
        found = found[split]
    yield from (as_json(value) for value in found)


# --- columns -------------------------------------------------------------------------------------


def _fields(
    samples: Sequence[dict[str, Any]], entry: KnownSet | None, columns: Columns, name: str
) -> dict[str, Sequence[str]]:
    """Which columns hold what: those the user names, those of a known set, or the likeliest."""

    def there(column: str) -> bool:
        return any(look(record, column) is not None for record in samples)

    if not samples:
        raise RecipeError(f"'{name}' has no records")
    for column in (*columns.question, *columns.answer):
        if not there(column):
            names = list(dict.fromkeys(key for record in samples for key in record))
            raise RecipeError(f"'{name}' has no column '{column}'; {did_you_mean(column, names)}")
    if entry and any(map(there, entry.question)):
        return {
            "question": entry.question, "answer": entry.answer, "context": entry.context,
            "key": [entry.key] if entry.key else [],
        }  # fmt: skip
    question = columns.question or [next(filter(there, QUESTIONS), "")]
    if question == [""]:
        names = list(dict.fromkeys(key for record in samples for key in record))
        raise RecipeError(
            f"'{name}' has no column that is called like a question, only {quoted(names)}; name "
            "one with question"
        )
    rest = [column for column in ANSWERS if column not in question]
    answer = columns.answer or [next(filter(there, rest), "")]
    key = next(filter(there, KEYS), "")
    return {
        "question": question, "answer": [one for one in answer if one], "context": (),
        "key": [key] if key else [],
    }  # fmt: skip


def _texts_of(record: dict[str, Any], columns: Sequence[str]) -> list[str]:
    return [text for column in columns for text in texts_in(look(record, column)) if text.strip()]


def texts_in(value: Any) -> list[str]:
    """The texts in a value: one, several, choices, or the user's turns of a conversation."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for each in value for text in texts_in(each)]
    if isinstance(value, dict):
        if any(value.get(speaker) in MODELS for speaker in SPEAKERS):
            return []
        return texts_in(value.get("content", value.get("value", value.get("text"))))
    return []
