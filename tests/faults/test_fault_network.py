"""Whole runs over a network that fails: connections that break and stall, framing, and the clock.

`KARAT_FAULTS=all` tries every form of a fault by itself, in streamed and whole answers, with a
reward in this process and a judge over the same server, and at several seeds.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from conftest import environment
from fault_cases import ALL, cases, named
from fault_ground import Case, Ground, check, ground_at
from fault_server import Fault, mixed, reply
from fault_wire import BREAKING, ENDING, ODDLY, OVERSIZED, PACKED, STALLING


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground_at(tmp_path_factory.mktemp("faults")) as made:
        yield made


SHORT = [
    Case(mixed("breaks", BREAKING), stream=True),
    Case(mixed("breaks", [*BREAKING, *ENDING]), grader="judge"),
    Case(mixed("stalls", STALLING, share=0.25), stream=True, seed=2),
    Case(mixed("odd framing", ODDLY), stream=True, grader="judge"),
    Case(mixed("packed and too large", [*OVERSIZED, PACKED], share=0.2)),
]
LONG = cases(BREAKING, ENDING, STALLING, ODDLY, OVERSIZED, [PACKED])


@pytest.mark.parametrize("case", LONG if ALL else SHORT, ids=named)
def test_a_run_under_a_fault_ends_and_heals(case: Case, ground: Ground, tmp_path: Path) -> None:
    check(case, ground, tmp_path / "out")


DAY = 86_400.0
JUMPS = {
    "a day forth and back": lambda n: DAY * (n // 5 % 2),
    "further back each time": lambda n: -3600.0 * n,
    "ten years ahead": lambda n: 3650 * DAY * (n > 20),
    "to 1970": lambda n: -time_was * (n > 20),
    "all of it": lambda n: list(JUMPS.values())[n // 9 % 4](n),
}
time_was = time.time()
BUSY = Fault(
    "busy until a moment of its own clock",
    lambda x: [reply(b"", f"Retry-After: {formatdate(time_was, usegmt=True)}", status="503 Busy")],
    "drops", lasting=0,
)  # fmt: skip


@pytest.mark.parametrize("jump", JUMPS if ALL else ["all of it"])
def test_a_clock_that_jumps_changes_no_row(
    jump: str, ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.undisturbed(Case(BUSY))
    clock, clock_ns = time.time, time.time_ns
    looks = 0

    def ahead() -> float:
        nonlocal looks
        looks += 1
        return JUMPS[jump](looks)

    monkeypatch.setattr(time, "time", lambda: max(clock() + ahead(), 1.0))
    monkeypatch.setattr(time, "time_ns", lambda: max(clock_ns() + int(ahead() * 1e9), 1))
    check(Case(BUSY), ground, tmp_path / "out")
    assert looks > 20


def test_attempts_have_ids_of_their_own_where_no_clock_was_ever_set() -> None:
    """Two runs after each other on a machine that begins in 1970, with one journal."""
    code = (
        "import time; time.time_ns = lambda: 10**9\n"
        "from karat.ledger import new_id; print(*(new_id() for _ in range(1000)))"
    )
    ids: list[list[int]] = []
    for _ in range(2):
        said = subprocess.check_output([sys.executable, "-c", code], env=environment(), text=True)
        ids.append([int(word) for word in said.split()])
    assert ids[0] == sorted(set(ids[0]))
    assert not set(ids[0]) & set(ids[1])
    assert all(0 < one < 2**63 for one in ids[0] + ids[1])
