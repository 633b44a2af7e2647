"""What a student learns from: a run's export, or a file of the same shape.

The export is made where the run did not ask for it. Where rows are split, the student trains on the
train part; validation and test are only measured.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pyarrow.compute as pc

from karat import parquet
from karat.errors import RecipeError
from karat.exporters.base import files_of
from karat.models.rights import STRICTNESS
from karat.row import SPLITS
from karat.rundir import Run

Line = dict[str, Any]
SHAPES = {"sft": "trl-sft", "dpo": "trl-preference", "rpo": "trl-preference"}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where lines came from, for the student's papers: a name, the licences of their texts, what
    these say of training (yes, conditions, unknown, no), and the command that trains."""

    name: str = "lines"
    licences: tuple[str, ...] = ()
    training: str = "unknown"
    command: str = ""


class Lessons(msgspec.Struct, frozen=True):
    """Lines to train on, parts that are only measured, where they came from, and what makes figures
    on them worth less."""

    lines: list[Line]
    held_out: dict[str, list[Line]]
    source: Source
    warnings: tuple[str, ...] = ()


def lessons(data: str | Path, objective: str, command: str = "") -> Lessons:
    """Of a run's directory, or of a JSONL file in TRL's shape for the objective.

    Raises: RecipeError for what is neither, a run that is not at its end, or one whose export
    holds nothing, with the reasons.
    """
    path, shape = Path(data), SHAPES[objective]
    if path.is_file():
        return _of_file(path, command)
    if not path.is_dir():
        raise RecipeError(f"no run and no file {path}")
    run = Run.open(path)
    whole, *parts = files_of(f"{shape}.jsonl")
    files = {name: run.export / name for name in (whole, *parts)}
    if not any(file.is_file() for file in files.values()):
        _export(run, shape)
    source = _source(run, command)
    if files[whole].is_file():
        return Lessons(_read(files[whole]), {}, source)
    found = dict(zip(SPLITS, (files[name] for name in parts), strict=True))
    if not found["train"].is_file():
        raise RecipeError(f"{run.path}: no row of the train part makes a line of {shape}")
    held_out = {name: _read(file) for name, file in found.items() if file.is_file()}
    return Lessons(held_out.pop("train"), held_out, source)


def _export(run: Run, shape: str) -> None:
    """Raises: RecipeError where it holds nothing."""
    if not parquet.exists(run.accepted_file):
        raise RecipeError(
            f"{run.path} has no {run.accepted_file.name}: run it to the end; nothing is paid for "
            "twice"
        )
    exporter = import_module(f"karat.exporters.{shape.replace('-', '_')}")
    run.export.mkdir(exist_ok=True)
    made = exporter.export(run, run.export)
    if not made.rows:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in made.left_out.items())
        raise RecipeError(
            f"{run.path} has nothing to train on as {shape}: {reasons or 'no row was accepted'}"
        )


def _source(run: Run, command: str) -> Source:
    """The licences of the accepted rows, and the strictest of what they say of training."""
    name = run.path.absolute().name
    try:
        table = parquet.Parts(run.accepted_file).read(["licences", "training"])
        stated, trains = table.column("licences"), table.column("training")
    except (OSError, KeyError, ValueError):  # an export without its run
        return Source(name=name, command=command)
    licences = pc.unique(pc.list_flatten(stated)).to_pylist()
    said = [one for one in pc.unique(trains).to_pylist() if one in STRICTNESS]
    worst = max(said, key=STRICTNESS.index, default="unknown")
    return Source(name=name, licences=tuple(sorted(licences)), training=worst, command=command)


def _of_file(path: Path, command: str) -> Lessons:
    """A file's lines; beside NAME.train.jsonl, NAME.validation.jsonl and NAME.test.jsonl."""
    held_out = {}
    lines = _read(path)
    if path.name.endswith(".train.jsonl"):
        stem = path.name.removesuffix(".train.jsonl")
        for part in SPLITS:
            beside = path.with_name(f"{stem}.{part}.jsonl")
            if part != "train" and beside.is_file():
                held_out[part] = _read(beside)
    known, warnings = {_asked(line) for line in lines}, []
    for part, measured in held_out.items():
        shared = sum(_asked(line) in known for line in measured)
        if shared:
            warnings.append(
                f"{shared:,} of {len(measured):,} lines of the {part} part ask what lines of the "
                "train part ask: the loss on them says how well the student remembers"
            )
    return Lessons(lines, held_out, Source(name=path.name, command=command), tuple(warnings))


def _asked(line: Line) -> str:
    """A line's prompt, folded."""
    prompt = line.get("prompt")
    turns = prompt if isinstance(prompt, list) else [prompt]
    texts = [turn.get("content") if isinstance(turn, dict) else turn for turn in turns]
    return " ".join("\n".join(str(text) for text in texts).lower().split())


def _read(path: Path) -> list[Line]:
    """Raises: RecipeError."""
    found = []
    try:
        for number, text in enumerate(path.read_bytes().splitlines(), 1):
            if text.strip():
                line = orjson.loads(text)
                if not isinstance(line, dict):
                    raise RecipeError(f"{path}, line {number}: not a JSON object")
                found.append(line)
    except orjson.JSONDecodeError as error:
        if not found:
            raise RecipeError(
                f"{path} is neither a run's directory nor a JSONL file: line {number} is not JSON"
            ) from None
        raise RecipeError(f"{path}, line {number}: not JSON ({error})") from None
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from None
    if not found:
        raise RecipeError(f"{path} is empty: there is nothing to train on")
    return found
