"""Which frozen model a head reads: found, known again, opened when the first answer comes.

What was trained on one model means nothing on another, so a head knows its model by a mark of the
files, and by what it reads of a text that is always the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import msgspec
import numpy as np

from karat.errors import RecipeError, RunError
from karat.models.bases import EMBEDDED, Say, base_model
from karat.models.embedded import MODELS
from karat.models.rights import find_rule
from karat.rewards._chat import template_of
from karat.rewards._checkpoint import Checkpoint, find, fingerprint
from karat.rewards._encode import answered
from karat.rewards._layers import Layers
from karat.rewards.hidden import Reading, States
from karat.rewards.tokens import Seen
from karat.row import Message

# Of 30 layers 4, 8, 12 and 16: on held-out HelpSteer2 prompts half of the layers said as much as
# all of them, and cost half (`benchmarks/reward_hidden.py`).
_DEPTHS = (4 / 30, 8 / 30, 12 / 30, 16 / 30)
_ROUNDING = 1e-3
# The files that decide what is read; a note beside them makes no other model.
_DECIDES = re.compile(
    r"config\.json|(tokenizer|vocab|merges|special_tokens|added_tokens|chat_template).*|.*\.model"
    r"|(model|pytorch_model).*\.(safetensors|bin|json)"
)


def reading_of(model: str, say: Say | None = None) -> Reading:
    """What is read of embedded/NAME, of a folder or of a hub's model.

    Fetches an embedded model's weights. Raises: RecipeError, RunError.
    """
    _check_installed(model)
    found = _found(model, Path(), None, say)
    inner = found.config.get("text_config") or found.config
    try:
        depth, size = int(inner["num_hidden_layers"]), int(inner["hidden_size"])
    except (KeyError, TypeError, ValueError):
        raise RecipeError(
            f"{model}: its config.json names no num_hidden_layers and hidden_size: it is no "
            "language model karat can read"
        ) from None
    _template(found, model)
    layers = sorted({max(1, round(share * depth)) for share in _DEPTHS})
    made = Reading(
        model=model, mark=_mark(model, found), revision=found.revision,
        licence=_licence(model, found), layers=tuple(layers), size=size,
    )  # fmt: skip
    room = found.longest()
    if room is None or room >= made.longest:
        return made
    share = room / made.longest
    return msgspec.structs.replace(
        made, prompt=max(1, int(share * made.prompt)), first=max(1, int(share * made.first)),
        last=max(1, int(share * made.last)),
    )  # fmt: skip


def check(reading: Reading, base: str | None, folder: Path) -> None:
    """Whether the model that a head was trained on is there, without loading it: `base` where it
    lies elsewhere now. Fetches nothing large. Raises: RecipeError.

    A model that came from the hub and lies in a folder now has another mark with the same weights:
    that it is the same is seen when it is loaded (`Reading.probe`).
    """
    model = base or reading.model
    _check_installed(model)
    try:
        named = model.startswith(EMBEDDED)
        mark = _mark(model, None if named else _found(model, folder, reading.revision))
    except RecipeError as error:
        raise RecipeError(
            f"the model whose layers this head reads: {error}; say where it lies now, "
            "`base: FOLDER`"
        ) from error
    if mark != reading.mark and mark.partition(":")[0] == reading.mark.partition(":")[0]:
        raise RecipeError(
            f"{model} is not the model this head was trained on ({reading.model}): other weights "
            "or another tokenizer; name the right one, `base: FOLDER`, or train the head again"
        )


class FrozenModel:
    """A model whose layers are read. Loaded by the first `read`; one thread at a time."""

    def __init__(self, reading: Reading, base: str | None = None, folder: Path = Path()) -> None:
        """A relative path is one of `folder`."""
        self.reading = reading
        self._model, self._folder = base or reading.model, folder
        self._lock = Lock()
        self._loaded: Layers | None = None

    def read(self, prompt: Sequence[Message], responses: Sequence[str]) -> States:
        """hidden_NH. Raises: RowError; RunError where the model cannot be loaded."""
        if not responses:
            return np.empty((0, self.reading.width), np.float32)
        with self._lock:
            return self._layers().read(prompt, responses)

    def seen(self, prompt: Sequence[Message], response: str) -> Seen:
        """The tokens of a conversation before they are cut to what is read. Raises: RowError,
        RunError."""
        with self._lock:
            return self._layers().encoder.seen(answered(prompt, response))

    def probed(self) -> FrozenModel:
        """The same, with what it reads of a text that is always the same in its `reading`."""
        with self._lock:
            self.reading = msgspec.structs.replace(self.reading, probe=self._layers().probe())
        return self

    def _layers(self) -> Layers:
        if self._loaded is None:
            found = _found(self._model, self._folder, self.reading.revision)
            source = str(found.folder) if found.revision is None else found.name
            template = _template(found, self._model)
            loaded = Layers(source, found.revision, template, self.reading)
            if self.reading.probe and not _alike(loaded.probe(), self.reading.probe):
                raise RunError(
                    f"{self._model} is not the model this head was trained on "
                    f"({self.reading.model}): it reads the same text otherwise"
                )
            self._loaded = loaded
        return self._loaded


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two probes are of one model: but for the rounding of another machine."""
    if len(one) != len(other):
        return False
    gap, size = np.abs(np.subtract(one, other)).mean(), np.abs(other).mean()
    return bool(gap <= _ROUNDING * size)


def _check_installed(model: str) -> None:
    """Raises: RecipeError where a package is missing that reading this model needs."""
    embedded = model.startswith(EMBEDDED)
    extra = "train" if embedded else "hf"
    for package in ("torch", "transformers", *(("accelerate", "gguf") if embedded else ())):
        if find_spec(package) is None:
            raise RecipeError(
                f"reading the layers of {model} needs {package}: pip install 'karat[{extra}]'"
            )


def _found(model: str, folder: Path, revision: str | None, say: Say | None = None) -> Checkpoint:
    """The files of a model. Raises: RecipeError, RunError."""
    if model.startswith(EMBEDDED):
        found = find(str(base_model(model, say or (lambda text: None))), Path(), None)
    else:
        found = find(model, folder, revision)
    if found.runs_code:
        raise RecipeError(f"{model} comes with Python code of its own, which a head does not run")
    return found


def _mark(model: str, found: Checkpoint | None) -> str:
    """Of the weights and what reads texts; of an embedded model's file, which need not be there
    yet. Raises: RecipeError."""
    if found is None or model.startswith(EMBEDDED):
        name = model.removeprefix(EMBEDDED)
        if name not in MODELS:
            raise RecipeError(f"no embedded model '{name}' to read")
        return f"{EMBEDDED[:-1]}:{MODELS[name].sha256[:16]}"
    kind = "folder" if found.revision is None else "hub"
    return f"{kind}:{fingerprint(found, (), _DECIDES)}"


def _template(found: Checkpoint, model: str) -> str:
    """Raises: RecipeError for a model whose own template cannot be used."""
    try:
        return template_of(found, Path(), None, "drop")
    except RecipeError as error:
        why = str(error).partition(":")[0]
        raise RecipeError(
            f"{model} cannot be read: {why}; take the chat version of a model"
        ) from None


def _licence(model: str, found: Checkpoint) -> str:
    """Of its card, else of the table of rights."""
    named = found.licence()
    rule = find_rule(model.rstrip("/").removeprefix(EMBEDDED)) if named == "unknown" else None
    return rule.licence if rule is not None else named
