"""Choosing rows: what each method costs, and what it keeps beside random and longest.

    python benchmarks/curation_select.py [--rows 10000 100000] [--share 0.1] [--data ../shared/data]

First table: CPU seconds of each method, and of split, on texts of 20 to 200 words of a Zipf
vocabulary about 500 subjects, embedded as `select` embeds them; each method in a process of its
own, and how much memory it needs beyond the vectors. Second table: the figures of every arm on real
prompts and answers, where the data is there: whether choosing by variety gives variety, and what it
costs in quality by people's ratings.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line has it

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from karat.columns import Table
from karat.curation.embedding import embed
from karat.curation.facility_location import facility_location
from karat.curation.k_center import k_center
from karat.curation.novelselect import novelselect
from karat.curation.repr_filter import repr_filter
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.steps.select import select
from karat.steps.split import split

ARMS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *((name, name, {}) for name in ("random", "longest", "quality", "deita")),
    *((name, name, {}) for name in ("facility_location", "k_center", "novelsum")),
    ("novelsum, density 0", "novelsum", {"density": 0.0}),
)
ALONE = ("deita", "facility_location", "k_center", "novelsum")
SUBJECTS, WORDS = 500, 20_000
DATA = Path(__file__).parents[1] / "../shared/data"


class Ctx:
    """As much of a context as a table step touches."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def seed(self) -> int:
        return 7

    def within_prompt(self, key: str) -> bool:
        return False

    def warn(self, text: str) -> None:
        self.warnings.append(text)


# --- cost ----------------------------------------------------------------------------------------


def texts(count: int) -> Iterator[str]:
    """Made of real words, a third of them those of a text's subject: vectors cluster."""
    from karat.curation.embedding import ASSET

    rng = np.random.default_rng(7)
    with np.load(ASSET) as stored:
        known = bytes(stored["tokens"]).decode().split("\n")
    words = np.array([word for word in known if word.isalpha() and len(word) > 2][:WORDS])
    share = 1 / np.arange(1, len(words) + 1)
    own = rng.integers(0, len(words), (SUBJECTS, 40))
    for subject in rng.integers(0, SUBJECTS, count):
        size = int(rng.integers(20, 200))
        plain = rng.choice(len(words), size, p=share / share.sum())
        about = rng.choice(own[subject], size)
        yield " ".join(words[np.where(rng.random(size) < 1 / 3, about, plain)])


def stage(path: Path, rows: Iterator[Row]) -> Table:
    writer = StageWriter(path)
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == 256:
            writer.add(batch)
            batch = []
    writer.add(batch)
    writer.close({})
    return Table(path)


def prepare(folder: Path, count: int) -> None:
    """A stage file of that many rows, and their vectors."""
    made = list(texts(count))
    rows = (Row(f"{i:x}", [Message("user", text)]) for i, text in enumerate(made))
    stage(folder / "stage.parquet", rows)
    np.save(folder / "vectors.npy", embed(made))


def cost(method: str, folder: Path, share: float) -> dict[str, Any]:
    """CPU seconds of one method, in this process; memory beyond what was there before it, in MB."""
    table = Table(folder / "stage.parquet")
    if method == "split":
        return timed(lambda: split.function(table, Ctx(), **split.check({})))
    if method == "select":
        params = select.check({"share": share, "method": "random"})
        return timed(lambda: select.function(table, Ctx(), **params))
    vectors = np.load(folder / "vectors.npy")
    n = int(len(vectors) * share)
    order = np.random.default_rng(0).permutation(len(vectors))
    calls = {
        "deita": lambda: repr_filter(vectors, order, n, 0.9),
        "facility_location": lambda: facility_location(vectors, n),
        "k_center": lambda: k_center(vectors, n, 0),
        "novelsum": lambda: novelselect(vectors, n, 0),
    }
    return timed(calls[method])


def timed(call: Callable[[], Any]) -> dict[str, Any]:
    # ru_maxrss would begin at what the parent held; this peak can be reset (Linux, man 5 proc).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory("VmRSS")
    start = time.process_time()
    call()
    seconds = time.process_time() - start
    return {"cpu_s": round(seconds, 2), "more_mb": (_memory("VmHWM") - before) // 1024}


def _memory(field: str) -> int:
    """In KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def costs(sizes: list[int], share: float) -> list[dict[str, Any]]:
    found = []
    names = {"select": "random, with embeddings and arms", "split": "split, with embeddings"}
    print(f"{'rows':>8} {'kept':>7} {'method':32} {'CPU s':>8} {'MB more':>8}")
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), count)
            for method in (*ALONE, *names):
                asked = [sys.executable, __file__, "--one", method, folder, str(share)]
                out = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
                one = {"rows": count, "kept": int(count * share), "method": method}
                one |= json.loads(out)
                print(
                    f"{count:>8,} {one['kept']:>7,} {names.get(method, method):32} "
                    f"{one['cpu_s']:>8} {one['more_mb']:>8}",
                    flush=True,
                )
                found.append(one)
    return found


# --- arms ----------------------------------------------------------------------------------------


def lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def rated(data: Path) -> Iterator[Row]:
    """HelpSteer2: one response to each of 500 prompts, with people's ratings."""
    for i, one in enumerate(lines(data / "helpsteer2/ratings.jsonl")):
        if i % 2 == 0:
            score = float(one["helpfulness"])
            answer = Response(one["response"], scores={"human.helpfulness": score})
            yield Row(f"h{i}", [Message("user", one["prompt"])], [answer])


def prompts(data: Path) -> Iterator[Row]:
    """Prompts of six kinds, half of them word problems: a pool that leans to one side."""
    fields = {
        "ifeval": "prompt", "self-instruct-seeds": "instruction", "gsm8k-test": "question",
        "human-eval": "prompt", "self-instruct-user": "instruction",
    }  # fmt: skip
    for name, field in fields.items():
        for i, one in enumerate(lines(data / f"prompts/{name}.jsonl")):
            yield Row(f"{name}{i}", [Message("user", one[field])], meta={"kind": name})


def arms(data: Path) -> list[dict[str, Any]]:
    found = []
    for title, rows, by in (
        ("500 rated answers (HelpSteer2), 100 kept", rated, "human.helpfulness"),
        ("2,450 prompts of five kinds, 245 kept", prompts, None),
    ):
        print(f"\n{title}")
        with tempfile.TemporaryDirectory() as folder:
            table = stage(Path(folder) / "stage.parquet", rows(data))
            count = table.count() // (5 if by else 10)
            keys: list[str] = []
            for name, method, more in ARMS:
                if method in ("quality", "deita") and not by:
                    continue
                params = {"n": count, "method": method, "by": by, **more}
                notes = select.function(table, Ctx(), **select.check(params)).notes
                if not keys:
                    keys = list(notes["arms"]["random"])
                    print(f"{'':21}" + "".join(f"{key:>18}" for key in keys))
                    low_high = [f"{low:.3g}…{high:.3g}" for low, high in notes["between"].values()]
                    print(f"{'95% of random':21}" + "".join(f"{one:>18}" for one in low_high))
                figures = notes["arms"][method]
                print(f"{name:21}" + "".join(f"{figures[key]:>18.4g}" for key in keys))
                found.append({"pool": title, "arm": name, **figures})
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Cost and worth of methods of choosing rows.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(cost(asked.one[0], Path(asked.one[1]), float(asked.one[2]))))
    else:
        result = {"cost": costs(asked.rows, asked.share)}
        if asked.data.exists():
            result["arms"] = arms(asked.data)
        print(json.dumps({"benchmark": "curation_select", **result}))
