"""n-gram decontamination: what is found of planted overlaps, and what it costs beside peers.

    python benchmarks/curation_decontaminate.py [--corpus DIR] [--rows 100000] [--peers DIR]

1,500 items are made of random words, so that no document has a run of 13 by chance, and one of 20
documents gets a plant: a whole item, one in another spelling (case, marks, full-width letters), 13
to 20 words of one, a whole item of 8 to 12 words, one of 3 to 7 words that is all of the document;
and, not to be found, 12 words of one. `--corpus` names a folder with corpus.jsonl
({"id", "text"} a line) to plant in; without it documents are made of random words too.

Every tool runs in a process of its own, on one thread, from a file to the ids of the documents it
flags. CPU seconds are those of the whole process and its children, start-up included; peers that
would take minutes run on `--peer-rows` documents and are scaled. `floor` normalises, finds the
words and hashes every run of 13, and looks nothing up; `start` is only our imports; `set` is what a
careful person writes in an hour: the same words, a Python set of tuples. `--peers` names a folder
with a virtual environment for each of datatrove, corpus-assay, decontaminate (decon) and overlapy.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import unicodedata
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
N = 13
ITEMS, SHORT, TINY = 1000, 400, 100
KINDS = ("whole", "spelt", "part", "short", "tiny", "twelve")
FOUND = KINDS[:-1]
SHARE = 20  # one of so many documents gets a plant
PEERS = {  # environment, script, whether it is slow
    "corpus-assay": ("corpus-assay", "corpus_assay_peer.py", False),
    "decon": ("decontaminate", "decon_peer.py", False),
    "datatrove": ("datatrove", "datatrove_peer.py", True),
    "overlapy": ("overlapy", "overlapy_peer.py", False),
}


# --- what is searched ----------------------------------------------------------------------------


def words(rng: random.Random, count: int) -> list[str]:
    """Pronounceable words of 3 to 9 letters; two runs of them are never the same by chance."""
    return [
        "".join(
            rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 5))
        )
        for _ in range(count)
    ]


def items(rng: random.Random) -> list[list[str]]:
    sizes = [rng.randint(20, 80) for _ in range(ITEMS)]
    sizes += [rng.randint(8, 12) for _ in range(SHORT)] + [rng.randint(3, 7) for _ in range(TINY)]
    return [words(rng, size) for size in sizes]


def spelt(rng: random.Random, text: list[str]) -> str:
    """The same words otherwise: capitals, marks, line ends, full-width letters."""
    wide = str.maketrans({c: chr(ord(c) + 0xFEE0) for c in "abcdefghijklmnopqrstuvwxyz"})
    changes = (str, str.upper, str.title, lambda w: w.translate(wide), lambda w: f"“{w}”")
    out = [rng.choice(changes)(w) if rng.random() < 0.3 else w for w in text]
    return "".join(w + rng.choice((" ", " ", " ", ", ", "\n", "… ")) for w in out)


def planted(rng: random.Random, kind: str, made: list[list[str]]) -> tuple[str, bool]:
    """(text, whether it is a document of its own)."""
    if kind == "short":
        return " ".join(made[ITEMS + rng.randrange(SHORT)]), False
    if kind == "tiny":
        return " ".join(made[ITEMS + SHORT + rng.randrange(TINY)]), True
    item = made[rng.randrange(ITEMS)]
    if kind in ("whole", "spelt"):
        return " ".join(item) if kind == "whole" else spelt(rng, item), False
    size = N - 1 if kind == "twelve" else rng.randint(N, 20)
    start = rng.randrange(len(item) - size + 1)
    return " ".join(item[start : start + size]), False


def make(folder: Path, corpus: Path | None, rows: int) -> None:
    """Writes corpus.parquet, corpus.jsonl, items.jsonl and truth.json."""
    rng = random.Random(7)
    made = items(rng)
    texts: list[str] = []
    if corpus is not None:
        with (corpus / "corpus.jsonl").open(encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in islice(lines, rows)]
    pool = words(rng, 20_000)
    while len(texts) < rows:
        texts.append(" ".join(rng.choices(pool, k=rng.randint(100, 290))))
    truth = {}
    for place in range(0, rows, SHARE):
        kind = KINDS[place // SHARE % len(KINDS)]
        text, alone = planted(rng, kind, made)
        held = texts[place].split(" ")
        at = rng.randrange(len(held))
        # What is planted stands between two words that no item has: its length is what it seems.
        parts = [*held[:at], "Xq", text, "Xq", *held[at:]]
        texts[place] = text if alone else " ".join(parts)
        truth[str(place)] = kind
    ids = [str(i) for i in range(rows)]
    pq.write_table(pa.table({"id": ids, "text": texts}), folder / "corpus.parquet")
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for name, text in zip(ids, texts, strict=True):
            file.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")
    with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
        for one in made:
            file.write(json.dumps({"question": " ".join(one)}) + "\n")
    (folder / "truth.json").write_text(json.dumps(truth))


# --- our own runs --------------------------------------------------------------------------------


def batches(folder: Path) -> list[pa.RecordBatch]:
    file = pq.ParquetFile(folder / "corpus.parquet")
    return file.iter_batches(1024, columns=["id", "text"])


def run_karat(folder: Path) -> list[str]:
    from karat.steps._contamination import Rules, Searcher
    from karat.steps._evaluation_sets import Columns, load_sets

    search = Searcher(load_sets([str(folder / "items.jsonl")], Path, Columns()), Rules(n=N))
    ids: list[str] = []
    for batch in batches(folder):
        search.find(batch.column("text"), np.arange(len(ids), len(ids) + batch.num_rows))
        ids += batch.column("id").to_pylist()
    return sorted({ids[hit.row] for hit in search.hits(len(ids))})


def run_floor(folder: Path) -> list[str]:
    from karat.curation.wordruns import word_runs

    for batch in batches(folder):
        for chunk in word_runs(batch.column("text")):
            chunk.runs(N)
    return []


def run_start(_: Path) -> list[str]:
    """Nothing but the imports."""
    import karat.steps._contamination  # noqa: F401

    return []


def run_set(folder: Path) -> list[str]:
    word = re.compile(r"\w+")

    def grams(text: str) -> list[tuple[str, ...]]:
        found = word.findall(unicodedata.normalize("NFKC", text).lower())
        return list(zip(*(found[i:] for i in range(N)), strict=False))

    held: set[tuple[str, ...]] = set()
    for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines():
        held.update(grams(json.loads(line)["question"]))
    return [
        row["id"]
        for batch in batches(folder)
        for row in batch.to_pylist()
        if not held.isdisjoint(grams(row["text"]))
    ]


OURS = {"karat": run_karat, "floor": run_floor, "start": run_start, "set": run_set}


# --- measuring -----------------------------------------------------------------------------------


def measured(command: list[str]) -> tuple[float, float]:
    """(CPU seconds, MB at most) of a process and its children."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], "
        "stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024) if done.returncode == 0 "
        "else sys.exit(done.stderr[-600:])"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-600:])
    cpu, peak = done.stdout.split()
    return float(cpu), float(peak)


