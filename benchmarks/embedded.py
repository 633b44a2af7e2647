"""Best-of-8 against one answer at a time, on the embedded model, in one run.

Rejection sampling wants n answers to one prompt. Asked for together they share the reading of the
prompt and the passes over the weights; this measures what that is worth, in tokens per CPU second
(what the machine paid) and per wall second (what the user waited). Both ways write the very same
texts, which is checked. Rounds alternate, A B A B, so that a noisy machine troubles both alike.

    python benchmarks/embedded.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial

from karat.models.embedded import EmbeddedTransport

N = 8
PROMPTS = [
    "Explain how a bicycle stays upright.",
    "Write a short poem about a dog.",
    "Describe a market in Morocco.",
    "How does a vaccine work?",
    "Write an email asking for a day off.",
    "List five uses of salt.",
    "Who wrote Hamlet, and when?",
    "Give a recipe for pancakes.",
]
Texts = list[list[str]]
WIDTHS = (8, 8, 8, 11, 12)  # of the table's columns


class Measured:
    """What one way of asking took, summed over its rounds."""

    def __init__(self) -> None:
        self.tokens, self.cpu_s, self.wall_s = 0, 0.0, 0.0

    def rates(self) -> dict[str, float]:
        return {
            "tokens": self.tokens,
            "cpu_s": round(self.cpu_s, 2),
            "wall_s": round(self.wall_s, 2),
            "tokens_per_cpu_s": round(self.tokens / self.cpu_s, 1),
            "tokens_per_wall_s": round(self.tokens / self.wall_s, 1),
        }


class Asker:
    """Sends the requests of one round and counts the tokens that come back."""

    def __init__(self, transport: EmbeddedTransport, max_tokens: int) -> None:
        self.transport, self.max_tokens = transport, max_tokens
        self.tokens = 0

    async def ask(self, prompt: str, seed: int, n: int) -> list[str]:
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.max_tokens,
            "temperature": 1.0,
            "seed": seed,
            "n": n,
        }
        reply = await self.transport.post(
            "embedded:/chat/completions", json.dumps(body).encode(), {}, 600
        )
        answer = json.loads(reply.body)
        self.tokens += answer["usage"]["completion_tokens"]
        return [choice["message"]["content"] for choice in answer["choices"]]

    async def best_of_n(self, prompts: list[str], seed: int) -> Texts:
        """One request per prompt, all in flight."""
        return await asyncio.gather(*(self.ask(prompt, seed, N) for prompt in prompts))

    async def one_at_a_time(self, prompts: list[str], seed: int) -> Texts:
        """One request per answer, the next when the last is done."""
        return [[(await self.ask(p, seed + i, 1))[0] for i in range(N)] for p in prompts]


async def timed(total: Measured, asker: Asker, way: Callable[[], Awaitable[Texts]]) -> Texts:
    asker.tokens, cpu, wall = 0, time.process_time(), time.perf_counter()
    texts = await way()
    total.cpu_s += time.process_time() - cpu
    total.wall_s += time.perf_counter() - wall
    total.tokens += asker.tokens
    return texts


async def main(rounds: int, width: int, max_tokens: int) -> None:
    transport = EmbeddedTransport("smollm2-135m")
    asker = Asker(transport, max_tokens)
    cpu, wall = time.process_time(), time.perf_counter()
    await Asker(transport, 1).ask("Hello", 1, 1)
    load = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    together, single, same = Measured(), Measured(), True
    for number in range(rounds):
        start = number * width % len(PROMPTS)
        prompts, seed = (PROMPTS + PROMPTS)[start : start + width], 1000 * number
        texts = await timed(together, asker, partial(asker.best_of_n, prompts, seed))
        same &= texts == await timed(single, asker, partial(asker.one_at_a_time, prompts, seed))
    description = transport.describe()
    await transport.close()

    a, b = together.rates(), single.rates()
    print(description)
    print(f"load (weights in the cache): {load['cpu_s']:.2f} CPU s, {load['wall_s']:.2f} s")
    print(f"{rounds} rounds of {width} prompts × {N} answers of up to {max_tokens} tokens\n")
    print(f"{'':22}{'tokens':>8}{'CPU s':>8}{'wall s':>8}{'tok/CPU s':>11}{'tok/wall s':>12}")
    for name, rate in ((f"best of {N}, in flight", a), ("one at a time", b)):
        cells = zip(rate.values(), WIDTHS, strict=True)
        print(f"{name:22}" + "".join(f"{value:>{room}}" for value, room in cells))
    ratios = {key: round(a[key] / b[key], 2) for key in ("tokens_per_cpu_s", "tokens_per_wall_s")}
    print(f"{'ratio':46}{ratios['tokens_per_cpu_s']:>11}{ratios['tokens_per_wall_s']:>12}")
    print(f"same texts both ways: {'yes' if same else 'NO'}\n")
    result = {"best_of_8": a, "one_at_a_time": b, "ratio": ratios, "same_texts": same}
    line = {"benchmark": "embedded", "model": description, "load": load, **result}
    print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Best-of-8 against one at a time.")
    parser.add_argument("--quick", action="store_true", help="under a minute")
    quick = parser.parse_args().quick
    asyncio.run(main(*((2, 2, 16) if quick else (4, 4, 48))))
