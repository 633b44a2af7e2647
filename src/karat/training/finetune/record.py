"""What a training was and gave, kept beside the model: so that the same command goes on or returns
what is there, and another one never writes over it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from math import isnan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray

from karat.errors import RecipeError, RunError
from karat.row import canonical, digest
from karat.training._items import prompt_marks
from karat.training.finetune.heldout import Attribute, Measured
from karat.training.finetune.settings import RewardSettings
from karat.training.ratings import HumanData
from karat.training.reward_figures import Figure

# Not JSON: what ends so counts among the files that a reward's identity is made of.
NAME = "training.yaml"
CARD = "README.md"
_MARKS = "prompts.npy"
# What changes how a training is computed and not what it computes.
_FREE = ("device", "batch_tokens", "gradient_checkpointing")


class RewardModel(msgspec.Struct, frozen=True, kw_only=True):
    """A trained reward model. Curves hold (step, loss); `start_loss` is the validation loss before
    the first step; `tokens` and `seconds` are of the process that ended the training; `notes` say
    what was decided or left out; `pair_figures` of an ensemble are in `panel`."""

    folder: str
    base: str
    settings: RewardSettings
    weights: int
    learning_rate: float
    epochs: float
    steps: int
    best_step: int
    start_loss: float
    best_loss: float
    train_curve: list[tuple[int, float]]
    validation_curve: list[tuple[int, float]]
    tokens: int
    seconds: float
    device: str
    dtype: str
    examples: dict[str, int]
    notes: list[str]
    data: dict[str, int]
    left_out: dict[str, int]
    prompts: int
    measured: Measured
    tests: tuple[Figure, ...]
    licence: str
    command: str
    date: str
    versions: dict[str, str]

    def summary(self) -> str:
        """Plain text for a terminal: every figure with its interval and its baseline."""
        lines = [
            f"{self.folder}: {self.settings.objective}, {self.weights:,} weights, step "
            f"{self.best_step} of {self.steps}; validation loss {self.start_loss:.4f} at the "
            f"start, {self.best_loss:.4f} now"
        ]
        lines += [pair_line(f) for f in (*self.measured.pairs, *self.tests)]
        lines += [attribute_line(a) for a in self.measured.attributes]
        if (length := self.measured.length) is not None:
            lines.append(
                f"{'log length':32} r {length.pearson:.3f}; pairs {length.before:.3f}, "
                f"{length.after:.3f} with length taken out"
            )
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"{self.tokens:,} tokens in {self.seconds:,.0f} s on {self.device}")
        return "\n".join(lines)


def pair_line(f: Figure) -> str:
    """One accuracy in one line."""
    if not f.n:
        return f"{f.name:32} no decided pairs"
    own = f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}]"
    return f"{f.name:32} {own}  longer {f.longer:.3f}  random .500  n {f.n:,}"


def attribute_line(a: Attribute) -> str:
    """One attribute in one line."""
    line = f"{a.name:32} r {a.r:.3f} [{a.low:.3f}, {a.high:.3f}]"
    if isnan(a.rmse):
        return f"{line}  with the weighted ratings"
    return f"{line}  error {a.rmse:.2f}  shift {a.shift:+.2f}  slope {a.slope:.2f}"


def identity(data: HumanData, base: str, settings: RewardSettings) -> str:
    """16 hex digits of what the weights depend on: data, base model, settings, and the text of a
    template that is named."""
    fields = {k: v for k, v in msgspec.structs.asdict(settings).items() if k not in _FREE}
    items = [repr(item) for item in (*data.rated, *data.pairs)]
    if settings.template is not None:
        with suppress(OSError):  # whoever reads it says so
            items.append(Path(settings.template).read_text("utf-8", errors="replace"))
    return digest(base, canonical(fields), *items, size=8).hex()


def claim(out: Path, mark: str) -> RewardModel | None:
    """Take the folder for this training; what is there if it is finished, None if it may begin or
    go on. Raises: RecipeError for a folder with something else in it."""
    file = out / NAME
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out} is a file: name a folder")
    if file.is_file():
        tree = _read(file)
        if tree.get("identity") != mark:
            raise RecipeError(
                f"{out} holds another training (other data, model or settings): name another "
                "folder, or delete this one"
            )
        if "result" in tree:
            return msgspec.convert(tree["result"], RewardModel, strict=False)
        return None
    if out.is_dir() and any(out.iterdir()):
        raise RecipeError(f"{out} is not empty and holds no training of karat: name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"{out}: cannot be made ({error.strerror or error})") from error
    write(out, {"identity": mark})
    return None


def check_free(out: Path, mark: str) -> None:
    """Take a folder for several trainings. Raises: RecipeError as `claim` does."""
    claim(out, mark)


def settings_of_member(settings: RewardSettings, number: int) -> RewardSettings:
    """Another head and another order of the same data; the parts stay the same, so that what one
    member is measured on none was trained on."""
    return msgspec.structs.replace(settings, members=1, seed=settings.seed + number - 1)


def finish(out: Path, mark: str, result: RewardModel) -> None:
    """Note that the training is done, and what it gave."""
    write(out, {"identity": mark, "result": msgspec.to_builtins(result)})


def note_prompts(out: Path, *parts: HumanData) -> None:
    """Keeps a mark of each prompt that was learned from, or chose the weights."""
    groups = {group for part in parts for group in part.groups}
    np.save(out / _MARKS, prompt_marks(sorted(groups)))


def marks(folder: Path) -> NDArray[np.uint64]:
    """The marks of the prompts a model in a folder was trained on; none where none were kept."""
    try:
        found: NDArray[np.uint64] = np.load(folder / _MARKS, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return np.empty(0, np.uint64)
    return found


def write(out: Path, tree: Any) -> None:
    """All of it or nothing. Raises: RunError."""
    try:
        new = out / f"{NAME}.new"
        new.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), "utf-8")
        new.replace(out / NAME)
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror or error})") from error


def read(folder: Path) -> dict[str, Any] | None:
    """What was noted in a folder, None where nothing was. Raises: RecipeError."""
    file = folder / NAME
    return _read(file) if file.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"{file} cannot be read ({error}): delete the folder") from None
    return tree if isinstance(tree, dict) else {}


def command_of(
    data: Sequence[object], model: str, out: Path, settings: RewardSettings, tests: Sequence[object]
) -> str:
    """The command that makes this model."""
    words = ["karat", "reward", "train", *map(str, data), "--model", model, "-o", str(out)]
    for test in tests:
        words += ["--test", str(test)]
    plain, given = msgspec.to_builtins(RewardSettings()), msgspec.to_builtins(settings)
    for key, value in given.items():
        if value != plain[key]:
            words += ["--set", f"{key}={str(value).lower() if value is True else value}"]
    return shlex.join(words)
