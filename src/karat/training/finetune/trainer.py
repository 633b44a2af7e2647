"""transformers' Trainer with karat's objectives: batches cut by tokens, losses over whole batches.

The Trainer keeps the optimiser, the schedule, mixed precision, checkpoints and resuming. It hands
over one whole batch a step; here the batch is sorted by length and cut into parts of like lengths
that fit into memory, and their gradients are added up. The optimiser sees the same batch, drawn at
random, as if it had been computed at once; what would have been padding is not computed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from karat.errors import RunError
from karat.models.torch_libraries import imported, quiet
from karat.training.finetune.examples import Example, Ids, micro_batches
from karat.training.finetune.losses import count, loss_sum
from karat.training.finetune.settings import Objective, RewardSettings
from karat.training.torch_side import writing_to

Say = Callable[[str], None]
_SAY_EVERY_S = 5.0
_CPU_TOKENS, _GPU_TOKENS = 512, 16_384
_STATE = "trainer_state.json"


class Loop(NamedTuple):
    """What one training is given: an objective over examples, and where its checkpoints go."""

    objective: Objective
    train: Sequence[Example]
    validation: Sequence[Example]
    settings: RewardSettings
    pad: int
    device: str
    bf16: bool
    rate: float
    epochs: float
    folder: Path


class Course(NamedTuple):
    """How a training went. Each point of a curve is (step, loss); `tokens` and `seconds` are of
    this process, which may have begun in the middle."""

    steps: int
    best_step: int
    train_curve: list[tuple[int, float]]
    validation_curve: list[tuple[int, float]]
    tokens: int
    seconds: float


def run(model: Any, loop: Loop, say: Say) -> Course:
    """Train the model, from the last checkpoint in `loop.folder` where there is one; its weights
    are then those of the lowest validation loss. Raises: RunError when memory runs out."""
    torch = imported("torch")
    checkpoint = last_checkpoint(loop.folder)
    with quiet():
        trainer = trainer_of(model, loop, checkpoint is not None, say)
        if checkpoint is not None:
            _here(checkpoint)
            say(f"going on from {checkpoint.name.replace('checkpoint-', 'step ')}")
        try:
            with writing_to(loop.folder):
                trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        except RuntimeError as error:
            full = isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
            if not full:
                raise
            raise RunError(
                f"training does not fit into the memory of {loop.device}: fewer tokens at a time "
                "(batch_tokens), gradient checkpointing, LoRA, or a shorter max_length; the same "
                "command goes on"
            ) from error
    history = trainer.state.log_history
    losses = [(int(one["step"]), float(one["loss"])) for one in history if "loss" in one]
    checks = {int(one["step"]): float(one["eval_loss"]) for one in history if "eval_loss" in one}
    if not all(np.isfinite(loss) for _, loss in losses):
        raise RunError("the loss is no number any more: try a lower learning rate, in a new folder")
    steps = int(trainer.state.global_step)
    best = int(trainer.state.best_global_step or steps)
    return Course(steps, best, losses, sorted(checks.items()), trainer.tokens, trainer.seconds)


def last_checkpoint(folder: Path) -> Path | None:
    """The last one that is whole; what a killed process left half written is removed."""
    found = []
    for path in folder.glob("checkpoint-*"):
        try:  # written after everything else
            json.loads((path / _STATE).read_bytes())
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
        else:
            found.append(path)
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _here(checkpoint: Path) -> None:
    """The best weights so far are beside it, wherever the folder was when they were written."""
    tree = json.loads((checkpoint / _STATE).read_bytes())
    if tree.get("best_global_step"):
        best = checkpoint.with_name(f"checkpoint-{tree['best_global_step']}")
        tree["best_model_checkpoint"] = str(best)
        new = checkpoint / f"{_STATE}.new"
        new.write_text(json.dumps(tree, indent=2), encoding="utf-8")
        new.replace(checkpoint / _STATE)


def scores_of(model: Any, batch: Sequence[Example], pad: int, device: Any) -> Any:
    """Scores of the texts of a part: the first of every example, then the second of every one.

    On a CPU long texts go through one by one: there larger matrices bring nothing, and padding
    costs.
    """
    torch = imported("torch")
    texts = [one.texts[place] for place in range(len(batch[0].texts)) for one in batch]
    if torch.device(device).type == "cpu" and len(texts) * max(map(len, texts)) > _CPU_TOKENS:
        return torch.cat([_scores(torch, model, [text], pad, device) for text in texts])
    return _scores(torch, model, texts, pad, device)


def _scores(torch: Any, model: Any, texts: Sequence[Ids], pad: int, device: Any) -> Any:
    width = max(map(len, texts))
    ids_RT = np.full((len(texts), width), pad, dtype=np.int64)
    mask_RT = np.zeros_like(ids_RT)
    for row, ids in enumerate(texts):
        ids_RT[row, : len(ids)], mask_RT[row, : len(ids)] = ids, 1
    return model(
        input_ids=torch.from_numpy(ids_RT).to(device, non_blocking=True),
        attention_mask=torch.from_numpy(mask_RT).to(device, non_blocking=True),
    ).logits


def target_of(objective: Objective, batch: Sequence[Example], device: Any) -> Any:
    """Ratings (R, 5), or strengths (P)."""
    torch = imported("torch")
    found = torch.tensor([one.target for one in batch], dtype=torch.float32)
    return (found if objective == "regression" else found[:, 0]).to(device)


def _arguments(loop: Loop, resuming: bool) -> Any:
    """The Trainer's own settings. One batch of it is one step."""
    settings = loop.settings
    steps = max(1, round(loop.epochs * -(-len(loop.train) // settings.batch)))
    every = max(1, steps // settings.evaluations)
    args = imported("transformers").TrainingArguments(
        output_dir=str(loop.folder), per_device_train_batch_size=settings.batch,
        num_train_epochs=loop.epochs, learning_rate=loop.rate, weight_decay=settings.weight_decay,
        lr_scheduler_type="constant_with_warmup", warmup_steps=min(settings.warmup, steps // 10),
        max_grad_norm=settings.clip, bf16=loop.bf16, use_cpu=loop.device == "cpu",
        activation_checkpointing=settings.gradient_checkpointing, eval_on_start=not resuming,
        eval_strategy="steps", eval_steps=every, save_strategy="steps", save_steps=every,
        save_total_limit=1, load_best_model_at_end=True, metric_for_best_model="eval_loss",
        greater_is_better=False, logging_strategy="steps", logging_steps=1, seed=settings.seed,
        logging_nan_inf_filter=False, disable_tqdm=True, report_to="none",
        remove_unused_columns=False, dataloader_pin_memory=False, label_names=[],
    )  # fmt: skip
    args._n_gpu = min(args.n_gpu, 1)  # a batch is no tensor that DataParallel could cut
    return args


def trainer_of(model: Any, loop: Loop, resuming: bool, say: Say) -> Any:
    """A Trainer for one training; `.tokens` counts what it learned from."""
    transformers, torch = imported("transformers"), imported("torch")
    settings = loop.settings
    budget = settings.batch_tokens or (_CPU_TOKENS if loop.device == "cpu" else _GPU_TOKENS)

    class RewardTrainer(transformers.Trainer):  # type: ignore[misc, name-defined]
        loss_is_scaled_for_ga = True
        tokens = 0
        seconds = 0.0

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            model.train()
            begun = time.monotonic()
            target = target_of(loop.objective, inputs, "cpu")
            whole = max(count(loop.objective, target), 1)
            total = torch.zeros((), device=self.args.device)
            for part in micro_batches(inputs, budget):
                loss = self._sum(model, part) / whole
                self.accelerator.backward(loss)
                total += loss.detach()
                self.tokens += sum(one.tokens for one in part)
            self.seconds += time.monotonic() - begun
            return total

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            self.model.eval()
            total, whole = 0.0, 0
            with torch.no_grad():
                for part in micro_batches(loop.validation, budget):
                    total += float(self._sum(self.model, part))
                    whole += count(loop.objective, target_of(loop.objective, part, "cpu"))
            found = {"eval_loss": total / max(whole, 1)}
            self.log(found)
            handled = self.callback_handler
            self.control: Any = handled.on_evaluate(self.args, self.state, self.control, found)
            return found

        def _sum(self, model: Any, part: Sequence[Example]) -> Any:
            with self.compute_loss_context_manager():
                scores = scores_of(model, part, loop.pad, self.args.device)
            target = target_of(loop.objective, part, self.args.device)
            return loss_sum(loop.objective, scores.float(), target)

        def floating_point_ops(self, inputs: Any) -> int:
            return 0  # it would look for tensors in the batch

    made = RewardTrainer(
        model=model, args=_arguments(loop, resuming), train_dataset=loop.train,
        eval_dataset=loop.validation, data_collator=list,
    )  # fmt: skip
    for callback in (transformers.PrinterCallback, transformers.ProgressCallback):
        made.remove_callback(callback)
    made.add_callback(_progress(made, say))
    return made


def _progress(trainer: Any, say: Say) -> Any:
    """One line every few seconds: step, loss, tokens a second, time left."""
    last = {"at": -_SAY_EVERY_S, "begun": time.monotonic(), "first": -1.0}

    class Progress(imported("transformers").TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            logs, now = state.log_history[-1], time.monotonic()
            if last["first"] < 0:
                last["first"] = state.global_step - ("loss" in logs)
            if "eval_loss" in logs:
                say(f"step {state.global_step}: validation loss {logs['eval_loss']:.4f}")
            elif "loss" in logs and now - last["at"] >= _SAY_EVERY_S:
                last["at"] = now
                done = max(state.global_step - last["first"], 1)
                left = (now - last["begun"]) / done * (state.max_steps - state.global_step)
                rate = trainer.tokens / max(trainer.seconds, 1e-9)
                say(
                    f"step {state.global_step} of {state.max_steps}: loss {logs['loss']:.4f}, "
                    f"{rate:,.0f} tokens/s, {_time(left)} left"
                )

    return Progress()


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
