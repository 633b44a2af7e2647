"""Trains a student on what a run has exported: SFT, DPO or RPO, through TRL and PEFT.

The folder is the result and its proof: an adapter (or a whole model), its tokenizer, karat.json
(base, digest of the data, settings, versions, seconds, tokens, losses, licences) and a card. The
same command gives the same adapter on a CPU. A checkpoint is written every minute, so a training
that was killed goes on where it was when the same command runs again, and one that is finished says
so; a folder that holds another student is never touched.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson

from karat.errors import RecipeError
from karat.models.bases import base_model as base_model
from karat.models.torch_libraries import imported, quiet
from karat.rundir import Lock, Run, write_atomic
from karat.training.chat_tokens import ChatTokens
from karat.training.rpo import trainer_class
from karat.training.student_card import Provenance, card_of
from karat.training.student_folder import (
    CHECKPOINTS,
    FACTS,
    MERGED,
    Trained,
    begun,
    check_free,
    finished,
    last_checkpoint,
    note,
    taken_back,
)
from karat.training.student_identity import Base, base_of, versions
from karat.training.student_losses import held_out_losses
from karat.training.student_rows import (
    Line,
    Rows,
    check_shape,
    preference_rows,
    reward_spread,
    sft_rows,
    sha_of,
)
from karat.training.student_settings import Objective
from karat.training.student_settings import Settings as Settings
from karat.training.student_source import Source as Source
from karat.training.student_trainer import arguments, refused
from karat.training.telling import Telling
from karat.training.torch_side import Loaded, device_of, ends_of, enough_memory, load, writing_to

Say = Callable[[str], None]
Lines = Sequence[Line]
_CURVE = 200  # points of the loss curve that are kept


def train_sft(
    lines: Lines, model: str, out: str | Path, settings: Settings, say: Say, *,
    held_out: Mapping[str, Lines] | None = None, source: Source | None = None,
) -> Trained:  # fmt: skip
    """Supervised fine-tuning on `{"prompt": [..], "completion": [..]}`; the loss counts the tokens
    of the completion only. `held_out` are parts that are only measured, before and after.

    Raises: RecipeError where no line is left or the folder holds another student; RunError.
    """
    return _train("sft", lines, model, Path(out), settings, say, held_out or {}, source)


def train_preference(
    lines: Lines, model: str, out: str | Path, settings: Settings, say: Say,
    objective: Literal["dpo", "rpo"] = "dpo", *,
    held_out: Mapping[str, Lines] | None = None, source: Source | None = None,
) -> Trained:  # fmt: skip
    """DPO or RPO on `{"prompt", "chosen", "rejected", "score_chosen", "score_rejected"}`; the
    scores only matter to RPO. Raises: as `train_sft`."""
    return _train(objective, lines, model, Path(out), settings, say, held_out or {}, source)


def _train(
    objective: Objective, lines: Lines, model: str, out: Path, settings: Settings, say: Say,
    held_out: Mapping[str, Lines], source: Source | None,
) -> Trained:  # fmt: skip
    if not lines:
        raise RecipeError("there is nothing to train on: no line in the export")
    check_shape(lines, objective)
    source, settings = source or Source(), settings.filled(objective, len(lines))
    for name in ("torch", "transformers", "trl", "peft", "accelerate", "datasets"):
        imported(name)
    device = device_of(settings.device)
    with quiet():
        base = base_of(model, say)
    what = {
        "objective": objective, "base": base.name, "base_identity": base.identity,
        "data_sha": sha_of(lines), "settings": settings.that_matter(objective),
    }  # fmt: skip
    check_free(out)
    with taken_back(out), Lock(Run(out)):
        if done := finished(out, what):
            say(f"{out} is finished: trained on the same data with the same settings")
            if settings.merge and not settings.full and not (out / MERGED).is_dir():
                loaded = load(out, "cpu", imported("torch").float32)
                config = imported("transformers").AutoConfig.from_pretrained(base.source)
                with quiet():
                    _merge(loaded, config.dtype, out, say)
            return done
        started = begun(out, what)
        if source.training == "no":
            say("the terms of a model that wrote this data forbid training on it: see its report")
        say(f"{base.name} learns from {source.name}, into {out}")
        work = _Work(objective, settings, base, out, device, say)
        return work.run(lines, held_out, source, what, started)


class _Work:
    """One training, from lines to a folder."""

    def __init__(
        self, objective: Objective, settings: Settings, base: Base, out: Path, device: str, say: Say
    ) -> None:  # fmt: skip
        self.objective, self.settings, self.base = objective, settings, base
        self.out, self.device, self.say = out, device, say
        self.spread: float | None = None

    def run(
        self, lines: Lines, held_out: Mapping[str, Lines], source: Source, what: dict[str, Any],
        started: dict[str, Any],
    ) -> Trained:  # fmt: skip
        clock = time.monotonic()
        torch = imported("torch")
        self.say(f"loading the model on {self.device}")
        whole = self.settings.full or self.device == "cpu"
        loaded = load(self.base.source, self.device, torch.float32 if whole else torch.bfloat16)
        chat = ChatTokens(loaded.tokenizer)
        if self.objective == "rpo":
            self.spread = reward_spread(lines)
        rows = self._rows(lines, chat)
        if not chat.stops(ends_of(loaded.model)):
            self.say("the chat template ends no turn: the student will not learn to stop")
        parts = {name: self._rows(part, chat, name) for name, part in held_out.items()}
        parts = {name: part for name, part in parts.items() if part.rows}
        telling = Telling(self.say, rows.tokens, self.settings.save_every_s)
        with quiet():
            trainer = self._trainer(loaded, rows, telling)
            datasets = {name: _dataset(part.rows) for name, part in parts.items()}
            before = started.get("before") or {}
            if set(before) != set(datasets):
                before = held_out_losses(trainer, datasets, self.say)
            spent = float(started.get("seconds", 0.0))
            note(self.out, {**what, "before": before, "seconds": spent})

            def noted(seconds: float) -> None:
                note(self.out, {**what, "before": before, "seconds": spent + seconds})

            telling.begin(noted)
            self._fit(trainer)
            after = held_out_losses(trainer, datasets, self.say)
            seconds = spent + time.monotonic() - clock
            with writing_to(self.out):
                self._save(trainer, loaded)
        found = Trained(
            self.out, self.base.name, trainer.state.global_step,
            round(rows.tokens * trainer.state.epoch), round(seconds, 1), telling.curve(_CURVE),
            {name: (before[name], after[name]) for name in after}, source.command,
        )  # fmt: skip
        self._papers(found, rows, parts, source, what)
        shutil.rmtree(self.out / CHECKPOINTS, ignore_errors=True)
        return found

    def _rows(self, lines: Lines, chat: ChatTokens, measured: str = "") -> Rows:
        """Raises: RecipeError where none is left, unless they are only `measured`."""
        most = self.settings.max_length
        if self.objective == "sft":
            made = sft_rows(lines, chat, most)
        else:
            made = preference_rows(lines, chat, most, self.spread)
        if made.left_out:
            self.say(f"left out{measured and f' of {measured}'}: {made.reasons()}")
        if not made.rows and not measured:
            raise RecipeError(
                f"nothing is left to train on: {made.reasons()}"
                + ("; --max-length reads longer ones" if "longer" in made.reasons() else "")
            )
        return made

    def _trainer(self, loaded: Loaded, rows: Rows, telling: Telling) -> Any:
        """TRL's trainer for the objective. Raises: RecipeError for settings it refuses."""
        torch, trl, settings = imported("torch"), imported("trl"), self.settings
        more: dict[str, Any] = {}
        if not settings.full:
            more["peft_config"] = imported("peft").LoraConfig(
                r=settings.lora_r, lora_alpha=settings.lora_alpha, lora_dropout=0.0,
                target_modules="all-linear", task_type="CAUSAL_LM",
            )  # fmt: skip
        kind = trl.SFTTrainer
        if self.objective != "sft":
            kind = trainer_class()
            if self.objective == "rpo":
                more |= {"eta": settings.eta, "sft_coefficient": settings.sft_coefficient}
            if settings.full:
                # In the numbers of what is trained, or the two differ before the first step.
                more["ref_model"] = load(self.base.source, self.device, torch.float32).model
        with refused():
            made = kind(
                model=loaded.model,
                args=arguments(self.objective, settings, self.device, self.out, len(rows.rows)),
                train_dataset=_dataset(rows.rows),
                processing_class=loaded.tokenizer, callbacks=[telling.callback()], **more,
            )  # fmt: skip
        made.remove_callback(imported("transformers").PrinterCallback)
        return made

    def _fit(self, trainer: Any) -> None:
        """Trains, from the last whole checkpoint where there is one. Raises: RunError."""
        last = last_checkpoint(self.out / CHECKPOINTS)
        if last is not None:
            self.say(f"going on from step {last.name.rpartition('-')[2]}")
        with enough_memory(), writing_to(self.out):
            trainer.train(resume_from_checkpoint=None if last is None else str(last))

    def _save(self, trainer: Any, loaded: Loaded) -> None:
        """An adapter as it is; whole weights in the numbers of the base's files, float32 or half
        of it."""
        config = imported("transformers").AutoConfig.from_pretrained(self.base.source)
        model = trainer.accelerator.unwrap_model(trainer.model)
        if self.settings.full:
            model = model.to(config.dtype)
        model.save_pretrained(self.out)
        loaded.tokenizer.save_pretrained(self.out)
        if self.settings.merge and not self.settings.full:
            _merge(Loaded(model, loaded.tokenizer), config.dtype, self.out, self.say)

    def _papers(
        self, found: Trained, rows: Rows, parts: Mapping[str, Rows], source: Source,
        what: dict[str, Any],
    ) -> None:  # fmt: skip
        facts = Provenance(
            **what, base_licence=self.base.licence, data=source.name, rows=len(rows.rows),
            left_out=rows.left_out, data_licences=source.licences, data_training=source.training,
            held_out_rows={name: len(part.rows) for name, part in parts.items()},
            reward_spread=self.spread, device=self.device, versions=versions(),
            steps=found.steps, tokens=found.tokens, seconds=found.seconds, curve=found.curve,
            held_out=found.held_out, command=found.command, merged=(self.out / MERGED).is_dir(),
        )  # fmt: skip
        write_atomic(self.out / "README.md", card_of(facts).encode())
        tree = orjson.dumps(msgspec.to_builtins(facts), option=orjson.OPT_INDENT_2)
        write_atomic(self.out / FACTS, tree)  # last: what has it is finished


def _merge(loaded: Loaded, dtype: Any, out: Path, say: Say) -> None:
    """Writes merged/: under another name until it is whole."""
    say("merging the adapter into its base")
    made, beside = loaded.model.merge_and_unload().to(dtype), out / f".{MERGED}"
    shutil.rmtree(beside, ignore_errors=True)
    made.save_pretrained(beside)
    loaded.tokenizer.save_pretrained(beside)
    beside.rename(out / MERGED)


def _dataset(rows: list[dict[str, Any]]) -> Any:
    return imported("datasets").Dataset.from_list(rows)