def quality(flagged: set[str], truth: dict[str, str], rows: int) -> str:
    """Share of each kind of plant that was flagged; share of the flagged that should be."""
    mine = {name: kind for name, kind in truth.items() if int(name) < rows}
    shares = []
    for kind in KINDS:
        there = [name for name, of in mine.items() if of == kind]
        shares.append(f"{sum(name in flagged for name in there) / max(1, len(there)):6.3f}")
    right = sum(mine.get(name) in FOUND for name in flagged)
    precision = f"{right / len(flagged):10.4f}" if flagged else f"{'–':>10}"
    return " ".join(shares) + precision


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="A folder with corpus.jsonl to plant in.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--peers", type=Path, help="A folder with the peers' environments.")
    parser.add_argument("--peer-rows", type=int, default=2_000, help="Documents for slow peers.")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, folder, out = given.one
        Path(out).write_text("".join(f"{one}\n" for one in OURS[name](Path(folder))))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, given.corpus, given.rows)
        truth = json.loads((folder / "truth.json").read_text())
        print(f"{given.rows:,} documents, {ITEMS + SHORT + TINY:,} items, runs of {N} words")
        print(f"{'':14}{'CPU s':>8}{'MB':>7}  " + " ".join(f"{kind:>6}" for kind in KINDS)
              + f"{'precision':>10}")  # fmt: skip
        for name in OURS:
            out = folder / f"{name}.ids"
            cpu, peak = measured([sys.executable, __file__, "--one", name, place, str(out)])
            found = set(out.read_text().split())
            said = "" if name in ("floor", "start") else quality(found, truth, given.rows)
            print(f"{name:14}{cpu:8.2f}{peak:7.0f}  {said}", flush=True)
        for name, (home, script, slow) in PEERS.items() if given.peers else ():
            python = given.peers / home / "bin" / "python"
            if not python.exists():
                print(f"{name:14}  no environment at {python}")
                continue
            rows = min(given.rows, given.peer_rows) if slow else given.rows
            data = folder / ("corpus.jsonl" if name == "datatrove" else "corpus.parquet")
            out = folder / f"{home}.ids"
            command = [str(python), str(HERE / "peers" / "decontaminate" / script), str(data),
                       str(folder / "items.jsonl"), str(out), str(N)]  # fmt: skip
            try:
                cpu, peak = measured([*command, str(rows)])
                found = set(out.read_text().split())
                if rows < given.rows:  # what it takes before the first document is not scaled
                    before, _ = measured([*command, "1"])
                    cpu = before + (cpu - before) * given.rows / rows
            except RuntimeError as error:
                print(f"{name:14}  failed: {str(error).splitlines()[-1][:100]}")
                continue
            scaled = f"  (scaled from {rows:,})" if rows < given.rows else ""
            print(f"{name:14}{cpu:8.2f}{peak:7.0f}  {quality(found, truth, rows)}{scaled}",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
