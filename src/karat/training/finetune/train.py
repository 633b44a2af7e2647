"""Trains a transformers model as a reward model: `karat reward train DATA… --model MODEL`.

The folder is the training: the same command goes on where a killed one stopped, and once it is done
returns what is there. What is measured is the saved folder, scored by the reward a recipe would
name; and before anything is measured, the two readings of a conversation, the trainer's and the
reward's, are compared token by token, so that a figure can never be of another format.

One process, on one device. Source: HelpSteer2 (2406.08673 §4) for the regression's recipe,
HelpSteer2-Preference (2410.01257 §4) for going on from it with pairs.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import nan
from pathlib import Path

import numpy as np
from msgspec import structs

from karat.models.bases import base_model
from karat.models.torch_libraries import imported, quiet
from karat.rewards import transformers as reward_kind
from karat.rewards._checkpoint import Checkpoint, find, fingerprint
from karat.rewards.transformers import TransformersReward
from karat.rundir import Lock, Run
from karat.training.finetune import ensemble, heldout, record, same
from karat.training.finetune import model as models
from karat.training.finetune.card import card_of
from karat.training.finetune.examples import Examples, Parts, check_rated, examples, part
from karat.training.finetune.reader import Reader, template_of
from karat.training.finetune.record import RewardModel
from karat.training.finetune.settings import RewardSettings, labels_of
from karat.training.finetune.trainer import Course, Loop, run
from karat.training.ratings import HumanData, read_human, read_tests
from karat.training.reward_card import licence_of
from karat.training.reward_figures import Figure
from karat.training.torch_side import device_of, dtype_of, writing_to

Say = Callable[[str], None]
SCORES = "held_out.npz"
_CHECKPOINTS = "checkpoints"
_PACKAGES = ("torch", "transformers", "peft", "karat")


@dataclass(frozen=True, slots=True)
class _Job:
    """One model to train, with everything that does not depend on its seed."""

    data: HumanData
    parts: Parts
    tests: dict[str, HumanData]
    source: str
    base: str
    found: Checkpoint
    settings: RewardSettings
    command: str
    say: Say


@dataclass(frozen=True, slots=True)
class _Trained:
    """One stage done: its course, and what the result tells of it."""

    course: Course
    examples: Examples
    weights: int
    rate: float
    epochs: float
    dtype: str
    notes: list[str]


def train_reward_model(
    data: Sequence[str | Path], model: str, out: Path, settings: RewardSettings | None = None,
    tests: Sequence[str | Path] = (), say: Say | None = None,
) -> RewardModel | ensemble.Ensemble:  # fmt: skip
    """Train `model` on the ratings and preferences of `data` (files, folders, runs, hub names) and
    write it to the folder `out` with its card; with `settings.members` > 1 an ensemble of them.

    `model` is embedded/NAME, a folder or a hub's name. `tests` are only measured, without prompts
    that are in `data`. `say` receives lines of progress.

    Raises:
        RecipeError: the data, the model, the folder or a setting is wrong; nothing was trained.
        RunError: it stopped; the same command goes on.
    """
    settings, say = (settings or RewardSettings()).checked(), say or (lambda text: None)
    for package in ("torch", "transformers", "accelerate", *(["peft"] if settings.lora else [])):
        imported(package)
    human, out = read_human(data), Path(out)
    parts = part(human, settings)
    if settings.objective.startswith("regression"):
        check_rated(parts.train, settings)
    held = read_tests(tests)
    source = str(base_model(model, say))
    with quiet():
        found = find(source, Path(), None)
    mark = record.identity(human, fingerprint(found, ()), settings)
    command = record.command_of(data, model, out, settings, tests)
    job = _Job(human, parts, held, source, model, found, settings, command, say)
    record.check_free(out, mark)
    with Lock(Run(out)):
        return _one(job, out, mark) if settings.members == 1 else _members(job, out)


def _members(job: _Job, out: Path) -> ensemble.Ensemble:
    """One after the other, and what they are worth together."""
    members = []
    for number in range(1, job.settings.members + 1):
        job.say(f"member {number} of {job.settings.members}")
        own = record.settings_of_member(job.settings, number)
        mine = replace(job, settings=own, say=_named(job.say, number))
        mark = record.identity(job.data, fingerprint(job.found, ()), own)
        members.append(_one(mine, out / f"member-{number}", mark))
    return ensemble.together(out, members, job.parts.held_out, job.command, SCORES)


def _named(say: Say, number: int) -> Say:
    return lambda text: say(f"member {number}: {text}")


def _one(job: _Job, out: Path, mark: str) -> RewardModel:
    """Train, save, measure; or return what is there."""
    if (done := record.claim(out, mark)) is not None:
        job.say(f"{out} is trained: nothing to do")
        if missing := job.tests.keys() - {figure.name for figure in done.tests}:
            names = ", ".join(sorted(missing))
            job.say(f"not measured on {names}: karat reward eval transformers/{out} --on FILE")
        return done
    settings = job.settings
    trained = (
        _two_stages(job, out)
        if settings.objective == "regression+scaled"
        else _stage(job, settings, job.source, out, out / _CHECKPOINTS, None)
    )
    reward = _loaded(out, settings)
    weights_A = settings.attribute_weights()
    job.say("measuring on held-out prompts")
    with quiet():
        scored = heldout.score(reward, job.parts.held_out, weights_A)
        measured = heldout.measure(scored, job.parts.held_out, weights_A)
        tests = tuple(_test(reward, name, test, job) for name, test in job.tests.items())
    result = _result(job, out, trained, measured, tests)
    with writing_to(out):
        np.savez(
            out / SCORES, rated=scored.rated_RA, chosen=scored.chosen_P, rejected=scored.rejected_P
        )
        record.note_prompts(out, job.parts.train, job.parts.validation)
        (out / record.CARD).write_text(card_of(result), encoding="utf-8")
    record.finish(out, mark, result)
    shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)
    return result


def _two_stages(job: _Job, out: Path) -> _Trained:
    """A regression, kept as a model of its own in `out/regression`, and pairs from there."""
    first, note = out / "regression", "regression"
    if (said := record.read(first)) is None:
        stage = structs.replace(job.settings, objective="regression")
        done = _stage(job, stage, job.source, first, out / _CHECKPOINTS / note, None)
        losses = dict(done.course.validation_curve)
        best = done.course.best_step
        text = (
            f"regression first: step {best} of {done.course.steps}, validation loss "
            f"{losses.get(0, nan):.4f} at the start, {losses.get(best, nan):.4f} then"
        )
        said = {"notes": [*done.notes, text]}
        record.write(first, said)
    stage = structs.replace(job.settings, objective="scaled")
    weights_A = job.settings.attribute_weights()
    done = _stage(job, stage, str(first), out, out / _CHECKPOINTS / "scaled", weights_A)
    return replace(done, notes=[*said["notes"], *done.notes])


def _stage(
    job: _Job, settings: RewardSettings, source: str, out: Path, checkpoints: Path,
    folded: Sequence[float] | None,
) -> _Trained:  # fmt: skip
    """One objective from one start to one folder. `folded`: the start has five outputs, which
    become one with these weights."""
    device = device_of(settings.device)
    half = _in_bfloat16(device)
    rest = dtype_of("bfloat16" if half and settings.lora else "float32", device)
    started = models.start(
        source, labels_of("regression" if folded else settings.objective), settings, rest,
        settings.seed,
    )  # fmt: skip
    model, tokenizer = started.model, started.tokenizer
    if folded is not None:
        models.fold(model, folded)
    template, said = template_of(
        find(source, Path(), None), settings.template if folded is None else None, settings.system,
        tokenizer.bos_token, tokenizer.eos_token,
    )  # fmt: skip
    most = min(settings.max_length, job.found.longest() or settings.max_length)
    reader = Reader(tokenizer, template, job.base, most)
    job.say("reading the data as tokens")
    made = examples(job.parts, settings.objective, reader, settings)
    seen = frozenset(
        int(i) for one in made.train[:2000] for ids in one.texts for i in set(ids.tolist())
    )
    pad = models.set_padding(model, tokenizer, template, seen)
    if half:
        models.read_out_in_float32(model)
    pairs = settings.objective != "regression"
    rate = settings.rate(started.weights, after_regression=folded is not None)
    loop = Loop(
        settings.objective, made.train, made.validation, settings, pad, device, half, rate,
        settings.epochs_of(pairs), checkpoints,
    )  # fmt: skip
    if settings.lora:
        model = models.with_lora(model, settings)
    notes = [*([said] if said else []), *made.counts.lines()]
    if started.kept_head and folded is None:
        notes.append("it had a head of these outputs, which was trained on")
    for note in notes:
        job.say(note)
    course = run(model, loop, job.say)
    dtype = "bfloat16" if half else "float32"
    model = models.save(model, tokenizer, out, dtype_of(dtype, device), source)
    same.check(model, reader, _loaded(out, settings), job.parts.validation, pad, dtype)
    return _Trained(course, made, started.weights, rate, loop.epochs, dtype, notes)


def _in_bfloat16(device: str) -> bool:
    return device.startswith("cuda") and bool(imported("torch").cuda.is_bf16_supported())


def _loaded(out: Path, settings: RewardSettings) -> TransformersReward:
    return reward_kind.load(
        out.name, out.absolute().parent, device=settings.device,
        system="keep" if settings.system == "keep" else None,
        trust_remote_code=settings.trust_remote_code,
    )  # fmt: skip


def _test(reward: TransformersReward, name: str, data: HumanData, job: _Job) -> Figure:
    """Accuracy on a set of its own, without prompts that were given for training."""
    known = job.data.groups
    unseen = HumanData(
        rated=[row for row in data.rated if row.group not in known],
        pairs=[pair for pair in data.pairs if pair.group not in known],
    )
    weights_A = job.settings.attribute_weights()
    return heldout.all_of(heldout.score(reward, unseen, weights_A), name)


def _result(
    job: _Job, out: Path, trained: _Trained, measured: heldout.Measured,
    tests: tuple[Figure, ...],
) -> RewardModel:  # fmt: skip
    course, counts = trained.course, trained.examples.counts
    losses = dict(course.validation_curve)
    licences = [job.found.licence(), licence_of(list(job.data.files))]
    stated = " AND ".join(dict.fromkeys(one for one in licences if one))
    notes = list(trained.notes)
    if measured.unread:
        notes.append(f"{measured.unread} held-out answers too long or refused, not scored")
    return RewardModel(
        folder=str(out), base=job.base, settings=job.settings, weights=trained.weights,
        learning_rate=trained.rate, epochs=trained.epochs, steps=course.steps,
        best_step=course.best_step, start_loss=losses.get(0, nan),
        best_loss=losses.get(course.best_step, nan),
        train_curve=course.train_curve, validation_curve=course.validation_curve,
        tokens=course.tokens, seconds=course.seconds, device=device_of(job.settings.device),
        dtype=trained.dtype, examples={"training": counts.train, "validation": counts.validation},
        notes=notes, data=job.data.files, left_out=job.data.left_out, prompts=len(job.data.groups),
        measured=measured, tests=tests, licence=job.settings.licence or stated,
        command=job.command, date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        versions={name: version(name) for name in _PACKAGES if _there(name)},
    )  # fmt: skip


def _there(package: str) -> bool:
    try:
        version(package)
    except ModuleNotFoundError:
        return False
    return True
