"""Near-duplicates of short prompts: what dedupe finds, how surely, and what it costs.

    python benchmarks/dedupe.py [--rows 10000 100000] [--thresholds 0.8 0.7 0.6]

One fifth of the prompts are edited copies of others: 2, 5, 10, 15 or 25% of the words replaced, at
least one. `free` prompts have 5 to 60 words of a Zipf vocabulary. `template` prompts fill 200
templates, so unrelated prompts share most of their words: there, a threshold decides what counts as
the same, and "precision" is the share of drops whose prompt was planted as a copy of the one kept.
Each setting runs in a process of its own; CPU seconds and memory are beyond start-up and corpus.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa

from karat.curation.minhash import NearDuplicates
from karat.curation.shingles import normalise

RATES = (0.02, 0.05, 0.10, 0.15, 0.25)
COPIES = 0.2
VOCABULARY = 20_000
TEMPLATES = 200
BATCH = 1024


def words(rng: np.random.Generator, count: int) -> list[str]:
    """Words as frequent as in English text: Zipf, exponent 1.1."""
    share = 1 / np.arange(1, VOCABULARY + 1) ** 1.1
    return [f"w{i:x}" for i in rng.choice(VOCABULARY, count, p=share / share.sum())]


def free(rng: np.random.Generator, count: int) -> list[list[str]]:
    lengths = rng.integers(5, 61, count)
    pool = iter(words(rng, int(lengths.sum())))
    return [list(itertools.islice(pool, int(n))) for n in lengths]


def template(rng: np.random.Generator, count: int) -> list[list[str]]:
    """Templates of 6 to 25 words with 2 to 5 slots, filled with rare words."""
    frames = free(rng, TEMPLATES)
    frames = [(frame * 3)[: int(n)] for frame, n in zip(frames, rng.integers(6, 26, TEMPLATES), strict=True)]
    slots = [rng.choice(len(f), min(len(f), int(rng.integers(2, 6))), replace=False) for f in frames]
    made = []
    for which in rng.integers(0, TEMPLATES, count):
        text = list(frames[which])
        for slot in slots[which]:
            text[slot] = f"v{rng.integers(0, 5000)}"
        made.append(text)
    return made


def corpus(kind: str, rows: int) -> tuple[list[str], list[int], list[float]]:
    """Texts in random order, the family of each, and how much of it was edited (0: an original)."""
    rng = np.random.default_rng(7)
    copies = int(rows * COPIES)
    originals = {"free": free, "template": template}[kind](rng, rows - copies)
    items = [(" ".join(text), i, 0.0) for i, text in enumerate(originals)]
    for n, source in enumerate(rng.choice(len(originals), copies, replace=False)):
        rate, text = RATES[n % len(RATES)], list(originals[source])
        edits = max(1, round(rate * len(text)))
        for place, word in zip(
            rng.choice(len(text), edits, replace=False), words(rng, edits), strict=True
        ):
            text[place] = word
        items.append((" ".join(text), int(source), rate))
    random.Random(7).shuffle(items)
    texts, families, rates = zip(*items, strict=True)
    return list(texts), list(families), list(rates)


def measure(kind: str, rows: int, threshold: float) -> dict[str, float]:
    texts, families, rates = corpus(kind, rows)
    NearDuplicates(threshold).add(normalise(pa.array(["a warm start"])))
    memory, start = peak_mb(), time.process_time()
    near = NearDuplicates(threshold)
    for at in range(0, rows, BATCH):
        near.add(normalise(pa.array(texts[at : at + BATCH])))
    added = time.process_time()
    found = near.resolve().repeats.tolist()
    cpu = time.process_time()
    # Of a copy and its original either may come first in the file.
    together = {families[i] for i, j in enumerate(found) if j >= 0 and families[i] == families[j]}
    dropped = [(i, j) for i, j in enumerate(found) if j >= 0]
    right = sum(families[i] == families[j] for i, j in dropped)
    out = {"cpu": cpu - start, "signing": added - start, "mb": peak_mb() - memory}
    for rate in RATES:
        planted = [f for f, r in zip(families, rates, strict=True) if r == rate]
        out[f"{rate:.0%}"] = sum(f in together for f in planted) / len(planted)
    return out | {"precision": right / len(dropped) if dropped else 1.0, "dropped": len(dropped)}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.8, 0.7, 0.6])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        kind, rows, threshold = given.one
        print(json.dumps(measure(kind, int(rows), float(threshold))))
        return
    print("prompts            threshold  CPU s  of it signing    MB  dropped  precision   recall at",
          *(f"{rate:>5.0%}" for rate in RATES))  # fmt: skip
    for kind, rows in itertools.product(("free", "template"), given.rows):
        for threshold in given.thresholds:
            command = [sys.executable, __file__, "--one", kind, str(rows), str(threshold)]
            got = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            print(f"{kind:<9}{rows:>8,}  {threshold:>10}  {got['cpu']:5.2f}  {got['signing']:13.2f}"
                  f"  {got['mb']:4.0f}  {got['dropped']:7,}  {got['precision']:9.3f}            ",
                  *(f"{got[f'{rate:.0%}']:5.2f}" for rate in RATES))  # fmt: skip


if __name__ == "__main__":
    main()
