"""The plan of a lift, written before anything is trained, and kept: what will be compared, on what,
by which measure, and how small a difference could be seen.

Looked at afterwards, some measure, some pair of arms or some number of seeds shows almost anything.
So the plan is a file with a date and a digest that the results name; going on with a lift that was
stopped takes its plan, and another plan needs another directory.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.errors import RecipeError
from karat.lifting.arms import BASE
from karat.lifting.wording import count
from karat.row import canonical, digest
from karat.rundir import write_atomic
from karat.scoring.lift_power import Power, planned, prompts_for

Floats = NDArray[np.float64]

FILE = "plan.json"
ALIKE = 0.5  # correlation of two students' values on one prompt, where nothing is known yet
SEED_SD = 0.015  # of a student's mean over seeds: what small models moved by in trials
SMALL = 0.2  # standard deviations: what is called a small effect


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for: of a lift that goes on, nothing of it may differ."""

    run: str
    by: str | None
    student: str
    arms: tuple[str, ...]
    seeds: int
    rows: int | None
    held_out: str
    prompts: int | None
    reward: str | None
    references: str | None
    max_tokens: int
    budget_minutes: float | None
    settings: dict[str, Any]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to be done. `digest` stands for all of it but the date."""

    made: str
    asked: Asked
    ranking: str
    rows: int
    seeds: tuple[int, ...]
    epochs: float
    prompts: int
    near: int
    references: int
    verifier: str
    measure: str
    contrasts: tuple[tuple[str, str], ...]
    data: dict[str, list[str]]
    held_out: str
    base_mean: float
    power: Power
    small: int
    versions: dict[str, str]
    command: str
    digest: str = ""


def contrasts_of(arms: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The first arm against each of the others; with the next one it is the question asked."""
    return tuple((arms[0], other) for other in arms[1:])


def power_of(base_P: Floats, prompts: int, seeds: int, family: int, seed_sd: float) -> Power:
    """From the base's answers alone, before any student is: values of two students on one prompt
    are taken to correlate by `ALIKE`, each with the spread of the base's over prompts.

    A base that does the same on all prompts tells nothing: the spread is then that of a coin.
    """
    known = base_P[np.isfinite(base_P)]
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    spread = spread or 0.5
    return planned(prompts, seeds, spread * float(np.sqrt(2 * (1 - ALIKE))), seed_sd, family)


def sealed(plan: Plan) -> Plan:
    """The plan as a file holds it (an hour of 60 is one of 60.0), with its digest."""
    plan = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    tree = msgspec.to_builtins(plan)
    for name in ("made", "digest"):
        del tree[name]
    return msgspec.structs.replace(plan, digest=digest(canonical(tree)).hex())


def now() -> str:
    """Date and time to the second, UTC."""
    return datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds")


def write_plan(out: Path, plan: Plan) -> None:
    """Raises: RunError."""
    tree = msgspec.json.format(msgspec.json.encode(plan), indent=1)
    write_atomic(out / FILE, tree)


def read_plan(out: Path, asked: Asked) -> Plan | None:
    """The plan of a lift that was begun. Raises: RecipeError where it is of another one, or was
    changed by hand."""
    path = out / FILE
    if not path.is_file():
        return None
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError) as error:
        raise RecipeError(f"{path} cannot be read ({error}); name another --out") from None
    if sealed(plan).digest != plan.digest:
        raise RecipeError(f"{path} was changed since it was written; name another --out")
    asked = msgspec.json.decode(msgspec.json.encode(asked), type=Asked)
    differ = [
        f"{name} {getattr(plan.asked, name)}, now {getattr(asked, name)}"
        for name in Asked.__struct_fields__
        if getattr(plan.asked, name) != getattr(asked, name)
    ]
    if differ:
        raise RecipeError(
            f"{out} holds a lift that was planned otherwise ({'; '.join(differ)}): what was "
            "planned stays; name another --out"
        )
    return plan


def in_words(plan: Plan, unit: float = 100.0) -> list[str]:
    """The plan as it is said before the work begins."""
    power, (first, second) = plan.power, plan.contrasts[0]
    trained = [arm for arm in plan.asked.arms if arm != BASE]
    base = len(plan.asked.arms) - len(trained)
    students = count(len(trained) * len(plan.seeds) + base, "student")
    return [
        f"{students}: {', '.join(trained)}, {count(len(plan.seeds), 'seed')} each"
        + (", and the base, which is not trained" if base else "")
        + f"; {count(plan.rows, 'prompt')} and {count(plan.epochs, 'epoch')} for each student",
        f"measured on {count(plan.prompts, 'held-out prompt')} by {plan.measure}"
        + (f" ({plan.near:,} left out, too near to what is trained on)" if plan.near else ""),
        f"a true difference {first} − {second} of {unit * power.detectable_holm:.1f} points would "
        f"be found {power.power:.0%} of the time (alone, without Holm's correction for "
        f"{power.family}: {unit * power.detectable:.1f}), if two students differ on one prompt "
        f"with a standard deviation of {unit * power.prompt_sd:.0f} points and seeds by "
        f"{unit * power.seed_sd:.1f}",
        f"an effect of {SMALL} standard deviations needs {plan.small:,} prompts",
        f"plan {plan.digest[:12]}, {plan.made}",
    ]


def needed() -> int:
    """Prompts for a small effect."""
    return prompts_for(SMALL)
