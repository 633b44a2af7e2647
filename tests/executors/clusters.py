"""A Ray cluster of this machine for tests: one a process of pytest, begun when it is asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from karat.parquet import Parts
from karat.row import Row
from karat.rundir import Run
from karat.table import SCHEMA, from_batch

# Runs on Ray take seconds each. The suite has some, and what they share; `make cluster` runs all.
many = pytest.mark.skipif(
    os.environ.get("KARAT_CLUSTER") != "all", reason="a long one on Ray: make cluster runs it"
)
CPUS, GPUS = 4, 2  # as Ray counts them: no device is needed for it
STORE = 100 * 2**20


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    import ray

    if ray.is_initialized():  # by another file that has this fixture
        yield ray
        return
    ray.init(
        "local", num_cpus=CPUS, num_gpus=GPUS, object_store_memory=STORE, include_dashboard=False,
        log_to_driver=False, logging_level=logging.ERROR,
    )  # fmt: skip
    yield ray
    ray.shutdown()


def rows(path: Path) -> list[Row]:
    """Of a table, in a file or in parts."""
    with Parts(path) as file:
        return [
            row
            for batch in file.iter_batches(1000, columns=SCHEMA.names)
            for row in from_batch(batch)
        ]


def plain(path: Path) -> list[Any]:
    return [msgspec.to_builtins(row) for row in rows(path)]


def same(one: Run, other: Run) -> None:
    """Row for row, and figure for figure."""
    for name in ("accepted_file", "dropped_file"):
        assert plain(getattr(one, name)) == plain(getattr(other, name))
    left, right = one.report, other.report
    for key in ("rows", "funnel", "cost_usd", "human_share", "warnings"):
        assert left[key] == right[key], key
    for name in left["exports"]:
        for file in left["exports"][name]["files"].values():
            assert (one.path / file).read_bytes() == (other.path / file).read_bytes()
