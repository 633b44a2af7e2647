"""Stages: a recipe cut where all rows must be known, each one a Parquet file that can be sealed.

A stage ends before and after a table step, before a step that draws other rows and after one that
turns one row into several, so that rows stream between files and memory stays flat. A sealed
stage's address holds its steps' names, parameters and source, the models and rewards they name as
resolved, the contents of the files they read, and the address of the stage before: what it holds
follows from that and from nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from karat import parquet, places
from karat.columns import READ_ROWS
from karat.contents import content
from karat.context import PROMPTS
from karat.errors import RunError
from karat.recipe import Recipe
from karat.row import Row, canonical, digest
from karat.step import StepCall
from karat.table import BARE, SCHEMA, from_batch, to_batch
from karat.uploads import sink

REWARDS = Path(__file__).with_name("rewards")
FORMAT = "1"  # of stage files; part of every address
ROW_GROUP_BYTES = 8 * 2**20
BATCH_ROWS = 256
NAME_BYTES = 112  # of a stage's file name before its suffix


class StepStats(msgspec.Struct):
    """The funnel at one step. `dropped` counts reasons without their details."""

    label: str
    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = {}
    notes: dict[str, Any] = {}

    def drop(self, reason: str) -> None:
        short = reason.partition(" (")[0]
        self.dropped[short] = self.dropped.get(short, 0) + 1

    def add(self, other: StepStats) -> None:
        """Adds another round's figures of the same step; counts among the notes are summed."""
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        for reason, count in other.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        counts = dict(self.notes.get("counts", {}))
        for name, count in other.notes.get("counts", {}).items():
            counts[name] = counts.get(name, 0) + count
        self.notes = {**other.notes, **({"counts": counts} if counts else {})}


class Stage(msgspec.Struct):
    """Consecutive steps that run together; a table step stands alone.

    `suffix` tells the files of a stage apart where a recipe is walked in rounds.
    """

    number: int
    labels: list[str]
    calls: list[StepCall]
    address: str
    suffix: str = ""

    @property
    def file_name(self) -> str:
        # Cut by bytes, which is what file systems count; the number alone tells stages apart.
        name = f"{self.number:02d}-{'-'.join(self.labels)}".encode()[:NAME_BYTES]
        return f"{name.decode(errors='ignore')}{self.suffix}.parquet"

    @property
    def fans(self) -> bool:
        """Whether it ends in a step that makes several rows out of one."""
        return self.calls[-1].step.kind == "fan"

    @property
    def is_table(self) -> bool:
        return self.calls[0].step.kind == "table"


def cut(recipe: Recipe) -> list[Stage]:
    """The stages of a recipe with their addresses."""
    groups: list[list[tuple[str, StepCall]]] = []
    closed = True
    for label, call in zip(recipe.labels, recipe.steps, strict=True):
        if closed or call.step.kind == "table" or call.step.draws:
            groups.append([])
        groups[-1].append((label, call))
        closed = call.step.kind in ("table", "fan")
    stages: list[Stage] = []
    address = digest(FORMAT, str(recipe.seed), *_templates(recipe)).hex()
    for number, group in enumerate(groups, 1):
        address = _address(recipe, group, address)
        stages.append(Stage(number, [name for name, _ in group], [c for _, c in group], address))
    return stages


def _templates(recipe: Recipe) -> list[bytes]:
    """Every prompt template a step could render: the recipe's own and karat's.

    More than a run may use, but a stale template in sealed rows is worse than a replay.
    """
    files = [*sorted(recipe.folder.glob("*.md")), *sorted(PROMPTS.iterdir())]
    return [digest(file.name, file.read_bytes()) for file in files if file.is_file()]


def _address(recipe: Recipe, group: Sequence[tuple[str, StepCall]], before: str) -> str:
    parts: list[bytes | str] = []
    meanings = _meanings(recipe)
    for label, call in group:
        parts += [label, call.step.path, call.step.source(), canonical(call.renamed(meanings))]
        if any(call.named("reward")):
            parts.append(_rewards_source())
    return digest(before, *parts).hex()


@cache
def _rewards_source() -> bytes:
    """A digest of what karat's rewards are written in: how answers are added up is no part of any
    journal key, so that an edit of it replays the stages that grade, and buys nothing."""
    files = sorted(REWARDS.glob("*.py"))
    return digest(*(part for file in files for part in (file.name, file.read_bytes())))


