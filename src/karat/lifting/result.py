"""What a lift comes to: lift.json as a type, which the pages are written from."""

from __future__ import annotations

import msgspec

from karat.lifting.arms import Trained
from karat.lifting.measured import Measure
from karat.lifting.plan import Plan


class ArmTold(msgspec.Struct, frozen=True):
    """What an arm was trained on, and what that took; means over its students. `rows`: what was
    left of its prompts where an answer is longer than a student reads."""

    data: Trained | None
    rows: float
    tokens: float
    train_seconds: float
    measure_seconds: float
    losses: list[tuple[float, float]]


class Lift(msgspec.Struct, frozen=True):
    """The result: lift.json. The first of `measures` is the primary one."""

    verdict: str
    plan: Plan
    finished: str
    measures: list[Measure]
    arms: dict[str, ArmTold]
    left_out: dict[str, int]
    cautions: list[str]
    seconds: float
    cost_usd: float | None
    files: dict[str, str] = {}
