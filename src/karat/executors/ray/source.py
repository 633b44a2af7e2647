"""A source read into parts, by one task of the cluster: rows are named in the order of the files.

Equal rows are told apart by their number among equals, which only one reader can count. It reads
ahead of the workers, who begin with the first part while it writes the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from karat import parquet, places
from karat.context import Services
from karat.errors import KaratError
from karat.executors.ray.job import Order, Steps
from karat.executors.ray.quiet import quiet_client
from karat.executors.ray.units import Piece, Unit
from karat.executors.rows import source_rows
from karat.stage import StepStats, disk, written

Told = tuple[StepStats, list[str]]  # figures of the source step, and warnings


def read_source(
    order: Order, steps: Steps, address: str, folder: Path, size: int
) -> Iterator[Unit | Told | Exception]:
    """Units of `size` rows as they are written, and at the end what the step had to say.

    A folder that an earlier run wrote for the same stage is not read again. An error of karat's own
    comes as the last thing, and is not raised: Ray would wrap it.
    """
    try:
        held = parquet.meta(folder)
        if held.get("address") == address:
            yield from _again(folder, held)
        else:
            yield from _read(order, steps, address, folder, size)
    except KaratError as error:
        yield error


def _read(
    order: Order, steps: Steps, address: str, folder: Path, size: int
) -> Iterator[Unit | Told]:
    with disk(folder):
        places.make_folder(folder)
    recipe = order.recipe(keyless=True)
    services = Services(recipe, quiet_client(recipe), order.scopes)
    services.round = order.round
    stats = StepStats(steps.labels[0])
    rows, _ = source_rows(steps.stage(recipe.folder, 1), services, stats)
    parts: list[tuple[str, int]] = []
    while some := list(islice(rows, size)):
        name = parquet.part_name(len(parts))
        with written(folder / name, {}) as writer:
            writer.add(some)
        yield Unit(len(parts), (Piece(folder / name),), len(some))
        parts.append((name, len(some)))
    told = msgspec.to_builtins(stats)
    meta: dict[str, Any] = {"address": address, "stats": told, "warnings": services.warnings}
    with disk(folder):
        parquet.list_parts(folder, parts, meta)
    yield stats, services.warnings


def _again(folder: Path, meta: dict[str, Any]) -> Iterator[Unit | Told]:
    for number, (file, rows) in enumerate(parquet.counted(folder)):
        yield Unit(number, (Piece(file),), rows)
    yield msgspec.convert(meta["stats"], StepStats), meta["warnings"]
