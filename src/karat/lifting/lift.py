"""`karat lift RUN`: students of the same size, taught by the same prompts, answered by other rules.

The order is the proof: what is held out is taken aside, the base answers it, the plan is written
with what it can show, and only then is anything trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from karat.errors import RecipeError, RunError
from karat.lifting import measured
from karat.lifting import plan as planning
from karat.lifting.arms import (
    ARMS,
    BASE,
    DEFAULT,
    Candidates,
    Prompt,
    candidates,
    check_arms,
    data_digest,
    described,
    fewer,
    lines_of,
)
from karat.lifting.graded import Other, grade, other_reward
from karat.lifting.held_out import HeldOut, Reference, held_out, references, test_split, verified
from karat.lifting.plan import Asked, Plan
from karat.lifting.report import write_report
from karat.lifting.result import ArmTold, Lift
from karat.lifting.sizing import fit
from karat.lifting.verdict import cautions, moved, shorter, verdict
from karat.lifting.wording import count
from karat.lifting.workshop import Student, Workshop
from karat.rundir import Lock, Run
from karat.training.student_folder import check_free
from karat.training.student_identity import versions
from karat.training.student_settings import Settings
from karat.training.torch_side import check_installed

Say = Callable[[str], None]
SEEDS, EPOCHS, MAX_TOKENS = 3, 2.0, 256
MEASURES = {
    "instructions": "share of instructions followed (strict)", "math": "right answers",
    "code": "share of tests passed",
}  # fmt: skip


class _Ground(NamedTuple):
    """What a lift stands on: prompts to train on, what is held out, and another reward."""

    found: Candidates
    held: HeldOut
    references: list[Reference]
    other: Other | None


def lift(
    run: str | Path, *, student: str, out: str | Path | None = None,
    held: str | Path | None = None, reward: str | None = None,
    human: str | Path | None = None, arms: Sequence[str] = (), by: str | None = None,
    seeds: int = SEEDS, rows: int | None = None, prompts: int | None = None,
    max_tokens: int = MAX_TOKENS, settings: Settings | None = None,
    budget_minutes: float | None = None, command: str = "", say: Say = lambda text: None,
) -> Lift:  # fmt: skip
    """Trains every arm with every seed, measures all students, and says what was shown.

    Running the same again goes on where it stopped. Raises: RecipeError before anything is
    trained, RunError after.
    """
    source = Run.open(run)
    held = held or test_split(source)
    if held is None:
        raise RecipeError(
            "say what students are measured on: --eval FILE of prompts that can be verified "
            "(IFEval, GSM8K, HumanEval), or give the recipe a `split` with rows to verify"
        )
    settings = settings or Settings()
    settings = msgspec.structs.replace(settings, epochs=settings.epochs or EPOCHS)
    asked = Asked(
        run=str(source.path), by=by, student=student, arms=check_arms(tuple(arms) or DEFAULT),
        seeds=seeds, rows=rows, held_out=str(held), prompts=prompts, reward=reward,
        references=None if human is None else str(human), max_tokens=max_tokens,
        budget_minutes=budget_minutes,
        settings={k: v for k, v in settings.that_matter("sft").items() if k != "seed"},
    )  # fmt: skip
    place = Path(out) if out is not None else Path("runs") / f"{source.path.name}-lift"
    check_installed()
    check_free(place, own=(planning.FILE, ARMS))
    began = time.monotonic()
    say(f"reading {source.path} and what students are measured on")
    ground = _ground(source, asked)
    with _locked(place):
        shop = Workshop(place, student, settings, max_tokens, source.path.name, say)
        plan = planning.read_plan(place, asked) or _planned(shop, ground, asked, command)
        for line in planning.in_words(plan):
            say(line)
        ground = _as_planned(ground, plan)
        students = _students(shop, ground, plan)
        made = _result(ground, plan, students, place, time.monotonic() - began)
        return write_report(made, place)


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """A lock of the directory; of a lift that is refused no empty directory is left."""
    with Lock(Run(place)):
        try:
            yield
        except RecipeError:
            if {path.name for path in place.iterdir()} <= {".lock"}:
                (place / ".lock").unlink(missing_ok=True)
                with suppress(OSError):
                    place.rmdir()
            raise


def _ground(source: Run, asked: Asked) -> _Ground:
    """Raises: RecipeError."""
    found = candidates(source, asked.by)
    texts = [_text(one) for one in found.prompts]
    other = None if asked.reward is None else other_reward(asked.reward, source, found.by)
    held = held_out(Path(asked.held_out), texts, asked.prompts)
    human = [] if asked.references is None else references(Path(asked.references), texts)
    return _Ground(
        found._replace(prompts=fewer(found.prompts, asked.rows)), held, human, other
    )  # fmt: skip


def _text(prompt: Prompt) -> str:
    return "\n".join(m.content for m in prompt.messages if m.role != "system")


def _planned(shop: Workshop, ground: _Ground, asked: Asked, command: str) -> Plan:
    """Sizes it, lets the base answer, and writes the plan down."""
    rows, prompts, seeds = len(ground.found.prompts), len(ground.held.items), asked.seeds
    human = len(ground.references)
    epochs = float(asked.settings["epochs"])
    trained = [arm for arm in asked.arms if arm != BASE]
    if asked.budget_minutes is not None:
        speeds = shop.speeds(ground.found.prompts, ground.held.items, ground.references)
        size = fit(
            asked.budget_minutes, speeds, arms=len(trained), seeds=seeds, epochs=epochs,
            rows=rows, prompts=prompts, references=len(ground.references),
        )  # fmt: skip
        rows, prompts, seeds, human = size.rows, size.prompts, size.seeds, size.references
        shop.say(f"{rows:,} prompts to train on, {prompts:,} to measure on, {seeds} seeds: about "
                 f"{size.minutes:.0f} minutes")  # fmt: skip
    ground = _sized(ground, rows, prompts, human)
    values = verified(ground.held, shop.answers_of_base(ground.held.items))
    base_P = np.array([share for share, _ in values])
    if (known := int(np.isfinite(base_P).sum())) < 2:
        raise RecipeError(
            f"{asked.held_out}: the verifier '{ground.held.verifier}' can decide on {known} of the "
            f"base's {len(base_P):,} answers; give prompts that say what is right"
        )
    numbers = tuple(range(1, seeds + 1))
    pairs = planning.contrasts_of(asked.arms)
    plan = planning.sealed(Plan(
        made=planning.now(), asked=asked, ranking=ground.found.by, rows=rows, seeds=numbers,
        epochs=epochs, prompts=prompts, near=ground.held.near, references=human,
        verifier=ground.held.verifier, measure=MEASURES[ground.held.verifier], contrasts=pairs,
        data={
            arm: [data_digest(lines_of(ground.found.prompts, arm, seed)) for seed in numbers]
            for arm in trained
        },
        held_out=ground.held.digest, base_mean=float(np.nanmean(base_P)),
        power=planning.power_of(base_P, prompts, seeds, len(pairs), planning.SEED_SD),
        small=planning.needed(), versions=versions(), command=command,
    ))  # fmt: skip
    planning.write_plan(shop.out, plan)
    return plan


def _sized(ground: _Ground, rows: int, prompts: int, human: int) -> _Ground:
    held = ground.held._replace(items=_spread(ground.held.items, prompts))
    found = ground.found._replace(prompts=fewer(ground.found.prompts, rows))
    read = _spread(ground.references, human)
    return ground._replace(held=held, found=found, references=read)


def _spread(items: list[Any], most: int) -> list[Any]:
    """Every so-manyth: the first of a file may be of one kind."""
    if len(items) <= most:
        return items
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _as_planned(ground: _Ground, plan: Plan) -> _Ground:
    """Raises: RecipeError where what is there now is not what was planned."""
    ground = _sized(ground, plan.rows, plan.prompts, plan.references)
    now = {
        arm: [data_digest(lines_of(ground.found.prompts, arm, seed)) for seed in plan.seeds]
        for arm in plan.data
    }
    if now != plan.data or ground.held.digest != plan.held_out:
        what = plan.asked.run if now != plan.data else plan.asked.held_out
        raise RecipeError(f"{what} has changed since this lift was planned; name another --out")
    return ground


def _students(shop: Workshop, ground: _Ground, plan: Plan) -> list[Student]:
    """Seed by seed, so that a lift that is stopped has whole seeds of all arms."""
    jobs = [(BASE, 0)] if BASE in plan.asked.arms else []
    jobs += [(arm, seed) for seed in plan.seeds for arm in plan.data]
    found: list[Student] = []
    for number, (arm, seed) in enumerate(jobs, 1):
        who = arm if arm == BASE else f"{arm}, seed {seed}"
        shop.say(f"student {number} of {len(jobs)}: {who}{_left(found, len(jobs))}")
        found.append(
            shop.student(arm, seed, ground.found.prompts, ground.held.items, ground.references)
        )
    return found


def _left(found: Sequence[Student], of: int) -> str:
    """How long the others will take, by those that were trained so far."""
    taken = [one.train_seconds + one.measure_seconds for one in found if one.arm != BASE]
    if not taken:
        return ""
    left = (of - len(found)) * float(np.mean(taken)) / 60
    return f"; about {count(max(1, round(left)), 'minute')} left for all of them"


def _result(
    ground: _Ground, plan: Plan, students: list[Student], out: Path, seconds: float
) -> Lift:  # fmt: skip
    pairs = plan.contrasts
    measures = measured.by_verifier(ground.held, students, pairs, plan.measure)
    if not measures or measures[0].role != "primary":
        raise RunError(
            f"the verifier '{plan.verifier}' could decide on fewer than two prompts for all "
            "students: nothing can be said; name other prompts in --eval, and another --out"
        )
    notes: list[str] = []
    cost: float | None = 0.0
    if ground.other is not None:
        values, cost = grade(ground.other, ground.held.items, students, out)
        unit = measured.measure(ground.other.key, "secondary", values, pairs)
        measures += [unit] if unit is not None else []
        notes += [ground.other.note] if ground.other.note else []
    for more in (measured.by_likelihood(students, pairs), measured.by_length(students, pairs)):
        measures += [more] if more is not None else []
    measures.sort(key=lambda one: measured.ROLES.index(one.role))
    arms = _told(ground, plan, students)
    notes += moved(plan, versions()) + shorter(
        plan, {name: arm.rows for name, arm in arms.items() if arm.data}
    )
    return Lift(
        verdict(measures[0]), plan, planning.now(), measures, arms,
        ground.found.left_out, cautions(plan, measures, notes), round(seconds, 1), cost,
    )  # fmt: skip


def _told(ground: _Ground, plan: Plan, students: Sequence[Student]) -> dict[str, ArmTold]:
    found = {}
    for arm in plan.asked.arms:
        mine = [one for one in students if one.arm == arm]
        data = None if arm == BASE else described(ground.found.prompts, arm, plan.seeds)
        means = [
            float(np.mean([getattr(one, name) for one in mine]))
            for name in ("rows", "tokens", "train_seconds", "measure_seconds")
        ]
        losses = [one.losses for one in mine if one.losses is not None]
        found[arm] = ArmTold(data, means[0], means[1], means[2], means[3], losses)
    return found