def scopes(recipe: Recipe) -> dict[str, str]:
    """What a step's answers depend on beside its model and its `n`: seed, parameters, and the rows.

    Not part of any key; it tells a plan which recorded answers are of this recipe and these rows.
    """
    meanings = _meanings(recipe)
    found = {}
    before = digest(FORMAT, str(recipe.seed)).hex()
    for label, call in zip(recipe.labels, recipe.steps, strict=True):
        own = call.renamed({**meanings, "model": lambda _: ""})
        own = {key: value for key, value in own.items() if key not in ("n", "models")}
        found[label] = digest(before, label, canonical(own), size=8).hex()
        before = digest(before, label, canonical(call.renamed(meanings))).hex()
    return found


def _meanings(recipe: Recipe) -> dict[str, Callable[[str], str]]:
    """What stands in an address for a name, by its kind: what it resolves to.

    A model or a file may be called anything; a reward's name is part of the keys of its scores.
    """

    def reward(name: str) -> str:
        return canonical([name, recipe.identity(name)]).decode()

    def dataset(name: str) -> str:
        path = recipe.path(name)
        return canonical([name, content(path)]).decode() if places.exists(path) else name

    return {
        "model": lambda name: recipe.models[name].meaning(),
        "reward": reward,
        "path": lambda name: content(recipe.path(name)),
        "dataset": dataset,
    }


def read_meta(path: Path) -> dict[str, Any]:
    """What the stage's writer said about it: address, complete, stats. Empty if not readable."""
    return parquet.meta(path)


def sealed(path: Path, address: str) -> bool:
    """Whether the file holds this stage, whole, with no row that waits for another try."""
    meta = read_meta(path)
    return meta.get("address") == address and bool(meta.get("complete"))


def read_rows(path: Path, *, bare: bool = False) -> Iterator[Row]:
    """The rows of a stage file, or of a run's accepted ones, a bounded number in memory.

    `bare`: without their responses, which are most of a file.
    """
    with parquet.damage_told(path), parquet.Parts(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=BARE if bare else SCHEMA.names):
            yield from from_batch(batch)


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with parquet.damage_told(path), parquet.Parts(path) as file:
        yield from file.iter_batches(READ_ROWS)


class StageWriter:
    """Writes a Parquet file that is at its name when it is whole, and never before."""

    def __init__(self, path: Path, schema: pa.Schema = SCHEMA) -> None:
        self.path = path
        self._schema = schema
        self._rows: list[Row] = []
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0
        with disk(path):
            self._sink = sink(path)
            self._writer = pq.ParquetWriter(
                self._sink.where, schema, compression="zstd", compression_level=1,
                write_page_checksum=True,
            )  # fmt: skip

    def add(self, rows: Sequence[Row]) -> None:
        self._rows += rows
        if len(self._rows) >= BATCH_ROWS:
            self._encode()

    def add_batch(self, batch: pa.RecordBatch) -> None:
        if self._rows:
            self._encode()
        self._batches.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= ROW_GROUP_BYTES:
            self._write()

    def _encode(self) -> None:
        # Cut by count alone, so that the file's bytes do not depend on when rows arrived.
        for start in range(0, len(self._rows), BATCH_ROWS):
            batch = to_batch(self._rows[start : start + BATCH_ROWS])
            self._batches.append(batch)
            self._bytes += batch.nbytes
            if self._bytes >= ROW_GROUP_BYTES:
                self._write()
        self._rows = []

    def _write(self) -> None:
        if self._batches:
            with disk(self.path):
                self._writer.write_table(pa.Table.from_batches(self._batches, self._schema))
        self._batches, self._bytes = [], 0

    def close(self, meta: dict[str, Any]) -> None:
        """Writes the rest and puts the file at its name. Raises: RunError."""
        if self._rows:
            self._encode()
        self._write()
        with disk(self.path):
            self._writer.add_key_value_metadata(
                {parquet.META: json.dumps(meta, sort_keys=True).encode()}
            )
            self._writer.close()
            self._sink.commit()

    def abandon(self) -> None:
        """Forgets a file that did not become whole."""
        # On a full disk closing fails too; what matters is that the name was never taken.
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._sink.discard()


@contextmanager
def written(path: Path, meta: dict[str, Any], schema: pa.Schema = SCHEMA) -> Iterator[StageWriter]:
    """A writer for the length of the block: the file is whole after it, or is not there."""
    writer = StageWriter(path, schema)
    try:
        yield writer
        writer.close(meta)
    except BaseException:
        writer.abandon()
        raise


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns what a full or forbidden disk, or a store, raises into a RunError that says what to
    do."""
    try:
        yield
    except OSError as error:
        what = f"{places.remedy(error)} or choose another --out"
        if places.is_remote(path):
            what = "look at the store and at the keys it is opened with"
        raise RunError(
            f"cannot write {path}: {places.shown(error)}; {what}, then run again: everything paid "
            "for is kept"
        ) from error
