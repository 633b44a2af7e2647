"""dedupe at full size: what it finds, what it costs, what a kill costs, beside peers.

    python benchmarks/curation_dedupe.py [near exact semantic million] [--corpus DIR]
        [--million DIR] [--vectors FILE.npy] [--peers PYTHON]

`--corpus` names a folder with corpus.jsonl ({"id", "text"}) and truth.jsonl ({"cluster", "kind",
"rate"}), a line a document; without it 100,000 documents of 100 to 290 words are made here: 91%
base documents of Zipf's vocabulary, 8% copies with 2, 5, 10 or 15% of the words edited, 1% equal
copies. `--million` is the same for 1,000,000. Our runs go from a stage file to the decided stage
file, through the step with its defaults. A drop is right if it repeats a row of its own cluster.

Each runs in a process of its own, on one thread. CPU seconds and memory are those beyond start-up,
which includes one small run. `--peers` is the python of an environment with what
peers/requirements/curation.txt names. `floor` reads the texts and hashes them, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from karat.columns import Table
from karat.curation.near_vectors import nearest_few
from karat.decided import apply_decision
from karat.row import Message, Row
from karat.stage import written
from karat.steps.dedupe import dedupe
from karat.table import SCHEMA

HERE = Path(__file__).parent
PEERS = HERE / "peers" / "dedupe"
RATES = (0.02, 0.05, 0.10, 0.15)
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS")
ONE_THREAD = dict.fromkeys(THREADS, "1")


def made(count: int, folder: Path) -> Path:
    """A corpus with its truth, the same every time."""
    rng, draw = np.random.default_rng(7), random.Random(7)
    share = 1 / np.arange(1, 40_001) ** 1.1
    names = np.array([f"w{i:x}" for i in range(len(share))])
    base = count * 91 // 100
    lengths = rng.integers(100, 291, base)
    texts = [" ".join(names[rng.choice(len(share), n, p=share / share.sum())]) for n in lengths]
    rows = [(text, place, "base", 0.0) for place, text in enumerate(texts)]
    order = draw.sample(range(base), base)
    for number in range(count * 8 // 100):
        words, rate = texts[order[number]].split(), RATES[number % 4]
        for place in draw.sample(range(len(words)), round(rate * len(words))):
            kind, other = draw.random(), f"w{draw.randrange(len(share)):x}"
            words[place] = other if kind < 0.6 else "" if kind < 0.8 else f"{words[place]} {other}"
        rows.append((" ".join(filter(None, words)), order[number], "near", rate))
    again = order[-(count - len(rows)) :]
    rows += [(texts[source], source, "exact", 0.0) for source in again]
    draw.shuffle(rows)
    with (folder / "corpus.jsonl").open("w") as one, (folder / "truth.jsonl").open("w") as two:
        for number, (text, cluster, kind, rate) in enumerate(rows):
            print(json.dumps({"id": str(number), "text": text}), file=one)
            print(json.dumps({"cluster": cluster, "kind": kind, "rate": rate}), file=two)
    return folder


def stage_of(corpus: Path, folder: Path) -> Path:
    """The corpus as a stage file, and as a plain Parquet file for the peers."""
    import pyarrow as pa

    path, texts = folder / "stage.parquet", []
    with written(path, {}) as writer, (corpus / "corpus.jsonl").open() as lines:
        for line in lines:
            row = json.loads(line)
            texts.append(row["text"])
            writer.add([Row(row["id"], [Message("user", row["text"])], [])])
    table = pa.table({"text": texts})
    pq.write_table(table, folder / "texts.parquet", row_group_size=10_000, use_dictionary=False)
    return path


def ours(source: str, out: str, **params: Any) -> dict[str, Any]:
    """The step on a stage file, and the stage it makes: CPU seconds and memory beyond start-up."""
    small = Path(out).with_suffix(".warm.parquet")
    with pq.ParquetFile(source) as file, written(small, {}) as writer:
        writer.add_batch(next(file.iter_batches(200, columns=SCHEMA.names)))
    _through(small, Path(f"{small}.out"), params)
    memory, start, wall = anonymous_mb(), time.process_time(), time.perf_counter()
    repeats = _through(Path(source), Path(out), params)
    took = {"cpu": time.process_time() - start, "wall": time.perf_counter() - wall}
    return {**took, "mb": peak_mb() - memory, "held": memory, "repeats": repeats}


def _through(source: Path, out: Path, params: dict[str, Any]) -> dict[str, str]:
    decision = dedupe.function(Table(source), None, **dedupe.check(params))
    with written(out, {}) as writer:
        for batch, _ in apply_decision(source, decision, "dedupe"):
            writer.add_batch(batch)
    named = {row: reason.partition("(of ")[2] for row, reason in decision.drop.items()}
    return {row: rest.partition(",")[0].rstrip(")") for row, rest in named.items()}


def peak_mb() -> float:
    return _status("VmHWM")


def anonymous_mb() -> float:
    return _status("VmRSS")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith(name)).split()[1]) / 1024


def quality(corpus: Path, repeats: dict[str, str]) -> str:
    """Recall over planted copies, by how much of them was edited, and precision."""
    truth = [json.loads(line) for line in (corpus / "truth.jsonl").read_text().splitlines()]
    cluster = [row["cluster"] for row in truth]
    right = {cluster[int(i)] for i, j in repeats.items() if cluster[int(i)] == cluster[int(j)]}
    hits = sum(cluster[int(i)] == cluster[int(j)] for i, j in repeats.items())
    planted: dict[float, list[bool]] = defaultdict(list)
    for row in truth:
        if row["kind"] == "near":
            planted[row["rate"]].append(row["cluster"] in right)
    every = [found for rate in planted.values() for found in rate]
    by_rate = " ".join(f"{sum(found) / len(found):.3f}" for _, found in sorted(planted.items()))
    return (
        f"recall {sum(every) / max(1, len(every)):.3f} ({by_rate} at 2 5 10 15%)  "
        f"precision {hits / max(1, len(repeats)):.4f}  drops {len(repeats):,}"
    )


def call(command: list[str], out: Path) -> dict[str, Any] | None:
    done = subprocess.run(
        command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"  failed: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def run_ours(stage: Path, folder: Path, **params: Any) -> dict[str, Any] | None:
    out = folder / "ours.json"
    one = [sys.executable, __file__, "--one", str(stage), json.dumps(params), str(out)]
    return call(one, out)


def near(given: argparse.Namespace, corpus: Path, folder: Path) -> None:
    stage = stage_of(corpus, folder)
    for _ in range(given.repeats):
        if got := run_ours(stage, folder):
            print(f"  karat dedupe    {got['cpu']:6.2f} CPU s  {got['mb']:6.0f} MB  "
                  f"{quality(corpus, got['repeats'])}", flush=True)  # fmt: skip
    for peer in ("rensa", "datasketch") if given.peers else ():
        out = folder / f"{peer}.json"
        if got := call([given.peers, str(PEERS / "near.py"), peer, str(folder / "texts.parquet"),
                        str(out)], out):  # fmt: skip
            drops = {str(i): str(j) for i, j in enumerate(got["repeats"]) if j >= 0}
            print(f"  {peer:<15} {got['cpu']:6.2f} CPU s  {got['mb']:6.0f} MB  "
                  f"{quality(corpus, drops)}", flush=True)  # fmt: skip


def exact(given: argparse.Namespace, corpus: Path, folder: Path) -> None:
    stage = stage_of(corpus, folder)
    for _ in range(given.repeats):
        if got := run_ours(stage, folder, threshold=1.0):
            print(f"  karat dedupe    {got['cpu']:6.2f} CPU s  {got['mb']:6.0f} MB  "
                  f"{len(got['repeats']):,} drops (stage to stage)", flush=True)  # fmt: skip
        got = call([sys.executable, __file__, "--digests", str(folder / "texts.parquet"),
                    str(folder / "digests.json")], folder / "digests.json")  # fmt: skip
        print(f"  karat digests   {got['cpu']:6.2f} CPU s  {got['mb']:6.0f} MB  "
              f"{got['stay']:,} stay" if got else "", flush=True)  # fmt: skip
    for peer in ("floor", "polars", "daft"):
        python = sys.executable if peer == "floor" else given.peers
        out = folder / f"{peer}.json"
        if python and (got := call([python, str(PEERS / "exact.py"), peer,
                                    str(folder / "texts.parquet"), str(out)], out)):  # fmt: skip
            print(f"  {peer:<15} {got['cpu']:6.2f} CPU s  {got['mb']:6.0f} MB  "
                  f"{got['stay']:,} stay", flush=True)  # fmt: skip


def digests_only(source: str, out: str) -> None:
    """What the peers do: from the texts to how many differ."""
    from karat.curation.normal import digests, normalise

    def count(path: str) -> int:
        with pq.ParquetFile(path) as file:
            batches = file.iter_batches(1024, columns=["text"])
            return len(np.unique(np.concatenate(
                [digests(normalise(batch.column("text"))) for batch in batches])))  # fmt: skip

    small = Path(out).with_suffix(".warm.parquet")
    pq.write_table(pq.read_table(source).slice(0, 100), small)
    count(str(small))
    memory, start = anonymous_mb(), time.process_time()
    stay = count(source)
    cpu = time.process_time() - start
    Path(out).write_text(json.dumps({"cpu": cpu, "mb": peak_mb() - memory, "stay": stay}))


def vectors_of(given: argparse.Namespace, folder: Path) -> Path:
    """100,000 × 384: 2,000 groups, as wide as they are apart; or those of --vectors."""
    if given.vectors:
        return Path(given.vectors)
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(2000, 384)).astype(np.float32)
    made = centres[rng.integers(0, 2000, 100_000)]
    made += rng.normal(size=made.shape).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    np.save(folder / "vectors.npy", made)
    return folder / "vectors.npy"


def semantic(given: argparse.Namespace, corpus: Path, folder: Path) -> None:
    path = vectors_of(given, folder)
    out, vectors = folder / "near.json", np.load(path)
    asked = np.random.default_rng(1).choice(len(vectors), min(1000, len(vectors)), replace=False)
    similarity = vectors[asked] @ vectors.T
    similarity[np.arange(len(asked)), asked] = -2
    want = np.argpartition(similarity, -10, axis=1)[:, -10:].tolist()
    print(f"  vectors {vectors.shape}")
    runs = [("karat", [sys.executable, __file__, "--vectors-one", str(path), str(out)])]
    for lists, probes in ((0, 0), (1024, 16), (1024, 64)) if given.peers else ():
        name = f"faiss IVF{lists} nprobe {probes}" if lists else "faiss Flat"
        runs.append((name, [given.peers, str(PEERS / "neighbours.py"), str(lists), str(probes),
                            str(path), str(out)]))  # fmt: skip
    for name, command in runs:
        if got := call(command, out):
            near = [got["near"][place] for place in asked.tolist()]
            recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(near, want, strict=True)])
            print(f"  {name:<24} {got['cpu']:6.1f} CPU s  recall@10 {recall:.4f}", flush=True)


def neighbours_one(path: str, out: str) -> None:
    vectors = np.load(path)
    start = time.process_time()
    places, _ = nearest_few(vectors, 10)
    cpu = time.process_time() - start
    Path(out).write_text(json.dumps({"cpu": cpu, "near": places.tolist()}))


def million(given: argparse.Namespace, corpus: Path, folder: Path) -> None:
    """1,000,000 documents in one go, and again with a kill half-way."""
    stage = stage_of(corpus, folder)
    rows = pq.read_metadata(stage).num_rows
    whole = run_ours(stage, folder)
    if not whole:
        return
    print(f"  {rows:,} rows     {whole['cpu']:6.1f} CPU s  {whole['wall']:.0f} s wall  "
          f"{whole['mb']:6.0f} MB  {quality(corpus, whole['repeats'])}", flush=True)  # fmt: skip
    out = folder / "ours.json"
    one = [sys.executable, __file__, "--one", str(stage), "{}", str(out)]
    running = subprocess.Popen(one, env={**os.environ, **ONE_THREAD})
    state = folder / f"{stage.stem}.dedupe" / "state.json"
    while running.poll() is None:
        if state.exists() and json.loads(state.read_text())["rows"] >= rows // 2:
            running.send_signal(signal.SIGKILL)
        time.sleep(0.2)
    done = json.loads(state.read_text())["rows"] if state.exists() else 0
    again = run_ours(stage, folder)
    if again:
        print(f"  killed with {done:,} rows done; again: {again['cpu']:6.1f} CPU s, "
              f"same answer: {again['repeats'] == whole['repeats']}", flush=True)  # fmt: skip


RUNS = {"near": near, "exact": exact, "semantic": semantic, "million": million}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="*", help=", ".join(RUNS))
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--million", type=Path)
    parser.add_argument("--vectors")
    parser.add_argument("--peers")
    parser.add_argument("--repeats", type=int, default=2)
    for hidden, count in (("--one", 3), ("--digests", 2), ("--vectors-one", 2)):
        parser.add_argument(hidden, nargs=count, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        source, params, out = given.one
        got = ours(source, f"{out}.parquet", **json.loads(params))
        Path(out).write_text(json.dumps(got))
    elif given.digests:
        digests_only(*given.digests)
    elif given.vectors_one:
        neighbours_one(*given.vectors_one)
    else:
        for section in given.sections or ("near", "exact", "semantic"):
            print(section, flush=True)
            with tempfile.TemporaryDirectory() as name:
                folder, large = Path(name), section == "million"
                corpus = given.million if large else given.corpus
                if corpus is None and section != "semantic":
                    corpus = made(1_000_000 if large else 100_000, folder)
                RUNS[section](given, corpus, folder)


if __name__ == "__main__":
    main()
