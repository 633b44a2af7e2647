"""The torch side of reading a frozen model: its lower layers, and the tokens that go through them.

Only the layers that are asked for are kept and computed. A prompt goes through once and its keys
and values serve every response to it, so a response's states depend on prompt and response and not
on what stands beside them. Weights are float32 everywhere: a head's scores must not hang on the
device by more than rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import takewhile
from typing import Any

import numpy as np

from karat.errors import RowError, RunError
from karat.models.torch_libraries import imported, quiet
from karat.rewards._device import default_device
from karat.rewards._encode import Encoder, answered, turns_of
from karat.rewards.hidden import Reading, States
from karat.row import Message

_PROBED = 64  # numbers


class Layers:
    """The lower layers of a loaded model, and its tokenizer."""

    def __init__(self, source: str, revision: str | None, template: str, reading: Reading) -> None:
        """Loads it. Raises: RunError."""
        self.reading = reading
        self.torch = imported("torch")
        self.device = default_device()
        if self.device == "cuda" and not self.torch.cuda.is_available():
            self.device = "cpu"  # a driver is there, and this torch is for none
        self.model, tokenizer = _load(source, revision, reading.model)
        tokenizer.model_max_length = 10**30  # texts are cut here, and it would warn before
        self.encoder = Encoder(tokenizer, template, reading.model)
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
        texts = self._tokens(prompt, responses)
        caches: dict[int, Any] = {}
        found = []
        with self.torch.inference_mode():
            for opening, answer in texts:
                if len(opening) not in caches:
                    caches[len(opening)] = self._cache(opening)
                self._run(answer, deepcopy(caches[len(opening)]))
                found.append([self._summary(layer) for layer in self.reading.layers])
        return np.array(found, dtype=np.float32).reshape(len(texts), self.reading.width)

    def probe(self) -> tuple[float, ...]:
        """Some numbers of what is read of one text, the same for the same model."""
        states_H = self.read([Message("user", "What is rain?")], ["Rain is water that falls."])[0]
        return tuple(np.round(states_H[:: max(1, len(states_H) // _PROBED)], 5).tolist())

    def _cache(self, opening: list[int]) -> Any:
        """Keys and values of what comes before an answer. Raises: RunError."""
        made = getattr(self._run(opening, None), "past_key_values", None)
        if made is None:
            raise RunError(
                f"{self.reading.model} keeps no keys and values: it is no model that reads from "
                "left to right"
            )
        return made

    def _summary(self, layer: int) -> States:
        state_TD = self.got[layer].float()
        three = self.torch.stack([state_TD[-1], state_TD[-2:][0], state_TD.mean(dim=0)])
        return np.asarray(three.cpu().numpy(), dtype=np.float32)

    def _run(self, ids: Sequence[int], cache: Any) -> Any:
        tensor = self.torch.tensor([list(ids)], device=self.device)
        try:
            return self.model(input_ids=tensor, past_key_values=cache, use_cache=True)
        except self.torch.OutOfMemoryError as error:
            raise RunError(
                f"{self.reading.model} does not fit in the memory of {self.device}; "
                "CUDA_VISIBLE_DEVICES=-1 reads it on the CPU"
            ) from error

    def _tokens(
        self, prompt: Sequence[Message], responses: Sequence[str]
    ) -> list[tuple[list[int], list[int]]]:
        """For each response the tokens before it, and its own, cut to what is read.

        A template may open an answer otherwise than it writes one down (an empty thought, say), and
        a tokenizer may join the last of the one with the first of the other: an answer begins where
        the conversation with it parts from the one that waits for it. Raises: RowError.
        """
        opening = self.encoder.opening(turns_of(prompt))
        whole = self.encoder.encode([answered(prompt, text) for text in responses])
        return [self._parted(opening, ids) for ids in whole]

    def _parted(
        self, opening: list[int], whole: list[int] | RowError
    ) -> tuple[list[int], list[int]]:
        if isinstance(whole, RowError):
            raise whole
        shared = _shared(opening, whole)
        if not shared:
            raise RowError(
                f"{self.encoder.name}: its chat template begins a conversation otherwise when an "
                "answer is asked for: nothing tells where the answer begins"
            )
        r, before, answer = self.reading, whole[:shared], whole[shared:]
        if len(before) > r.prompt:
            bos = [token for token in before[:1] if token == self.encoder.tokenizer.bos_token_id]
            before = [*bos, *before[len(before) - r.prompt + len(bos) :]]
        if len(answer) > r.first + r.last:
            answer = [*answer[: r.first], *answer[-r.last :]]
        return before, answer


def _shared(one: list[int], other: list[int]) -> int:
    """With how many tokens both begin; at least one of `other` is left."""
    pairs = zip(one, other[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


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
    # Not the layers of an eye or an ear, which may be as many.
    reads = model.get_decoder() if hasattr(model, "get_decoder") else model
    for module in reads.modules():
        if isinstance(module, lists) and len(module) == config.num_hidden_layers:
            del module[reading.layers[-1] :]
            config.num_hidden_layers = len(module)
            return module
    raise RunError(f"{reading.model}: karat finds no layers in a {type(model).__name__}")
