"""How large a lift fits into a budget of minutes, from speeds that were measured.

Epochs and seeds are what the user says; what gives way is how many prompts are trained on and how
many are measured on. Half the time goes to measuring, as far as there are prompts for it: a lift
that trains long and measures on thirty prompts can show nothing. Reading people's references gets a
seventh of it, or nothing where that is too little for a few. Where not even a small one fits, seeds
go down to two, and then it is refused.
"""

from __future__ import annotations

import math

import msgspec

from karat.errors import RecipeError
from karat.lifting.wording import count

MEASURING = 0.5  # of the time, at the most, while there are rows to train on
READING = 1 / 7  # of the time, at the most
FEWEST_ROWS, FEWEST_PROMPTS, FEWEST_SEEDS, FEWEST_REFERENCES = 24, 24, 2, 8
SPARE = 0.9  # of the budget: speeds are of a minute, and machines have other things to do


class Speeds(msgspec.Struct, frozen=True):
    """Seconds: one row trained on for one epoch, one answer written, one reference read, and what
    each student costs besides (loading, saving)."""

    row_s: float
    answer_s: float
    reference_s: float
    student_s: float


class Size(msgspec.Struct, frozen=True):
    """What fits, and the minutes it takes."""

    rows: int
    prompts: int
    seeds: int
    references: int
    minutes: float


def minutes_of(
    speeds: Speeds, arms: int, rows: int, prompts: int, seeds: int, epochs: float, references: int
) -> float:
    """Of `arms` that are trained, and the base that is only measured."""
    measured = prompts * speeds.answer_s + references * speeds.reference_s
    trained = arms * seeds * (rows * epochs * speeds.row_s + speeds.student_s + measured)
    return (trained + speeds.student_s + measured) / 60


def fit(
    budget_minutes: float, speeds: Speeds, *, arms: int, seeds: int, epochs: float, rows: int,
    prompts: int, references: int = 0,
) -> Size:  # fmt: skip
    """The largest lift within the budget; `rows`, `prompts` and `references` are all there are.

    Raises: RecipeError where none fits, with what would.
    """
    for fewer in range(seeds, min(seeds, FEWEST_SEEDS) - 1, -1):
        size = _fit(budget_minutes * SPARE, speeds, arms, fewer, epochs, rows, prompts, references)
        if size is not None:
            return size
    least = minutes_of(
        speeds, arms, min(rows, FEWEST_ROWS), min(prompts, FEWEST_PROMPTS),
        min(seeds, FEWEST_SEEDS), epochs, 0,
    )  # fmt: skip
    raise RecipeError(
        f"--budget: {count(budget_minutes, 'minute')} is too little, as "
        f"{count(min(seeds, FEWEST_SEEDS), 'seed')} of {count(arms, 'arm')} on "
        f"{count(min(rows, FEWEST_ROWS), 'prompt')} take about "
        f"{count(math.ceil(least / SPARE), 'minute')} here; leave out an arm, or write shorter "
        "answers (--max-tokens)"
    )


def _fit(
    minutes: float, speeds: Speeds, arms: int, seeds: int, epochs: float, rows: int, prompts: int,
    references: int,
) -> Size | None:  # fmt: skip
    seconds, students = minutes * 60, arms * seeds
    if references:
        most = READING * seconds / ((students + 1) * max(speeds.reference_s, 1e-9))
        references = min(references, int(most)) if most >= FEWEST_REFERENCES else 0
    rest = seconds - (students + 1) * (speeds.student_s + references * speeds.reference_s)
    per_prompt = (students + 1) * speeds.answer_s
    per_row = students * epochs * speeds.row_s
    # What rows leave, or half of all, whichever is more; the fewest rows come first.
    for_prompts = max(MEASURING * rest, rest - rows * per_row)
    for_prompts = min(for_prompts, rest - min(rows, FEWEST_ROWS) * per_row)
    take = min(prompts, int(for_prompts / per_prompt)) if per_prompt else prompts
    left = rest - take * per_prompt
    kept = min(rows, int(left / per_row)) if per_row else rows
    if take < min(prompts, FEWEST_PROMPTS) or kept < min(rows, FEWEST_ROWS):
        return None
    return Size(
        kept, take, seeds, references,
        minutes_of(speeds, arms, kept, take, seeds, epochs, references),
    )  # fmt: skip
