"""How fast reward models are fine-tuned: karat's loop beside TRL's RewardTrainer, in one process.

Both train the same pairs (Bradley-Terry), the same number to a step, with AdamW, and hold at most
`--tokens` tokens of a batch at a time, padding included. TRL takes pairs as they come, as many at a
time as fit where all are of the longest; karat sorts a batch by length and cuts it by tokens, and
without a GPU sends texts through one by one. What is counted are tokens of texts, never padding,
over the seconds between a step's begin and its end: of the clock on a GPU, of the CPU without one,
where other programs share the cores.

    python benchmarks/reward_training.py [--shape tiny] [--steps 4] [--batch 32] [--lora]

Needs `karat[train]`. Lengths are drawn as HelpSteer2's answers have them (log-normal, median 330
tokens with the prompt, σ .75), cut at `--longest`. On a GPU name a larger shape (1b, 3b, 8b): its
weights are random, and the share of the card's own matrix product in bfloat16, measured first, is
told beside the rate.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
import trl

from karat.models.torch_libraries import quiet
from karat.training.finetune import model as models
from karat.training.finetune.examples import Example
from karat.training.finetune.settings import RewardSettings
from karat.training.finetune.trainer import Loop, trainer_of

# hidden, intermediate, layers, heads, key-value heads; 1b, 3b and 8b are Llama 3's.
SHAPES = {
    "tiny": (192, 512, 4, 6, 3),
    "1b": (2048, 8192, 16, 32, 8),
    "3b": (3072, 8192, 28, 24, 8),
    "8b": (4096, 14336, 32, 32, 8),
}
VOCABULARY, PAD = 32_000, 0
PEAK_SIZE, PEAK_TIMES = 8192, 20


def random_model(shape: str, device: str, half: bool, lora: bool) -> Any:
    """A Llama with a head of one output and random weights, as karat loads it for this device."""
    hidden, middle, layers, heads, key_values = SHAPES[shape]
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=middle, pad_token_id=PAD,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=key_values,
        num_labels=1, max_position_embeddings=8192, use_cache=False, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.LlamaForSequenceClassification(config)
    return model.to(torch.bfloat16 if half and lora else torch.float32)


def pairs(count: int, longest: int) -> list[Example]:
    """Pairs of random tokens; the two answers of a prompt share its length and differ in theirs."""
    rng = np.random.default_rng(0)
    lengths_P2 = np.exp(rng.normal(np.log(330), 0.75, count))[:, None] * np.exp(
        rng.normal(0, 0.3, (count, 2))
    )
    sizes_P2 = np.clip(lengths_P2, 16, longest).astype(int)
    return [
        Example(tuple(rng.integers(3, VOCABULARY, n).astype(np.int32) for n in sizes), (1.0,))
        for sizes in sizes_P2
    ]


def now() -> float:
    """Seconds: see above."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Clock(transformers.TrainerCallback):
    """Seconds between the begins and ends of steps, the first one left out: it warms up."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.begun = now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append(now() - self.begun)

    @property
    def seconds(self) -> float:
        return sum(self.steps[1:])


def timed(trainer: Any) -> Clock:
    """Train, saving nothing."""
    clock = Clock()
    trainer.add_callback(clock)
    trainer.args.save_strategy = transformers.trainer_utils.SaveStrategy.NO
    trainer.args.load_best_model_at_end = trainer.args.eval_on_start = False
    with quiet():
        trainer.train()
    return clock


def of_karat(args: argparse.Namespace, data: list[Example], folder: Path) -> float:
    """Seconds of karat's loop."""
    settings = RewardSettings(
        objective="bt", batch=args.batch, batch_tokens=args.tokens if args.half else None,
        lora=args.lora, evaluations=1, gradient_checkpointing=args.checkpointing,
    )  # fmt: skip
    model = random_model(args.shape, args.device, args.half, args.lora)
    if args.half:
        models.read_out_in_float32(model)
    if args.lora:
        model = models.with_lora(model, settings)
    loop = Loop(
        "bt", data, data[:1], settings, PAD, args.device, args.half, 1e-5, 1.0, folder / "karat"
    )
    with quiet():
        made = trainer_of(model, loop, True, lambda text: None)
    return timed(made).seconds


