"""Whole runs over services that answer wrongly: statuses, bodies, encodings, usage, streams.

`KARAT_FAULTS=all` tries every form of a fault by itself, and at several seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_bodies import RIGHT, STATUSES, STOPS, TAKEN, USAGE, WRONG
from fault_cases import ALL, cases, named
from fault_ground import Case, Ground, check, ground_at
from fault_server import mixed
from fault_streams import BREAKING_OFF, ENDLESS, FAILING, HELD_OPEN, ODDLY, TWICE


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground_at(tmp_path_factory.mktemp("faults")) as made:
        yield made


SHORT = [
    Case(STATUSES[0], grader="judge", stream=True),
    *(Case(fault) for fault in (*STATUSES[1:], *STOPS[1:8:6])),
    Case(WRONG[0]),
    Case(mixed("bytes and lengths", WRONG[1:])),
    *(Case(fault) for fault in (RIGHT, *TAKEN, *USAGE)),
    Case(mixed("streams that break off", BREAKING_OFF), stream=True),
    Case(mixed("errors in a stream", FAILING), stream=True),
    Case(mixed("odd streams", ODDLY), stream=True),
    Case(mixed("streams without end", ENDLESS, share=0.2), stream=True),
    Case(HELD_OPEN, stream=True),
]
LONG = cases(
    STATUSES, STOPS, WRONG, [RIGHT, *TAKEN], USAGE, BREAKING_OFF, FAILING, ODDLY, ENDLESS,
    [HELD_OPEN, TWICE],
)  # fmt: skip


@pytest.mark.parametrize("case", LONG if ALL else SHORT, ids=named)
def test_a_run_under_a_fault_ends_and_heals(case: Case, ground: Ground, tmp_path: Path) -> None:
    check(case, ground, tmp_path / "out")
