"""Grading, measured: the embedded reward through karat, and a transformers reward on its device.

`embedded`: CPU seconds of 1,000 rows through the micro-batcher and the journal, against the reward
called bare, row by row and many at once. `transformers`: tokens per second of a random Llama behind
the reward, against the same model in a bare length-sorted loop, and both against what the device
does at best: a plain matrix product for arithmetic, a plain copy for memory, timed in the same run.
Ways take turns, A B C A B C, in one process, so that a noisy machine troubles all alike; a ratio is
that of neighbours, and its spread is printed.

    python benchmarks/grading.py [embedded transformers] [--rows N] [--rounds N] [--size small|1b]
    [--device auto|cpu|cuda] [--data ../shared/data]

Rows are HelpSteer2's where they are at hand, else made up of its kinds of length.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line has it

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from karat.grading import Desk
from karat.journal import open_journal
from karat.models.endpoint import Asker
from karat.rewards.base import Candidates
from karat.rewards.head import HeadReward
from karat.row import Message

WIDTH = 256  # rows in flight, as in a run
Jobs = list[Candidates]
SIZES = {
    "small": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6,
              "num_attention_heads": 8, "num_key_value_heads": 4},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
           "num_attention_heads": 32, "num_key_value_heads": 8},
}  # fmt: skip


def read_rows(data: Path, rows: int) -> tuple[Jobs, str]:
    """Rows of two responses each, and where they are from."""
    file = data / "helpsteer2" / "ratings.jsonl"
    if not file.is_file():
        return made_up(rows), "made up"
    found: dict[str, list[str]] = {}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            found.setdefault(row["prompt"], []).append(row["response"])
    jobs = [Candidates((Message("user", p),), tuple(texts)) for p, texts in found.items()]
    again = [
        Candidates((Message("user", f"{i}. {job.prompt[0].content}"),), job.responses)
        for i in range(rows // len(jobs) + 1)
        for job in jobs
    ]
    return again[:rows], f"HelpSteer2, {len(jobs)} prompts"


def made_up(rows: int) -> Jobs:
    draw, words = random.Random(7), "abcdefghijklmnopqrst"

    def text(mean: int) -> str:
        count = max(3, int(draw.expovariate(1 / mean)))
        return " ".join(draw.choice(words) * draw.randint(1, 9) for _ in range(count)) + "."

    return [
        Candidates((Message("user", f"{i}. {text(60)}?"),), (text(250), text(250)))
        for i in range(rows)
    ]


class Clock:
    """CPU seconds of the process, all threads, and wall seconds; one of each a round."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    @contextmanager
    def time(self) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def ratios(a: Sequence[float], b: Sequence[float]) -> dict[str, float]:
    return spread([x / y for x, y in zip(a, b, strict=True)])


async def through_desk(reward: Any, jobs: Jobs) -> None:
    """Every row graded as a step does it: keys, look-up, micro-batcher, check, journal."""
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(Path(folder) / "journal.sqlite")
        desk = Desk(SimpleNamespace(journal=journal), lambda name: reward, lambda name: None)
        waiting = iter(enumerate(jobs))

        async def worker() -> None:
            for place, job in waiting:
                await desk.score("r", job, Asker(step="grade", row=str(place), role="reward"))

        try:
            await asyncio.gather(*(worker() for _ in range(WIDTH)))
        finally:
            desk.close()
            await journal.close()


def in_groups(jobs: Jobs, responses: int) -> list[Jobs]:
    groups: list[Jobs] = [[]]
    size = 0
    for job in jobs:
        size += len(job.responses)
        if size > responses and groups[-1]:
            groups.append([])
            size = len(job.responses)
        groups[-1].append(job)
    return groups