def of_trl(args: argparse.Namespace, data: list[Example], folder: Path) -> float:
    """Seconds of TRL's trainer; as many pairs at a time as fit."""
    fitting = max(1, args.tokens // (2 * args.longest))
    model = random_model(args.shape, args.device, args.half, args.lora)
    if args.lora:
        model = models.with_lora(
            model, RewardSettings(lora=True, gradient_checkpointing=args.checkpointing)
        )
    rows = [
        {"chosen_ids": one.texts[0].tolist(), "rejected_ids": one.texts[1].tolist()} for one in data
    ]
    with quiet(), torch.random.fork_rng():
        config = trl.RewardConfig(
            str(folder / "trl"), use_cpu=args.device == "cpu", report_to="none", disable_tqdm=True,
            per_device_train_batch_size=fitting, max_length=None, num_train_epochs=1,
            gradient_accumulation_steps=max(1, args.batch // fitting), learning_rate=1e-5,
            bf16=args.half, logging_steps=1, save_strategy="no", dataloader_pin_memory=False,
            activation_checkpointing=args.checkpointing,
        )  # fmt: skip
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=_words())
        tokenizer.pad_token, tokenizer.eos_token = "w0", "w2"
        made = trl.RewardTrainer(
            model, config, train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tokenizer,
        )  # fmt: skip
        made.remove_callback(transformers.PrinterCallback)
    return timed(made).seconds


def _words() -> Any:
    from tokenizers import Tokenizer
    from tokenizers import models as kinds

    return Tokenizer(kinds.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, "w1"))


def peak(device: str) -> float:
    """Floating-point operations a second of a large matrix product in bfloat16."""
    a = torch.randn(PEAK_SIZE, PEAK_SIZE, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(PEAK_TIMES):
        a @ a
    torch.cuda.synchronize()
    return PEAK_TIMES * 2 * PEAK_SIZE**3 / (time.perf_counter() - begun)


def work(args: argparse.Namespace, data: list[Example]) -> float:
    """Operations of one pass over the data: 2 a weight and token forward and 4 backward (2 with
    LoRA, whose base gets no gradient of its own), and attention's products, causal."""
    hidden, middle, layers, heads, key_values = SHAPES[args.shape]
    body = layers * (2 * hidden**2 * (1 + key_values / heads) + 3 * hidden * middle)
    tokens = np.array([len(text) for one in data for text in one.texts], dtype=float)
    forward = 2 * body * tokens.sum() + 2 * layers * hidden * (tokens**2).sum()
    return float(forward * (2 if args.lora else 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32, help="pairs of a step")
    parser.add_argument("--tokens", type=int, help="at a time, padding included")
    parser.add_argument("--longest", type=int, default=1024)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--checkpointing", action="store_true", help="of activations")
    parser.add_argument("--without-trl", action="store_true")
    args = parser.parse_args()
    args.device = "cuda" if torch.cuda.is_available() else "cpu"
    args.half = args.device == "cuda"
    args.tokens = args.tokens or (16_384 if args.half else 2_048)
    data = pairs(args.batch * (args.steps + 1), args.longest)
    # All steps but the first hold this share of the tokens on average.
    tokens = sum(one.tokens for one in data) * args.steps / (args.steps + 1)
    best = peak(args.device) if args.half else None
    ways = {"karat": of_karat} | ({} if args.without_trl else {"TRL RewardTrainer": of_trl})
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, way in ways.items():
            seconds = way(args, data, Path(folder))
            rates[name] = tokens / seconds
            line = f"{name:18} {rates[name]:>12,.0f} tokens/s  {seconds / args.steps:8.2f} s a step"
            if best is not None:
                done = work(args, data) * args.steps / (args.steps + 1) / seconds
                line += f"  {done / 1e12:6.0f} TFLOP/s, {done / best:.0%} of {best / 1e12:.0f}"
                torch.cuda.empty_cache()
            print(line)
    if len(rates) == 2:
        mine, theirs = rates.values()
        print(f"ratio {mine / theirs:.2f} (karat over TRL)")


if __name__ == "__main__":
    main()
