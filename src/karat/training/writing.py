"""Answers of a model in this process, through transformers: a student's, and its base's.

llama.cpp is faster on a CPU but knows neither adapters nor folders of weights. Prompts are written
in batches of like lengths. Every sample has random numbers of its own, drawn from the call's seed,
the prompt's place and the sample's: what is written for a prompt does not hang on its neighbours,
but for the rounding of larger matrices, and the same call gives the same texts.

Sampling is by inverse distribution: one uniform number picks the token at that place of the
cumulated probabilities, sorted from the largest; it is one draw a token where others need one a
word of the vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karat.models.bases import base_model
from karat.models.torch_libraries import imported, quiet
from karat.row import Message, digest
from karat.training.chat_tokens import ChatTokens
from karat.training.torch_side import device_of, dtype_of, ends_of, load

Say = Callable[[str], None]
Floats = NDArray[np.float64]
_BATCH_TOKENS = {"cpu": 8_192, "gpu": 65_536}
_MOST = {"cpu": 32, "gpu": 256}
SAY_EVERY_S = 5.0


class Writer:
    """A loaded model. One thread at a time."""

    def __init__(
        self, model: str | Path, *, device: str = "auto", dtype: str = "auto",
        batch_tokens: int | None = None,
    ) -> None:  # fmt: skip
        """`model`: embedded/smollm2-135m, a folder with a model or a PEFT adapter, or a hub's name.
        `batch_tokens` bounds the tokens of one batch, prompts, padding and answers.

        Raises: RecipeError, RunError.
        """
        self.torch = imported("torch")
        self.device = device_of(device)
        path = Path(model).expanduser()
        source = path if (path / "adapter_config.json").is_file() else base_model(str(model), _mute)
        self.model, self.tokenizer = load(source, self.device, dtype_of(dtype, self.device))
        self.model.eval()
        # What ends a turn: the tokenizer's end and the model's own.
        self._ends = sorted({self.tokenizer.eos_token_id, *ends_of(self.model)})
        # What it names (a repetition penalty, words to suppress) fills every gap in ours.
        self.model.generation_config = imported("transformers").GenerationConfig()
        kind = "cpu" if self.device == "cpu" else "gpu"
        self._budget, self._most = batch_tokens or _BATCH_TOKENS[kind], _MOST[kind]
        self._chat = ChatTokens(self.tokenizer)

    def write(
        self, prompts: Sequence[Sequence[Message]], *, n: int = 1, temperature: float = 0.0,
        top_p: float = 1.0, max_tokens: int = 256, seed: int = 0, say: Say | None = None,
    ) -> list[list[str]]:  # fmt: skip
        """n answers to each prompt. `temperature` 0 takes the likeliest token each time.

        Raises: RunError where the model cannot write; RowError for a prompt that its chat template
        does not take.
        """
        with quiet():
            encoded = [self._chat.prompt(prompt) for prompt in prompts]
        jobs = [(place, sample) for place in range(len(encoded)) for sample in range(n)]
        jobs.sort(key=lambda job: (len(encoded[job[0]]), job))
        found: list[list[str]] = [[""] * n for _ in prompts]
        pace = _Pace(len(jobs), "answers", say)
        with quiet(), self.torch.inference_mode():
            for batch in self._batches(jobs, [len(encoded[job[0]]) + max_tokens for job in jobs]):
                uniforms = [_uniforms(seed, place, s, max_tokens) for place, s in batch]
                rows = [encoded[place] for place, _ in batch]
                written = self._generate(rows, uniforms, temperature, top_p, max_tokens)
                for (place, sample), tokens in zip(batch, written, strict=True):
                    found[place][sample] = self._chat.text(tokens)
                pace.done(len(batch), sum(map(len, written)))
        return found

    def log_likelihood(
        self, pairs: Sequence[tuple[Sequence[Message], str]], say: Say | None = None
    ) -> tuple[Floats, NDArray[np.int64]]:
        """log p(answer | prompt) of each pair, in nats, and its tokens: those of the answer and the
        one that ends the turn, in the chat template."""
        with quiet():  # of references longer than the model's window too
            encoded = [self._chat.pair(prompt, answer) for prompt, answer in pairs]
        order = sorted(range(len(encoded)), key=lambda place: len(encoded[place]))
        nats, tokens = np.zeros(len(encoded)), np.zeros(len(encoded), np.int64)
        pace = _Pace(len(order), "answers read", say)
        with quiet(), self.torch.inference_mode():
            for batch in self._batches(order, [len(encoded[place]) for place in order]):
                for place, found in zip(
                    batch, self._read([encoded[p] for p in batch]), strict=True
                ):
                    nats[place], tokens[place] = found, len(encoded[place].answer)
                pace.done(len(batch), sum(len(encoded[place]) for place in batch))
        return nats, tokens

    def _batches(self, jobs: Sequence[Any], lengths: Sequence[int]) -> list[list[Any]]:
        """Neighbours in order, as many as the budget holds: lengths only grow."""
        found: list[list[Any]] = []
        for job, length in zip(jobs, lengths, strict=True):
            now = found[-1] if found else []
            if now and len(now) < self._most and (len(now) + 1) * length <= self._budget:
                now.append(job)
            else:
                found.append([job])
        return found

    def _generate(
        self, rows: list[list[int]], uniforms: list[Floats], temperature: float, top_p: float,
        max_tokens: int,
    ) -> list[list[int]]:  # fmt: skip
        torch, longest = self.torch, max(map(len, rows))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        sampler = None
        if temperature > 0:
            sampler = self._sampler(np.stack(uniforms), longest, temperature, top_p)
        out = self.model.generate(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device),
            generation_config=self._plain_config(max_tokens),
            logits_processor=[sampler] if sampler else None,
        )  # fmt: skip
        ends = set(self._ends)
        written: list[list[int]] = []
        for row in out[:, longest:].tolist():
            stop = next((i for i, token in enumerate(row) if token in ends), len(row))
            written.append(row[:stop])
        return written

    def _plain_config(self, max_tokens: int) -> Any:
        """Greedy, without what the model's own configuration would add."""
        return imported("transformers").GenerationConfig(
            max_new_tokens=max_tokens, do_sample=False, eos_token_id=self._ends,
            pad_token_id=self.tokenizer.pad_token_id,
        )  # fmt: skip

    def _sampler(self, uniforms_BT: Floats, start: int, temperature: float, top_p: float) -> Any:
        torch = self.torch
        drawn_BT = torch.tensor(uniforms_BT, device=self.device)

        def choose(ids: Any, logits_BV: Any) -> Any:
            step = ids.shape[1] - start
            probs_BV, words_BV = (
                (logits_BV.double() / temperature)
                .softmax(-1)
                .sort(dim=-1, descending=True, stable=True)
            )
            below_BV = probs_BV.cumsum(-1)
            kept_B1 = (below_BV - probs_BV < top_p).sum(-1, keepdim=True)
            mass_B1 = below_BV.gather(1, kept_B1 - 1)
            place_B1 = (below_BV <= drawn_BT[:, step : step + 1] * mass_B1).sum(-1, keepdim=True)
            word_B1 = words_BV.gather(1, place_B1.minimum(kept_B1 - 1))
            return torch.full_like(logits_BV, -torch.inf).scatter(1, word_B1, 0.0)

        return choose

    def _read(self, batch: list[Any]) -> list[float]:
        """Σ log p of each one's answer tokens; right-padded, so that no position moves."""
        torch, longest = self.torch, max(map(len, batch))
        pad = self.tokenizer.pad_token_id
        rows = [[*one.prompt, *one.answer] for one in batch]
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        # Nothing says how likely the very first token is: without a prompt it does not count.
        starts = [max(1, len(one.prompt)) for one in batch]
        first = min(starts)
        out = self.model(
            input_ids=ids, attention_mask=mask.to(self.device), use_cache=False,
            logits_to_keep=longest - first + 1,
        )  # fmt: skip
        found = []
        for row, one, start, logits in zip(ids, batch, starts, out.logits, strict=True):
            stop = len(one)
            at = logits[start - first : stop - first].float().log_softmax(-1)
            found.append(float(at.gather(1, row[start:stop, None]).double().sum()))
        return found


def _uniforms(seed: int, place: int, sample: int, count: int) -> Floats:
    key = int.from_bytes(digest(str(seed), str(place), str(sample), size=8), "little")
    return np.random.default_rng(key).random(count)


def _mute(text: str) -> None:
    """Nothing to say."""


class _Pace:
    """Says how far it is, at most every few seconds."""

    def __init__(self, total: int, what: str, say: Say | None) -> None:
        self._total, self._what, self._say = total, what, say
        self._done = self._tokens = 0
        self._start = self._told = time.monotonic()

    def done(self, count: int, tokens: int) -> None:
        self._done, self._tokens = self._done + count, self._tokens + tokens
        now = time.monotonic()
        if self._say is None or now - self._told < SAY_EVERY_S:
            return
        self._told = now
        rate = self._tokens / max(now - self._start, 1e-9)
        left = (now - self._start) * (self._total - self._done) / self._done
        self._say(
            f"{self._done:,} of {self._total:,} {self._what}, {rate:,.0f} tokens/s, "
            f"{left:,.0f} s left"
        )
