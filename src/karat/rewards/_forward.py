"""The torch side of a reward model: tokens to scores, in batches.

Nothing is imported or loaded before the first score. Batches are of like lengths, so that little of
them is padding, and right-padded with a token that occurs in none of their texts: a model finds the
last token of a text by its padding, and where that is also a token of the text (often the end of a
turn) it would read the score one token too early. On a CPU texts are scored one by one: there
larger matrices bring nothing (1.3 to 1.8 times the CPU for their padding, measured on 10 layers of
width 576), and alone a text's score is the same to the last bit whatever else is graded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.errors import RowError, RunError
from karat.rewards._encode import Encoder

Floats = NDArray[np.float64]
_UNREAD = RowError("not scored")


class Setup(msgspec.Struct, frozen=True):
    """Where and how a model runs. `batch_tokens` counts padding; None: one text at a time."""

    name: str
    source: str  # a folder, or a hub's name
    revision: str | None
    trust_remote_code: bool
    device: str
    dtype: str
    attention: str | None
    batch_tokens: int | None
    longest: int | None
    truncate: bool
    threads: int | None
    template: str
    objectives: bool  # `.rewards` and `.score` instead of `.logits`
    columns: int
    to_helpsteer: bool  # the first five objectives back to 0–4


class Forward:
    """A loaded model. One thread at a time."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.torch: Any = import_module("torch")
        self.budget = setup.batch_tokens
        transformers: Any = import_module("transformers")
        if setup.threads is not None:
            self.torch.set_num_threads(setup.threads)
        self._check_device()
        tokenizer, self.model = self._loaded(transformers)
        self._inner = self.model.config.get_text_config()
        self._inner.use_cache = False
        pad, words = getattr(self._inner, "pad_token_id", None), self._inner.vocab_size
        self._pad: int | None = pad if pad is not None and 0 <= pad < words else None
        if setup.dtype != "float32":
            self._read_out_in_float32()
        self.encoder = Encoder(tokenizer, setup.template, setup.name, setup.longest, setup.truncate)

    def _loaded(self, transformers: Any) -> tuple[Any, Any]:
        """Tokenizer and model. Raises: RunError."""
        setup = self.setup
        given: dict[str, Any] = {
            "revision": setup.revision,
            "trust_remote_code": setup.trust_remote_code,
        }
        how: dict[str, Any] = {"dtype": getattr(self.torch, setup.dtype)}
        if setup.attention is not None:
            how["attn_implementation"] = setup.attention
        if setup.trust_remote_code:
            _older_names()
        kind = transformers.AutoModelForSequenceClassification
        with _without_bars(transformers.utils.logging):
            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(setup.source, **given)
                model, seen = kind.from_pretrained(
                    setup.source, output_loading_info=True, **given, **how
                )
            except Exception as error:  # a folder's own code may raise anything
                raise RunError(
                    f"{setup.name} cannot be loaded by transformers {transformers.__version__}: "
                    f"{error}"
                ) from error
        if missing := sorted(seen["missing_keys"]):
            raise RunError(
                f"{setup.name}: its files hold no {missing[0]}, which would be drawn at random: "
                "it is no reward model, or not one of this architecture"
            )
        return tokenizer, model.to(setup.device).eval()

    def _check_device(self) -> None:
        device, torch = self.setup.device, self.torch
        missing = (device.startswith("cuda") and not torch.cuda.is_available()) or (
            device == "mps" and not torch.backends.mps.is_available()
        )
        if missing:
            raise RunError(
                f"{self.setup.name}: torch {torch.__version__} finds no {device}; install a build "
                "of torch for it, or say `device: cpu`"
            )

    def _read_out_in_float32(self) -> None:
        """The last product in float32: in bfloat16 a score near 10 moves in steps of 1/16, and
        many responses tie that do not."""
        head = getattr(self.model, "score", None)
        if isinstance(head, self.torch.nn.Linear):
            head.float()
            head.register_forward_pre_hook(lambda _, args: (args[0].float(), *args[1:]))

    def scores(self, texts: Sequence[list[int]]) -> list[Floats | RowError]:
        """The scores (A) of each text in tokens, none of them empty."""
        found: list[Floats | RowError] = [_UNREAD] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i))
        start = 0
        while start < len(order):
            length = len(texts[order[start]])
            some = order[start : start + self._fitting(length)]
            scores_RA = self._tried([texts[i] for i in some])
            if scores_RA is not None:
                for i, scores_A in zip(some, scores_RA, strict=True):
                    found[i] = scores_A
            elif len(some) > 1:
                self.budget = len(some) // 2 * length  # from now on
                continue
            else:
                found[some[0]] = RowError(
                    f"{self.setup.name}: a conversation of {length} tokens does not fit in the "
                    f"memory of {self.setup.device}"
                )
            start += len(some)
        return found

    def _fitting(self, length: int) -> int:
        return 1 if self.budget is None else max(1, self.budget // length)

    def _tried(self, texts: Sequence[list[int]]) -> Floats | None:
        """scores_RA, or None where memory ran out."""
        try:
            with self.torch.inference_mode():
                return self._batch(texts)
        except RuntimeError as error:
            full = isinstance(error, self.torch.OutOfMemoryError)
            if not full and "allocate memory" not in str(error):  # as the CPU says it
                raise
        # Out of the handler, so that what the failed pass held is free by now.
        if self.torch.cuda.is_available():
            self.torch.cuda.empty_cache()
        return None

    def _batch(self, tokens: Sequence[list[int]]) -> Floats:
        torch, width = self.torch, max(map(len, tokens))
        ragged = len({len(one) for one in tokens}) > 1
        pad = self._padding(tokens) if ragged or len(tokens) > 1 else self._pad
        if pad is None and len(tokens) > 1:  # every token of the vocabulary occurs
            return np.concatenate([self._batch([one]) for one in tokens])
        self._inner.pad_token_id = self.model.config.pad_token_id = pad
        ids_RT = np.full((len(tokens), width), pad or 0, dtype=np.int64)
        mask_RT = np.zeros_like(ids_RT)
        for place, one in enumerate(tokens):
            ids_RT[place, : len(one)] = one
            mask_RT[place, : len(one)] = 1
        out = self.model(
            input_ids=torch.from_numpy(ids_RT).to(self.setup.device),
            attention_mask=torch.from_numpy(mask_RT).to(self.setup.device),
        )
        return self._read(out, len(tokens))

    def _padding(self, tokens: Sequence[list[int]]) -> int | None:
        """The model's own padding token, else one that occurs in none of the texts."""
        if self._pad is not None:
            return self._pad
        used = {token for one in tokens for token in one}
        return next((i for i in range(self._inner.vocab_size) if i not in used), None)

    def _read(self, out: Any, count: int) -> Floats:
        names = ("rewards", "score") if self.setup.objectives else ("logits",)
        missing = [name for name in names if getattr(out, name, None) is None]
        if missing:
            raise RunError(f"{self.setup.name}: the model's output has no `{missing[0]}`")
        parts = [getattr(out, name).reshape(count, -1).float() for name in names]
        found = self.torch.cat(parts, dim=1).cpu().numpy().astype(np.float64)
        if found.shape[1] != self.setup.columns:
            raise RunError(
                f"{self.setup.name}: the model gives {found.shape[1]} scores a response, and "
                f"`attributes` names {self.setup.columns}"
            )
        if self.setup.to_helpsteer:
            found[:, :5] = found[:, :5] * 5 - 0.5
        return np.asarray(found)


@contextmanager
def _without_bars(logging: Any) -> Iterator[None]:
    """A run has a progress line of its own."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _older_names() -> None:
    """What code written for transformers 4 imports and 5 no longer has, ArmoRM's among it: a
    docstring."""
    llama: Any = import_module("transformers.models.llama.modeling_llama")
    if not hasattr(llama, "LLAMA_INPUTS_DOCSTRING"):
        llama.LLAMA_INPUTS_DOCSTRING = ""
