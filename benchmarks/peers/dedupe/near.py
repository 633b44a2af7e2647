"""Near-duplicates by a peer's MinHash at its own usual setting: word 5-grams, threshold 0.7.

python near.py rensa|datasketch PARQUET OUT: OUT gets one line of JSON: CPU seconds beyond start-up,
memory in MB, and for every text the place of an earlier one it repeats, or -1.
"""

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

PERMUTATIONS, THRESHOLD, WORDS = 128, 0.7, 5


def grams(text: str) -> list[str]:
    words = text.lower().split()
    return [" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))]


def rensa(texts: list[str]) -> list[int]:
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=16)
    held, found = [], []
    for place, text in enumerate(texts):
        sketch = RMinHash(num_perm=PERMUTATIONS, seed=7)
        sketch.update(grams(text))
        near = [i for i in index.query(sketch) if held[i].jaccard(sketch) >= THRESHOLD]
        index.insert(place, sketch)
        held.append(sketch)
        found.append(min(near, default=-1))
    return found


def datasketch(texts: list[str]) -> list[int]:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    found = []
    for place, text in enumerate(texts):
        sketch = MinHash(num_perm=PERMUTATIONS, seed=7)
        sketch.update_batch([gram.encode() for gram in grams(text)])
        near = index.query(sketch)
        index.insert(place, sketch)
        found.append(min(near, default=-1))
    return found


def peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


peer, source, out = sys.argv[1:]
finder = {"rensa": rensa, "datasketch": datasketch}[peer]
finder(["a warm start of six words"])
memory = peak_kb()
start = time.process_time()
repeats = finder(pq.read_table(source, columns=["text"])["text"].to_pylist())
cpu = time.process_time() - start
mb = (peak_kb() - memory) / 1024
Path(out).write_text(json.dumps({"cpu": cpu, "mb": mb, "repeats": repeats}))
