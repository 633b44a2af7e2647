"""Reward models run in this process by transformers: sequence classification, and ArmoRM's kind.

A model's card says how to score one response in ten lines, and six of them can be wrong without a
word: a doubled BOS, a system prompt the template adds, a padding token that hides the last one, a
sigmoid, a text cut at the wrong end, a half-precision read-out in which everything ties. This reads
conversations as the card's lines do when nothing goes wrong, and refuses what cannot be told.

A text's score does not depend on its batch: exactly on a CPU, where texts are scored one by one.
In batches it moves by its dtype's rounding, at most (and on average) by this share of the spread of
scores: float32 .000005, float16 .009 (.002), bfloat16 .08 (.01); 120 texts, 8 layers of width 256.

Source: model cards of Skywork/Skywork-Reward-V2-* (`logits[0][0]`, unbounded) and
RLHFlow/ArmoRM-Llama3-8B-v0.1 (`.score`, `.rewards`, names of the 19 objectives; HelpSteer's five
were trained as (x + 0.5) / 5, so 5x − 0.5 is 0–4 again: the card, and its discussion 15).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from karat.errors import RecipeError, RowError
from karat.rewards._chat import template_of
from karat.rewards._checkpoint import Checkpoint, find, fingerprint
from karat.rewards._device import default_device
from karat.rewards._encode import answered
from karat.rewards._forward import Forward, Setup
from karat.rewards.base import UNBOUNDED, Candidates
from karat.rewards.outputs import Comparable, Named, Outputs, outputs, scale_text
from karat.rewards.tokens import Seen
from karat.row import Message

Floats = NDArray[np.float64]
Outcome = Floats | RowError
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
Attention = Literal["eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"]
Positive = Annotated[int, Meta(ge=1)]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

REWARD = "reward"
HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
ARMORM = (
    *HELPSTEER,
    "ultrafeedback_overall_score", "ultrafeedback_instruction_following",
    "ultrafeedback_truthfulness", "ultrafeedback_honesty", "ultrafeedback_helpfulness",
    "beavertails_is_safe", "prometheus_score", "argilla_overall_quality", "argilla_judge_lm",
    "code_complexity", "code_style", "code_explanation", "code_instruction_following",
    "code_readability",
)  # fmt: skip
_NOT_READ = RowError("not scored")
_DECIMALS = 6
_BATCH_TOKENS = 16_384  # a few GB of activations for an 8B model
_GATHERED = 32  # scored one by one
_GATHERED_FOR_BATCHES = 256  # enough texts to sort that a batch holds like lengths


class TransformersReward:
    """Scores whole conversations with a model that is loaded when the first one comes."""

    def __init__(self, setup: Setup, identity: str, found: Outputs, licence: str) -> None:
        self.name, self.identity, self.licence = setup.name, identity, licence
        self.attributes, self.within_prompt = found
        self.models: tuple[str, ...] = ()
        self.batch = _GATHERED if setup.batch_tokens is None else _GATHERED_FOR_BATCHES
        self._setup = setup
        self._lock = Lock()
        self._forward: Forward | None = None

    def score(self, prompt: Sequence[Message], responses: Sequence[str]) -> Floats:
        """scores_NA of the responses. Raises: RowError for a conversation it cannot read;
        RunError where the model cannot be loaded."""
        (found,) = self.score_many([Candidates(tuple(prompt), tuple(responses))])
        if isinstance(found, RowError):
            raise found
        return found

    def score_many(self, jobs: Sequence[Candidates]) -> list[Outcome]:
        """scores_NA of each job, or the RowError of one that cannot be read; the others are
        scored all the same. Raises: RunError."""
        chats = [answered(job.prompt, text) for job in jobs for text in job.responses]
        with self._lock:
            forward = self._loaded()
            ids = forward.encoder.encode(chats)
            ready = [place for place, one in enumerate(ids) if not isinstance(one, RowError)]
            scored = forward.scores([one for one in ids if not isinstance(one, RowError)])
        lines: list[Floats | RowError] = [_NOT_READ if isinstance(i, list) else i for i in ids]
        for place, line in zip(ready, scored, strict=True):
            lines[place] = line
        each = iter(lines)
        return [self._of_job([next(each) for _ in job.responses]) for job in jobs]

    def seen(self, prompt: Sequence[Message], response: str) -> Seen:
        """The tokens the model reads of a conversation. Raises: RowError, RunError."""
        with self._lock:
            return self._loaded().encoder.seen(answered(prompt, response))

    def _loaded(self) -> Forward:
        if self._forward is None:
            self._forward = Forward(self._setup)
        return self._forward

    def _of_job(self, lines: list[Floats | RowError]) -> Outcome:
        """One error fails its row: a choice among the rest would not be the row's best."""
        for line in lines:
            if isinstance(line, RowError):
                return line
        return np.round(np.array(lines).reshape(len(lines), len(self.attributes)), _DECIMALS)

    def __repr__(self) -> str:
        return f"TransformersReward({self.identity!r})"


