"""The files of a run that are given away, and what they look like inside.

Accepted rows and what was exported of them, under the names they have in the run's folder, so that
a card, a Croissant file and the Hub say the same. Nothing else of a run is data: its journal holds
prompts and costs, its recipe the paths of a machine.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any, cast

import msgspec
import orjson
import pyarrow as pa

import karat.exporters
from karat import parquet, places
from karat.errors import RecipeError
from karat.rundir import Run

ACCEPTED = "accepted.parquet"
LOOKED_AT = (2_000, 16 * 2**20)  # lines and bytes of a file of lines that say what is in it
TEXT, INTEGER, FLOAT, BOOLEAN, STRUCT, LIST = (
    "text",
    "integer",
    "float",
    "boolean",
    "struct",
    "list",
)
_FOLDERS = re.compile(r"(?<![\w:/.<])/(?:[^/\s'\"<>]+/)+(?=[^/\s])")
MIXED = "mixed"  # no two readers would agree


class Shipped(msgspec.Struct, frozen=True):
    """A file as it is given away: `name` is its path there, with slashes; `sha256` in hex."""

    name: str
    path: Path
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, path: Path) -> Shipped:
        """Raises: RecipeError when it cannot be read."""
        try:
            with places.stream(path) as stream:
                digest = file_digest(cast(Any, stream), "sha256").hexdigest()
            _, size = places.stamp(path) or (0, 0)
            return cls(name, path, size, digest)
        except OSError as error:
            raise RecipeError(
                f"cannot read {path}: {places.shown(error)}; run the recipe again"
            ) from None

    @property
    def table(self) -> str:
        """Of a part of a table the table's name, else its own."""
        return self.name.partition("/")[0] if self.name.startswith(f"{ACCEPTED}/") else self.name


def shipped(run: Run, exports: Iterable[str] | None = None) -> list[Shipped]:
    """accepted.parquet, then the exports' files by name; of all exports, or of those named.

    Raises: RecipeError when the run has not come to its end, an export is not among its own, or a
    file that it wrote is gone.
    """
    made = run.report["exports"]
    wanted = list(made) if exports is None else list(dict.fromkeys(exports))
    names = []
    for one in wanted:
        if one not in made:
            there = f"it made: {', '.join(made)}" if made else "it made none"
            raise RecipeError(f"{run.path} has no export '{one}'; {there}")
        names += made[one]["files"].values()
    folder = run.export.resolve()
    for name in names:  # report.json is a file like another: it may have been written by anybody
        if not (run.path / name).resolve().is_relative_to(folder):
            raise RecipeError(f"{run.report_file} names {name!r}, which is not in {run.export}")
    return accepted(run) + [Shipped.of(name, run.path / name) for name in sorted(set(names))]


def accepted(run: Run) -> list[Shipped]:
    """accepted.parquet, or its parts in order. Raises: RecipeError."""
    table = run.accepted_file
    try:
        files = parquet.files(table)
    except OSError as error:
        raise RecipeError(
            f"cannot read {table}: {places.shown(error)}; run the recipe again"
        ) from None
    inside = f"{ACCEPTED}/" if files != [table] else ""
    return [Shipped.of(f"{inside}{path.name}", path) for path in files]


def rows_at(run: Run) -> str:
    """The accepted rows as papers name them: a file, or a pattern of parts. Raises: RecipeError."""
    try:
        return f"{ACCEPTED}/*.parquet" if parquet.is_folder(run.accepted_file) else ACCEPTED
    except OSError as error:
        raise RecipeError(f"cannot read {run.accepted_file}: {places.shown(error)}") from None


def accepted_at(run: Run) -> float:
    """When the accepted rows were written, in Unix seconds. Raises: RecipeError."""
    try:
        stamp = parquet.stamp(run.accepted_file)
    except OSError as error:
        raise RecipeError(f"cannot read {run.accepted_file}: {places.shown(error)}") from None
    if stamp is None:
        raise RecipeError(
            f"{run.path} has no {ACCEPTED}: run it to the end; nothing is paid for twice"
        )
    return stamp[0] / 1e9


def export_names() -> set[str]:
    """All names that exports of any run may have there."""
    names: set[str] = set()
    for info in pkgutil.iter_modules(karat.exporters.__path__):
        module = importlib.import_module(f"karat.exporters.{info.name}")
        names |= {f"export/{name}" for name in getattr(module, "FILES", ())}
    return names


def without_folders(text: str) -> str:
    """A text with the names of this machine's folders, and of whoever works on it, left out."""
    return _FOLDERS.sub("", text)


# --- what is in a file ---------------------------------------------------------------------------


class Shape(msgspec.Struct):
    """What a value looks like: of a struct its `fields`, of a list its `item`. An empty `kind`
    means that only nulls were seen."""

    kind: str = ""
    fields: dict[str, Shape] = {}
    item: Shape | None = None


def shape_of_parquet(path: Path) -> Shape:
    """The columns of a Parquet file."""
    return _of_type(pa.struct(list(parquet.schema(path))))


def _of_type(kind: pa.DataType) -> Shape:
    if pa.types.is_struct(kind):
        return Shape(STRUCT, {field.name: _of_type(field.type) for field in kind})
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return Shape(LIST, item=_of_type(kind.value_type))
    for test, name in (
        (pa.types.is_boolean, BOOLEAN), (pa.types.is_integer, INTEGER),
        (pa.types.is_floating, FLOAT), (pa.types.is_string, TEXT), (pa.types.is_large_string, TEXT),
    ):  # fmt: skip
        if test(kind):
            return Shape(name)
    return Shape(MIXED)


def shape_of_lines(path: Path) -> Shape:
    """What the first lines of a JSONL file hold, as loaders settle it too."""
    lines, size = LOOKED_AT
    found = Shape()
    with path.open("rb") as stream:
        for number, line in enumerate(stream):
            if number >= lines or (stream.tell() > size and number):
                break
            found = merged(found, _of_value(orjson.loads(line)))
    return found


def _of_value(value: Any) -> Shape:
    if isinstance(value, dict):
        return Shape(STRUCT, {name: _of_value(one) for name, one in value.items()})
    if isinstance(value, list):
        item = Shape()
        for one in value:
            item = merged(item, _of_value(one))
        return Shape(LIST, item=item)
    if value is None:
        return Shape()
    kinds: Sequence[tuple[type, str]] = ((bool, BOOLEAN), (int, INTEGER), (float, FLOAT))
    return Shape(next((name for kind, name in kinds if isinstance(value, kind)), TEXT))


def merged(one: Shape, other: Shape) -> Shape:
    """What holds both; whatever fits nothing is mixed."""
    if not one.kind or not other.kind:
        return one if one.kind else other
    if one.kind != other.kind:
        both = {one.kind, other.kind}
        return Shape(FLOAT if both == {INTEGER, FLOAT} else MIXED)
    if one.kind == LIST:
        return Shape(LIST, item=merged(one.item or Shape(), other.item or Shape()))
    if one.kind == STRUCT:
        names = dict.fromkeys([*one.fields, *other.fields])
        return Shape(STRUCT, {
            name: merged(one.fields.get(name, Shape()), other.fields.get(name, Shape()))
            for name in names
        })  # fmt: skip
    return one
