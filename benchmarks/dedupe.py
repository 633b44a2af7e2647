"""Near-duplicates of short prompts: what dedupe finds, how surely, and what it costs.

    python benchmarks/dedupe.py [--rows 10000 100000] [--thresholds 0.8 0.7 0.6]

One fifth of the prompts are edited copies of others: 2, 5, 10, 15 or 25% of the words replaced, at
least one. `free` prompts have 5 to 60 words of a Zipf vocabulary. `template` prompts fill 200
templates, so unrelated prompts share most of their words: there, a threshold decides what counts as
the same, and "precision" is the share of drops whose prompt was planted as a copy of the one kept.
Each setting runs in a process of its own, from Parquet to verdicts, start-up not counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
    sizes = rng.integers(6, 26, TEMPLATES)
    frames = [(frame * 5)[: int(n)] for frame, n in zip(frames, sizes, strict=True)]
    slots = [rng.choice(len(f), int(rng.integers(2, 6)), replace=False) for f in frames]
    made = []
    for which in rng.integers(0, TEMPLATES, count):
        text = list(frames[which])
        for slot in slots[which]:
            text[slot] = f"v{rng.integers(0, 5000)}"
        made.append(text)
    return made


def corpus(kind: str, rows: int) -> pa.Table:
    """text, family (which original) and rate (how much was edited; 0: an original), shuffled."""
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
    return pa.table({"text": texts, "family": families, "rate": rates})


def measure(path: str, threshold: float) -> dict[str, float]:
    """CPU seconds and memory beyond start-up, from Parquet to verdicts, and their quality."""
    NearDuplicates(threshold).add(normalise(pa.array(["a warm start"])))
    memory, start = peak_mb(), time.process_time()
    near = NearDuplicates(threshold)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH, columns=["text"]):
            near.add(normalise(batch.column("text")))
    signed = time.process_time()
    found = near.resolve().repeats.tolist()
    out = {"cpu": time.process_time() - start, "signing": signed - start, "mb": peak_mb() - memory}
    truth = pq.read_table(path, columns=["family", "rate"])
    families, rates = truth["family"].to_pylist(), truth["rate"].to_pylist()
    right = [families[i] for i, j in enumerate(found) if j >= 0 and families[i] == families[j]]
    together = set(right)  # of a copy and its original either may come first in the file
    for rate in RATES:
        planted = [f for f, r in zip(families, rates, strict=True) if r == rate]
        out[f"{rate:.0%}"] = sum(f in together for f in planted) / len(planted)
    dropped = sum(j >= 0 for j in found)
    return out | {"precision": len(right) / dropped if dropped else 1.0, "dropped": dropped}


def peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory before exec
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.8, 0.7, 0.6])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], float(given.one[1]))))
        return
    print("prompts                 at  CPU s  of it signing    MB  dropped  precision  recall at",
          *(f"{rate:>5.0%}" for rate in RATES))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "prompts.parquet")
        for kind, rows in itertools.product(("free", "template"), given.rows):
            pq.write_table(corpus(kind, rows), path)
            for threshold in given.thresholds:
                command = [sys.executable, __file__, "--one", path, str(threshold)]
                got = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                print(
                    f"{kind:<9}{rows:>8,}   {threshold:>6}  {got['cpu']:5.2f}  "
                    f"{got['signing']:13.2f}  {got['mb']:4.0f}  {got['dropped']:7,}  "
                    f"{got['precision']:9.3f}           ",
                    *(f"{got[f'{rate:.0%}']:5.2f}" for rate in RATES),
                    flush=True,
                )


if __name__ == "__main__":
    main()
