"""Files as records: one mapping per line, list item, CSV line or Parquet row, a few in memory.

A file is somebody else's work and may hold anything. A record that cannot be read is handed on with
the reason and the place instead of being raised or skipped, so that what was lost can be counted.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa

from karat import parquet, places
from karat.errors import RecipeError
from karat.steps._json import CHUNK, MAX_RECORD, Record, json_items, json_lines

BATCH_ROWS = 256
BOM = b"\xef\xbb\xbf"
FORMATS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet")
PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)


def file_format(path: Path) -> str:
    """One of FORMATS by the file's name, `.gz` and its like aside; empty if unknown."""
    name = path.name.lower()
    for ending in (*PACKED, ".zst"):
        name = name.removesuffix(ending)
    ending = name.rpartition(".")[2]
    return ending if ending in FORMATS else ""


def input_files(
    path: Path,
    pattern: str | None = None,
    format_of: Callable[[Path], str] = file_format,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """The files a recipe names: one file, or those of a folder in order of their names.

    Without a pattern a folder means every file in it, at any depth, that karat can read: one whose
    `format_of` is not empty. Raises: RecipeError when there is none.
    """
    try:
        found = _found(path, pattern, format_of)
    except (ValueError, NotImplementedError) as error:
        raise RecipeError(f"glob: {error}; write a pattern inside {path}") from None
    except OSError as error:
        raise RecipeError(f"cannot look into {path}: {_words(error)}") from None
    for file in found:
        if not format_of(file):
            raise RecipeError(f"cannot read {file}: its name must end in {', '.join(formats)}")
    if not found:
        raise RecipeError(f"no file in {path} matches {pattern or ', '.join(formats)}")
    return found


def _found(path: Path, pattern: str | None, format_of: Callable[[Path], str]) -> list[Path]:
    """Raises: RecipeError, OSError, ValueError."""
    if parquet.is_table(path):
        return parquet.files(path)
    if not places.is_dir(path):
        if not places.exists(path):
            raise RecipeError(f"no file {path}")
        return [path]
    inside = sorted(places.files_in(path, pattern))
    if pattern is not None:
        return inside
    known = (one for one in inside if format_of(one))
    return [one for one in known if not _inside(one, path).startswith((".", "_"))]


def _inside(file: Path, root: Path) -> str:
    """A file's name as of the folder it lies in."""
    if places.is_remote(root):
        return str(file).removeprefix(str(root)).lstrip("/") or file.name
    return file.relative_to(root).as_posix() if root.is_dir() else file.name


def read_files(files: Iterable[Path], root: Path) -> Iterator[Record]:
    """The records of all files, one after another."""
    for file in files:
        name = _inside(file, root)
        try:
            if file_format(file) == "parquet":
                yield from _parquet(file, name)
            else:
                with _open(file) as stream:
                    yield from _text_records(stream, file, name)
        except BROKEN as error:
            yield Record(name, None, f"the file ends early: {_words(error)}")


def _open(path: Path) -> io.BufferedReader:
    try:
        ending = path.suffix.lower()
        packed: Any = places.stream(path) if places.is_remote(path) else path
        if ending == ".zst":
            source = packed if places.is_remote(path) else str(path)
            raw: Any = pa.input_stream(source, compression="zstd")
        elif ending in PACKED:
            raw = PACKED[ending](packed, "rb")
        else:
            raw = places.stream(path)
        return io.BufferedReader(raw, CHUNK)
    except BROKEN as error:
        raise RecipeError(f"cannot open {path}: {_words(error)}") from None


def _words(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200]


def _text_records(stream: io.BufferedReader, file: Path, name: str) -> Iterator[Record]:
    head = stream.peek(CHUNK)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise RecipeError(f"{file} is written in UTF-16; save it as UTF-8")
    if head.startswith(BOM):
        stream.read(len(BOM))
        head = head[len(BOM) :]
    kind = file_format(file)
    if kind in ("csv", "tsv"):
        yield from _csv(stream, file, name, "\t" if kind == "tsv" else ",")
    elif head.lstrip().startswith(b"["):
        yield from json_items(stream, name)
    else:
        yield from json_lines(stream, name)


# --- CSV -----------------------------------------------------------------------------------------


def _csv(stream: io.BufferedReader, file: Path, name: str, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(MAX_RECORD)  # the default of 128 KiB is shorter than a long answer
    with io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="") as text:
        lines = csv.reader(text, delimiter=delimiter)
        try:
            header = next(lines, [])
        except csv.Error as error:
            raise RecipeError(f"{file} has no header line: {error}") from None
        if len(set(header)) < len(header) or not all(_is_utf8(cell) for cell in header):
            raise RecipeError(f"{file}: the first line must name each column once, in UTF-8")
        while True:
            where = f"{name}:{lines.line_num + 1}"
            try:
                cells = next(lines, None)
            except csv.Error as error:
                yield Record(where, None, f"not CSV: {error}")
                continue
            if cells is None:
                return
            if cells:
                yield _csv_record(where, header, cells)


def _csv_record(where: str, header: list[str], cells: list[str]) -> Record:
    if len(cells) == len(header) and all(map(_is_utf8, cells)):
        # An empty cell cannot be told from a missing value.
        return Record(where, {k: v or None for k, v in zip(header, cells, strict=True)})
    raw = ",".join(cells).encode("utf-8", "surrogateescape")
    if len(cells) != len(header):
        return Record(where, None, f"{len(cells)} cells under {len(header)} columns", raw)
    return Record(where, None, "not UTF-8", raw)


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# --- Parquet and Arrow ---------------------------------------------------------------------------


def _parquet(path: Path, name: str) -> Iterator[Record]:
    try:
        columns = [f.name for f in parquet.schema(path) if not _is_binary(f.type)]
    except (OSError, ValueError, pa.ArrowException) as error:  # names of columns that are no text
        raise RecipeError(f"{path} is not Parquet: {_words(error)}") from None
    number = 0
    for batch in parquet.foreign_batches(path, BATCH_ROWS, columns, CHUNK):
        try:
            values = batch.to_pylist()
        except (ValueError, OverflowError):
            values = [_alone(batch.slice(place, 1)) for place in range(batch.num_rows)]
        for value in values:
            number += 1
            where, bad = f"{name}: row {number}", isinstance(value, str)
            yield Record(where, None, value) if bad else Record(where, as_json(value))


def _alone(row: pa.RecordBatch) -> dict[str, Any] | str:
    """The one row of a batch; in words, why Python cannot hold it: no UTF-8, a date of year 0."""
    try:
        found: dict[str, Any] = row.to_pylist()[0]
    except (ValueError, OverflowError) as error:
        return _words(error)
    return found


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def as_json(value: Any) -> Any:
    """The value as JSON has it: dates and decimals as text; bytes, NaN and infinities as null."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return None if isinstance(value, bytes) else str(value)


# --- how many ------------------------------------------------------------------------------------


def count_rows(files: Sequence[Path]) -> int | None:
    """How many records the files hold, without decoding them; None when one cannot be read.

    Lines of JSONL that are broken count as well, and `group` makes fewer rows of them.
    """
    try:
        return sum(map(_count, map(places.place, files)))
    except (RecipeError, csv.Error, UnicodeError, *BROKEN):
        return None


def _count(path: Path) -> int:
    kind = file_format(path)
    if kind == "parquet":
        return parquet.count(path)
    with _open(path) as stream:
        if kind in ("csv", "tsv") or stream.peek(CHUNK).removeprefix(BOM).lstrip()[:1] == b"[":
            return sum(1 for _ in _text_records(stream, path, path.name))
        total, last = 0, b"\n"
        while chunk := stream.read(CHUNK):
            total += chunk.count(b"\n")
            last = chunk[-1:]
        return total + (last != b"\n")