def load(
    name: str, folder: Path, *, revision: str | None = None, trust_remote_code: bool = False,
    attributes: Named = None, comparable: Comparable = None, template: str | None = None,
    system: Literal["keep", "drop"] | None = None, device: str = "auto", dtype: Dtype = "auto",
    attention: Attention | None = None, batch_tokens: Positive | None = None,
    max_tokens: Positive | None = None, too_long: Literal["error", "truncate_left"] = "error",
    threads: Positive | None = None, licence: str | None = None,
) -> TransformersReward:  # fmt: skip
    """The model of a folder (`transformers/./rm`) or of the hub (`transformers/OWNER/NAME`).

    `attributes` name the head's outputs in order, or map each to its [low, high]; `template` is a
    Jinja file to use instead of the model's own chat template; `system` says what becomes of a
    system prompt that the template adds by itself; `max_tokens` bounds a conversation,
    `batch_tokens` a batch, padding included. Loads nothing of torch. Raises: RecipeError.
    """
    try:
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise RecipeError(f"{package} is not installed: pip install 'karat[hf]'")
        if not _DEVICE.fullmatch(device):
            raise RecipeError(f"device: auto, cpu, mps, cuda or cuda:0 …, not '{device}'")
        found = find(name, folder, revision)
        if found.runs_code and not trust_remote_code:
            raise RecipeError(
                "it comes with Python code of its own, which would run on this machine: read it, "
                "then say `trust_remote_code: true`"
            )
        if found.architecture.endswith("ForCausalLM") and not found.runs_code:
            raise RecipeError(
                f"a {found.architecture} writes text and has no head to score it; name a reward "
                "model, or ask a model with judge/NAME"
            )
        named = _outputs(found, attributes, comparable)
        chat = template_of(found, folder, template, system)
    except RecipeError as error:
        raise RecipeError(f"transformers/{name}: {error}") from None
    where = default_device() if device == "auto" else device
    kind = dtype if dtype != "auto" else "bfloat16" if where.startswith("cuda") else "float32"
    setup = Setup(
        name=f"transformers/{found.name}", revision=found.revision,
        source=str(found.folder) if found.revision is None else found.name,
        trust_remote_code=trust_remote_code, device=where, dtype=kind, attention=attention,
        batch_tokens=batch_tokens or (None if where == "cpu" else _BATCH_TOKENS),
        longest=max_tokens or found.longest(), truncate=too_long == "truncate_left",
        threads=threads, template=chat, objectives="num_objectives" in found.config,
        columns=len(named.attributes), to_helpsteer=_is_armorm(found) and attributes is None,
    )  # fmt: skip
    shows = (kind, attention, setup.longest, setup.truncate, chat, scale_text(named.attributes))
    identity = f"{setup.name}@{fingerprint(found, shows)}"
    return TransformersReward(setup, identity, named, licence or found.licence())


def _is_armorm(found: Checkpoint) -> bool:
    return bool(found.config.get("num_objectives") == len(ARMORM))


def _outputs(found: Checkpoint, attributes: Named, comparable: Comparable) -> Outputs:
    """The attributes in the order of the model's outputs. Raises: RecipeError."""
    if "num_objectives" in found.config:
        return _objectives(found, attributes, comparable)
    # What comes with code may give anything: it is looked at when the first score comes.
    labels = found.labels() if not found.runs_code else []
    generic = any(label.startswith("LABEL_") for label in labels)
    if attributes is None and len(labels) > 1:
        if generic:
            raise RecipeError(
                f"its head has {len(labels)} outputs without names: name them in order, "
                "`attributes: [helpfulness, …]`; if it is no reward model, its head is untrained"
            )
        attributes = labels
    named = outputs(attributes, comparable)
    if labels and len(named.attributes) != len(labels):
        raise RecipeError(f"attributes: {len(named.attributes)} for a head of {len(labels)}")
    return named


def _objectives(found: Checkpoint, attributes: Named, comparable: Comparable) -> Outputs:
    """Of a model with several objectives, which it adds up to one reward by a gate of its own.

    The objectives are regressions on ratings, the gate is fitted to preferences.
    """
    if attributes is None:
        if not _is_armorm(found):
            raise RecipeError("name its objectives in order: `attributes: [helpfulness, …]`")
        scales = {name: (0.0, 4.0) if name in HELPSTEER else UNBOUNDED for name in ARMORM}
        named = Outputs(scales, frozenset())
    else:
        named = outputs(attributes, comparable)
    if REWARD in named.attributes:
        raise RecipeError("attributes: 'reward' is the model's own sum of the others: leave it out")
    if len(named.attributes) != found.config["num_objectives"]:
        raise RecipeError(
            f"attributes: {len(named.attributes)} for {found.config['num_objectives']} objectives"
        )
    alone = frozenset() if comparable == "anywhere" else frozenset([REWARD])
    return Outputs({**named.attributes, REWARD: UNBOUNDED}, named.within_prompt | alone)
