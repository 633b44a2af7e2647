"""Which faults are tried in which kind of run: a mixture by default, each by itself on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain

from fault_ground import Case
from fault_server import Fault

ALL = os.environ.get("KARAT_FAULTS") == "all"
SEEDS = (1, 2)


def cases(*tables: Sequence[Fault]) -> list[Case]:
    """Every fault, whole and streamed where it may be either, with both kinds of grader."""
    return [
        Case(fault, grader, stream, seed)
        for fault in chain(*tables)
        for grader in _graders(fault)
        for stream in ((False, True) if fault.stream is None else (fault.stream,))
        for seed in SEEDS
    ]


def _graders(fault: Fault) -> Sequence[str]:
    """A judge is asked about the answers: where these differ, it is asked something else."""
    return ("helpsteer2",) if fault.ends == "taken" else ("helpsteer2", "judge")


def named(case: Case) -> str:
    return case.name