def embedded(args: argparse.Namespace) -> dict[str, Any]:
    jobs, source = read_rows(args.data, args.rows)
    reward = HeadReward()
    groups = in_groups(jobs, reward.batch)

    def one_by_one() -> None:
        for job in jobs:
            reward.score(job.prompt, job.responses)

    def together() -> None:
        for group in groups:
            reward.score_many(group)

    def karat() -> None:
        asyncio.run(through_desk(reward, jobs))

    ways = {"score": one_by_one, "score_many": together, "karat": karat}
    clocks = {name: Clock() for name in ways}
    for way in ways.values():
        way()  # once unmeasured: imports, caches
    for turn in range(args.rounds):
        for name in [*ways][turn % 3 :] + [*ways][: turn % 3]:
            with clocks[name].time():
                ways[name]()
    responses = sum(len(job.responses) for job in jobs)
    print(f"embedded/helpsteer2: {len(jobs)} rows, {responses} responses ({source})\n")
    print(f"{'':12}{'CPU s / 1,000 rows':>20}{'responses / CPU s':>20}{'responses / s':>16}")
    out: dict[str, Any] = {"benchmark": "grading.embedded", "rows": len(jobs), "source": source}
    for name, clock in clocks.items():
        cpu, wall = statistics.median(clock.cpu), statistics.median(clock.wall)
        out[name] = {"cpu_s_per_1000_rows": round(1000 * cpu / len(jobs), 3),
                     "responses_per_cpu_s": round(responses / cpu),
                     "responses_per_s": round(responses / wall)}  # fmt: skip
        a, b, c = out[name].values()
        print(f"{name:12}{a:>20}{b:>20}{c:>16}")
    for other in ("score", "score_many"):
        out[f"karat/{other}"] = ratios(clocks["karat"].cpu, clocks[other].cpu)
        print(f"CPU of karat over {other}: {out[f'karat/{other}']}")
    return out


