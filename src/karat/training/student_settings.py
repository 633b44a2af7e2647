"""How a student is trained: few numbers, each with a default that says where it comes from.

A default that is None hangs on the objective, and `filled` puts the number in; `--set` reaches what
the trainer knows beyond these, checked against its own fields before anything is loaded.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import inspect

from karat.errors import RecipeError
from karat.models.torch_libraries import imported
from karat.wording import described, explain

Objective = Literal["sft", "dpo", "rpo"]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Above = Annotated[float, msgspec.Meta(gt=0)]
_FromZero = Annotated[float, msgspec.Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a student's training is told.

    `epochs`: 3 for SFT, 1 for preferences (Nemotron-4 340B, arXiv 2406.11704 §3.3).
    `learning_rate`: SFT 2e-4 with LoRA (QLoRA, 2305.14314 Table 9, models up to 13B), whole 2e-5
    (TRL 1.16's, trl/trainer/sft_config.py); DPO and RPO 5e-5 with LoRA (ours, not tuned), whole
    1e-6 (TRL's, dpo_config.py). It rises over a tenth of the steps and falls as a cosine (Zephyr,
    2310.16944 §4). A LoRA needs ten times and more of what whole weights do.
    `batch_size`: rows (or pairs) a step, whatever fits on the device at a time: 16, fewer where an
    epoch would have less than 8 steps. Nemotron's 128 would leave a few hundred rows two of them.
    `lora_r`, `lora_alpha`: 16 and 32, on every linear layer but the head (QLoRA §4: all layers are
    needed to match whole training). No dropout: the same command gives the same adapter.
    `beta`: 0.1 (DPO, 2305.18290 appendix B). `eta`: 1, `sft_coefficient`: 1e-5 (Nemotron §3.3.2).
    `max_length`: tokens of prompt and answer; longer rows are left out and counted, never cut.
    `device_batch`: rows at a time on the device, rounded down to a divisor of `batch_size`; None:
    1 on a CPU, where rows of unlike lengths would be padded, 8 elsewhere.
    """

    epochs: _Above | None = None
    learning_rate: _Above | None = None
    batch_size: _Positive | None = None
    device_batch: _Positive | None = None
    max_length: _Positive = 1024
    full: bool = False
    lora_r: _Positive = 16
    lora_alpha: _Positive = 32
    beta: _Above = 0.1
    eta: _Above = 1.0
    sft_coefficient: _FromZero = 1e-5
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 7
    device: str = "auto"
    merge: bool = False
    save_every_s: _FromZero = 60.0
    more: dict[str, Any] = {}

    def filled(self, objective: Objective, rows: int) -> Settings:
        """With this objective's numbers for so many rows where none were given."""
        sft = objective == "sft"
        rate = (2e-5 if sft else 1e-6) if self.full else (2e-4 if sft else 5e-5)
        return msgspec.structs.replace(
            self,
            epochs=self.epochs or (3.0 if sft else 1.0),
            learning_rate=self.learning_rate or rate,
            batch_size=self.batch_size or min(16, max(1, rows // 8)),
        )

    def that_matter(self, objective: Objective) -> dict[str, Any]:
        """Those a student's weights hang on: two students of the same ones are the same."""
        tree: dict[str, Any] = msgspec.to_builtins(self)
        for name in ("merge", "save_every_s", "device"):
            del tree[name]
        unused = {"sft": ("beta", "eta", "sft_coefficient"), "dpo": ("eta", "sft_coefficient")}
        for name in unused.get(objective, ()):
            del tree[name]
        if self.full:
            del tree["lora_r"], tree["lora_alpha"]
        return tree


def settings_of(
    options: Mapping[str, Any], more: tuple[str, ...], objective: Objective
) -> Settings:
    """Settings of a command's options, None for one not given, and its `--set key=value`s.

    Raises: RecipeError for a value or a key that is none.
    """
    given = {key: value for key, value in options.items() if value is not None}
    try:
        found = msgspec.convert({**given, "more": _further(more, objective)}, Settings)
    except msgspec.ValidationError as error:
        raise RecipeError(_wrong_option(str(error), given)) from None
    return found


def _wrong_option(said: str, given: Mapping[str, Any]) -> str:
    """A mistake in the words of the command line: the option, its value, what it takes."""
    name = next((key for key in given if f"$.{key}`" in said), "")
    if not name:
        return explain(said, given, Settings, "'{}'")
    option = {"learning_rate": "--lr"}.get(name, f"--{name.replace('_', '-')}")
    hint = typing.get_type_hints(Settings, include_extras=True)[name]
    wanted = described(inspect.type_info(hint)).removesuffix(" or null")
    return f"{option} {given[name]}: {wanted} is wanted"


_OURS = {
    "output_dir": "-o", "num_train_epochs": "--epochs", "learning_rate": "--lr",
    "per_device_train_batch_size": "--device-batch", "seed": "--seed", "beta": "--beta",
    "gradient_accumulation_steps": "--batch-size", "max_length": "--max-length",
    "use_cpu": "--device", "auto_find_batch_size": "--device-batch", "bf16": "--device",
}  # fmt: skip
# What karat's promises hang on: a killed training goes on to the same weights, a loss that is no
# number is seen, and papers that are given away hold no secret.
_KEPT = {
    "hub_token": "it would stand in the student's papers: log in with `hf auth login`",
    **dict.fromkeys(
        ("ignore_data_skip", "save_only_model", "resume_from_checkpoint", "save_strategy",
         "restore_callback_states_from_checkpoint", "load_best_model_at_end"),
        "karat keeps checkpoints itself, so that a killed training goes on as it would have",
    ),
    **dict.fromkeys(
        ("logging_steps", "logging_strategy", "logging_first_step", "logging_nan_inf_filter"),
        "karat reads the loss of every step",
    ),
}  # fmt: skip
# Of DPO's loss: RPO has one of its own, and `ld_alpha` would change the reference's side alone.
_DPO_ALONE = (
    "loss_type", "loss_weights", "label_smoothing", "ld_alpha", "f_divergence_type",
    "f_alpha_divergence_coef", "discopop_tau", "use_weighting", "precompute_ref_log_probs",
    "precompute_ref_batch_size",
)  # fmt: skip


def _further(more: tuple[str, ...], objective: Objective) -> dict[str, Any]:
    """Fields of the trainer's own configuration. Raises: RecipeError."""
    if not more:
        return {}
    kind = config_class(objective)
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {}
    for text in more:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise RecipeError(f"--set {text}: write key=value")
        if key in _OURS:
            raise RecipeError(f"--set {key}: say it with {_OURS[key]}")
        if key in _KEPT:
            raise RecipeError(f"--set {key}: {_KEPT[key]}")
        if objective == "rpo" and key in _DPO_ALONE:
            raise RecipeError(f"--set {key}: it is of DPO's loss, which RPO does not have")
        if key not in known:
            raise RecipeError(
                f"--set {key}: the trainer has no such field; {_nearest(key, kind, known)}"
            )
        found[key] = _read(key, value, hints[key])
    return found


def _nearest(key: str, kind: Any, known: set[str]) -> str:
    """One that is surely meant, or the five that come nearest."""
    if close := get_close_matches(key, known, n=1, cutoff=0.75):
        return f"did you mean '{close[0]}'?"
    near = ", ".join(get_close_matches(key, sorted(known), n=5, cutoff=0.0))
    return f"nearest are {near}; `python -c 'import trl; help(trl.{kind.__name__})'` lists all"


def _read(key: str, text: str, hint: Any) -> Any:
    """A value as the field takes it. Raises: RecipeError."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, str):
        with suppress(ValueError):  # YAML reads 1e-4, which has no point, as text
            value = float(value)
    with suppress(TypeError):  # a type msgspec knows nothing of: the trainer will say
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            said = explain(str(error), value, hint)
            raise RecipeError(f"--set {key}={text}: {said}") from None
    return value


def config_class(objective: Objective) -> Any:
    """TRL's configuration class for an objective. Raises: RecipeError without TRL."""
    trl = imported("trl")
    return trl.SFTConfig if objective == "sft" else trl.DPOConfig