def save_model(folder: Path, jobs: Jobs, size: str) -> None:
    """A random Llama of this size with a tokenizer fitted to the rows."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=8192, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator((text for job in jobs[:400] for text in job.responses), trainer)
    cutter = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>")
    cutter.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    )
    cutter.save_pretrained(folder)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=8192, num_labels=1, max_position_embeddings=8192, bos_token_id=None,
        eos_token_id=1, **SIZES[size],
    )  # fmt: skip
    model = LlamaForSequenceClassification(config)
    (model if size == "small" else model.bfloat16()).save_pretrained(folder)


class Bare:
    """The model in a bare loop: all texts tokenised, sorted by length, padded, scored."""

    def __init__(self, folder: Path, device: str, dtype: str, batch_tokens: int | None) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.torch, self.device, self.batch_tokens = torch, device, batch_tokens
        self.cutter = AutoTokenizer.from_pretrained(folder)
        self.model = (
            AutoModelForSequenceClassification.from_pretrained(folder, dtype=getattr(torch, dtype))
            .to(device)
            .eval()
        )
        self.model.config.pad_token_id = 0
        self.padded = self.tokens = self.passes = 0

    def run(self, jobs: Jobs) -> None:
        torch = self.torch
        chats = [
            [*({"role": m.role, "content": m.content} for m in job.prompt),
             {"role": "assistant", "content": text}]
            for job in jobs for text in job.responses
        ]  # fmt: skip
        ids = self.cutter.apply_chat_template(chats, return_dict=False)
        ids.sort(key=len, reverse=True)
        self.padded, self.tokens, self.passes = 0, sum(map(len, ids)), 0
        start = 0
        with torch.inference_mode():
            while start < len(ids):
                width = len(ids[start])
                some = ids[start : start + max(1, (self.batch_tokens or 0) // width)]
                start += len(some)
                x = torch.zeros((len(some), width), dtype=torch.long)
                mask = torch.zeros_like(x)
                for place, one in enumerate(some):
                    x[place, : len(one)] = torch.tensor(one)
                    mask[place, : len(one)] = 1
                self.padded += x.numel()
                self.passes += 1
                out = self.model(x.to(self.device), mask.to(self.device), use_cache=False)
                out.logits.float().cpu()


def peaks(torch: Any, device: str, dtype: str) -> tuple[float, float]:
    """FLOP/s of a square matrix product and bytes/s of a copy, the best of ten."""
    side = 8192 if device.startswith("cuda") else 1024
    a = torch.randn(side, side, device=device, dtype=getattr(torch, dtype))
    b, c = torch.randn_like(a), torch.randn(64 << 20, device=device)
    d = torch.empty_like(c)

    def best(action: Callable[[], Any]) -> float:
        found = []
        for _ in range(10):
            start = time.perf_counter()
            action()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            found.append(time.perf_counter() - start)
        return min(found)

    return 2 * side**3 / best(lambda: a @ b), 2 * c.nbytes / best(lambda: d.copy_(c))


def bound_s(bare: Bare, flops: float, bandwidth: float, weight_bytes: int) -> dict[str, float]:
    """Seconds one pass over the rows takes at best: arithmetic of the tokens, and the weights read
    once a batch. Attention is left out: it is under a tenth at these lengths."""
    model = bare.model.model
    dense = sum(p.numel() for p in model.layers.parameters())
    return {
        "compute_s": 2 * dense * bare.tokens / flops,
        "memory_s": weight_bytes * bare.passes / bandwidth,
    }


def transformers(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from karat.rewards.load import load_reward

    jobs, source = read_rows(args.data, args.model_rows)
    torch.set_num_threads(args.threads or torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "rm", jobs, args.size)
        options = {} if args.device == "auto" else {"device": args.device}
        reward = load_reward({"reward": "transformers/rm", **options}, Path(folder))
        setup = reward._setup
        bare = Bare(Path(folder) / "rm", setup.device, setup.dtype, setup.batch_tokens)

        def karat() -> None:
            asyncio.run(through_desk(reward, jobs))

        ways: dict[str, Callable[[], None]] = {"bare": lambda: bare.run(jobs), "karat": karat}
        clocks = {name: Clock() for name in ways}
        few = jobs[:8]
        bare.run(few)
        reward.score_many(few)  # loads it
        flops, bandwidth = peaks(torch, setup.device, setup.dtype)
        for turn in range(args.rounds):
            for name in [*ways][:: 1 if turn % 2 else -1]:
                with clocks[name].time():
                    ways[name]()
        weights = sum(p.nbytes for p in bare.model.parameters())
        bounds = bound_s(bare, flops, bandwidth, weights)
    name = torch.cuda.get_device_name() if setup.device.startswith("cuda") else setup.device
    print(f"\ntransformers/{args.size} on {name}, {setup.dtype}: {bare.tokens:,} tokens ({source})")
    print(f"at best {flops / 1e12:.2f} TFLOP/s, {bandwidth / 1e9:.0f} GB/s; padding of the bare")
    print(f"loop {bare.padded / bare.tokens - 1:.1%} in {bare.passes} passes\n")
    limit = max(bounds.values())
    out: dict[str, Any] = {
        "benchmark": "grading.transformers", "device": name, "dtype": setup.dtype,
        "size": args.size, "tokens": bare.tokens, "tflops_at_best": round(flops / 1e12, 3),
        "gb_per_s_at_best": round(bandwidth / 1e9, 1),
        "bounds": {key: round(value, 4) for key, value in bounds.items()},
    }  # fmt: skip
    for name, clock in clocks.items():
        wall = statistics.median(clock.wall)
        out[name] = {"tokens_per_s": round(bare.tokens / wall),
                     "tokens_per_cpu_s": round(bare.tokens / statistics.median(clock.cpu)),
                     "share_of_bound": round(limit / wall, 3)}  # fmt: skip
        print(f"{name:8}" + "  ".join(f"{key} {value:,}" for key, value in out[name].items()))
    out["karat/bare wall"] = ratios(clocks["karat"].wall, clocks["bare"].wall)
    out["karat/bare cpu"] = ratios(clocks["karat"].cpu, clocks["bare"].cpu)
    print(f"karat over bare: wall {out['karat/bare wall']}, CPU {out['karat/bare cpu']}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Grading against the bare model.")
    parser.add_argument("parts", nargs="*", default=["embedded", "transformers"])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--model-rows", type=int, default=100, help="rows for `transformers`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="of torch on a CPU")
    args = parser.parse_args()
    for part in args.parts:
        print(json.dumps({"embedded": embedded, "transformers": transformers}[part](args)))


if __name__ == "__main__":
    main()
