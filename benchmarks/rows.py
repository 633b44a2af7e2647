"""A million rows in the dashboard: how long a page of them takes, and what the server holds.

python benchmarks/rows.py [--rows 1000000] [--repeats 15] [--out FOLDER] [--json FILE] [--stages]

Makes a finished run: 6 in 10 rows accepted, 4 responses and 6 scores each, prompts of about 200
characters and answers of about 500, in accepted.parquet and dropped.parquet as karat's own writer
cuts them (about 1.7 GB; kept in --out for the next time, else in a temporary folder). With --stages
the rows lie in two stage files as well, so that the lineage of an opened row has files to look
through. There is no journal: what a row's calls add is its size, see karat.web.rows.calls.

`karat serve` runs over it as a process of its own. First the page of a run that nobody has opened
yet: the index is made meanwhile. Then each question --repeats times, its values another each time,
so that no count is answered from memory; milliseconds are the client's, the whole page read. RSS is
VmRSS of the server afterwards, the peak VmHWM; the process that makes the index is told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from karat.columns import best_texts, first_kept, score_values
from karat.finish import FINAL_SCHEMA
from karat.rundir import Run
from karat.stage import written
from karat.table import MESSAGE, RESPONSE, SCHEMA, SCORE
from karat.web.rows.index import places

AT_ONCE = 1024
N = 4
KEYS = [f"helpsteer2.{name}" for name in (
    "helpfulness", "correctness", "coherence", "complexity", "verbosity", "reward"
)]  # fmt: skip
REASONS = [
    "reject: below minimum (best 1.2)", "dedupe: near duplicate (of 03fa)",
    "verify: fails length", "prompts: nothing usable was written",
]  # fmt: skip
RARE = "quixotic zephyr"  # in one row of a hundred thousand


class Maker:
    """Rows out of one long text of made-up words, the same for the same number."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        lengths = self.rng.integers(2, 9, 4000)
        words = ["".join(self.rng.choice(letters, length)) for length in lengths]
        self.text = " ".join(self.rng.choice(words, 2_000_000))
        self.word = words[17]

    def texts(self, count: int, mean: int) -> list[str]:
        starts = self.rng.integers(0, len(self.text) - 2 * mean, count)
        lengths = self.rng.integers(mean // 2, mean * 3 // 2, count)
        cut = [self.text[a : a + b] for a, b in zip(starts, lengths, strict=True)]
        for place in np.flatnonzero(self.rng.random(count) < 0.25e-5):
            cut[place] += RARE
        return cut

    def batch(self, rows: int, accepted: bool) -> pa.RecordBatch:
        """Rows of FINAL_SCHEMA, of which those that were accepted keep their best response."""
        rng, flat = self.rng, rows * N
        prompts = self.texts(rows, 200)
        turns = pa.StructArray.from_arrays(
            [pa.array(["user"] * rows), pa.array(prompts)], fields=list(MESSAGE)
        )
        values = np.round(rng.normal(2.5, 0.6, (rows, N, len(KEYS))).clip(0, 4), 6)
        kept = np.zeros((rows, N), np.bool_)
        if accepted:
            kept[np.arange(rows), values[:, :, -1].argmax(1)] = True
        pairs = pa.StructArray.from_arrays(
            [pa.array(KEYS * flat), pa.array(values.ravel())], fields=list(SCORE)
        )
        items = pa.StructArray.from_arrays(
            [
                pa.array(self.texts(flat, 500)), pa.array(["p/small", "p/teacher"] * 2 * rows),
                pa.array(np.tile(np.arange(N), rows), pa.int32()), pa.array(["stop"] * flat),
                self.hexes(flat, 32), _lists(pairs, len(KEYS)), pa.array(kept.ravel()),
            ], fields=list(RESPONSE),
        )  # fmt: skip
        responses = _lists(items, N)
        tasks = rng.choice(["open_qa", "writing", "coding", "closed_qa"], rows)
        topics = rng.integers(0, 400, rows)
        meta = [f'{{"topic":"topic {t}","task":"{k}"}}' for t, k in zip(topics, tasks, strict=True)]
        why = [None] * rows if accepted else rng.choice(REASONS, rows).tolist()
        scores = score_values(responses.flatten().field("scores"), KEYS[-1])
        columns = [
            pa.array(prompts), best_texts(responses), pa.array(scores).take(first_kept(responses)),
            self.hexes(rows, 16), _lists(turns, 1), responses, pa.array(["synthetic"] * rows),
            pa.array(meta), _lists(self.hexes(rows, 32), 1), pa.array(why, pa.string()),
            pa.array([False] * rows), pa.array([["apache-2.0"]] * rows), pa.array(["yes"] * rows),
        ]  # fmt: skip
        return pa.RecordBatch.from_arrays(columns, schema=FINAL_SCHEMA)

    def hexes(self, count: int, digits: int) -> pa.Array:
        data = self.rng.bytes(count * digits // 2).hex()
        return pa.array([data[i : i + digits] for i in range(0, len(data), digits)])


def _lists(items: pa.Array, each: int) -> pa.ListArray:
    ends = np.arange(0, len(items) + 1, each, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), items)


def make(folder: Path, rows: int, stages: bool) -> None:
    """Writes the run, unless it is there."""
    if (folder / "recipe.yaml").is_file():
        return
    maker, meta = Maker(), {"ranking": KEYS[-1]}
    (folder / "stages").mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        names = ("01-respond-grade", "02-reject") if stages else ()
        more = [stack.enter_context(written(folder / f"stages/{n}.parquet", {})) for n in names]
        for name, count in (("accepted", rows * 6 // 10), ("dropped", rows - rows * 6 // 10)):
            with written(folder / f"{name}.parquet", meta, FINAL_SCHEMA) as writer:
                for start in range(0, count, AT_ONCE):
                    batch = maker.batch(min(AT_ONCE, count - start), name == "accepted")
                    writer.add_batch(batch)
                    for stage in more:
                        stage.add_batch(batch.select(SCHEMA.names))
    (folder / "word").write_text(maker.word)
    (folder / "recipe.yaml").write_text("name: big\nseed: 7\nsteps: []\n")


@contextmanager
def served(root: Path) -> Iterator[tuple[str, int]]:
    """(address, process) of `karat serve` over a folder of runs."""
    command = [sys.executable, "-m", "karat", "serve", "--runs", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found.group(), process.pid
                    return
            raise SystemExit("karat serve did not start")
        finally:
            process.terminate()
            process.communicate()  # what it says at its end has to go somewhere


def ask(url: str) -> tuple[float, str]:
    """(milliseconds, page)."""
    begun = time.perf_counter()
    with urllib.request.urlopen(url, timeout=120) as answer:
        text = answer.read().decode()
    return (time.perf_counter() - begun) * 1e3, text


def memory(pid: int, field: str) -> float:
    """MiB of a process: VmRSS or VmHWM."""
    text = Path(f"/proc/{pid}/status").read_text()
    (found,) = re.findall(rf"{field}:\s+(\d+) kB", text)
    return int(found) / 1024


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def first_look(where: str, pid: int) -> dict[str, float]:
    """The page of a run that has no index yet, and how long that takes to be made."""
    begun = time.perf_counter()
    found = {"first page, no index yet, ms": ask(where)[0]}
    found["second page, no index yet, ms"] = ask(f"{where}?page=2")[0]
    peak = 0.0
    while not json.loads(ask(f"{where}/state.json")[1])["ready"]:
        for child in children(pid):
            with suppress(OSError, ValueError):  # it ended just now
                peak = max(peak, memory(child, "VmHWM"))
        time.sleep(0.05)
    found["index made after, s"] = time.perf_counter() - begun
    found["its process, peak MiB"] = peak
    return found


def questions(where: str, word: str, rows: int) -> dict[str, Callable[[], str]]:
    """What is asked, with values that are another each time."""
    rng = random.Random(7)
    reward = urllib.parse.quote(KEYS[-1])
    pages = max(1, rows // 50)
    deep = min(10_000, pages)
    ids = re.findall(r'data-item href="([^"]+)"', ask(f"{where}?page={pages // 3}")[1])
    ids += re.findall(r'data-item href="([^"]+)"', ask(f"{where}?page={pages * 4 // 5}")[1])
    root = where.rpartition("/run/")[0]

    def some(low: float, high: float) -> str:
        return f"{rng.uniform(low, high):.5f}"

    return {
        "first page": lambda: where,
        "a page in the middle": lambda: f"{where}?page={rng.randrange(1, pages)}",
        f"page {deep:,}": lambda: f"{where}?page={deep - rng.randrange(min(50, deep))}",
        "filter by score": lambda: f"{where}?score={reward}&min={some(2, 3.5)}",
        "filter by reason": lambda: (
            f"{where}?step=reject&reason=below+minimum&meta.topic=topic+{rng.randrange(400)}"
        ),
        "filter by a field and a model": lambda: (
            f"{where}?meta.task=coding&model=p/small&score={reward}&max={some(2, 3)}"
        ),
        "sort by score": lambda: f"{where}?sort={reward}&page={rng.randrange(1, 99)}",
        f"sort by score, page {deep:,}": lambda: (
            f"{where}?sort={reward}&page={deep - rng.randrange(min(50, deep))}"
        ),
        "filter and sort": lambda: (
            f"{where}?kept=dropped&score={reward}&min={some(1, 3)}&sort=length"
        ),
        "a frequent text": lambda: f"{where}?q={word}+{rng.choice('abcdefghij')}",
        "open one row": lambda: root + rng.choice(ids).replace("&amp;", "&"),
        "open one row of a sorted view": lambda: (
            root + rng.choice(ids).partition("?")[0] + f"?sort={reward}&n=5"
        ),
    }


def measure(folder: Path, repeats: int) -> dict[str, Any]:
    rows = sum(pq.read_metadata(folder / f"{name}.parquet").num_rows
               for name in ("accepted", "dropped"))  # fmt: skip
    for index in places(Run(folder)):
        index.unlink(missing_ok=True)
    found: dict[str, Any] = {"rows": rows, "cores": os.cpu_count()}
    with served(folder.parent) as (url, pid):
        where = f"{url}/run/{folder.name}/rows"
        found["server at start, MiB"] = memory(pid, "VmRSS")
        ask(f"{url}/runs")
        found |= first_look(where, pid)
        found["ms"] = {}
        for name, question in questions(where, (folder / "word").read_text(), rows).items():
            taken = [ask(question())[0] for _ in range(repeats)]
            found["ms"][name] = {"p50": statistics.median(taken), "max": max(taken)}
        begun = time.perf_counter()
        rare = f"{where}?q={urllib.parse.quote(RARE)}"
        while "Search on" in (text := ask(rare)[1]):
            pass
        found["a rare text in all rows, s"] = time.perf_counter() - begun
        found["found"] = len(re.findall("data-item", text))
        found["server, MiB"] = memory(pid, "VmRSS")
        found["server, peak MiB"] = memory(pid, "VmHWM")
    return found


def show(found: dict[str, Any]) -> None:
    for name, value in found.items():
        if name != "ms":
            print(
                f"{name:<34}{value:>12,.1f}"
                if isinstance(value, float)
                else f"{name:<34}{value:>12,}"
            )
    print(f"\n{'question':<34}{'p50 ms':>12}{'max ms':>12}")
    for name, one in found["ms"].items():
        print(f"{name:<34}{one['p50']:>12,.0f}{one['max']:>12,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, help="the folder the run is kept in")
    parser.add_argument("--json", type=Path, help="the figures as a file")
    parser.add_argument("--stages", action="store_true", help="two stage files beside the result")
    asked = parser.parse_args()
    with nullcontext(asked.out) if asked.out else tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "big"
        begun = time.perf_counter()
        make(folder, asked.rows, asked.stages)
        print(f"rows made in {time.perf_counter() - begun:.0f} s\n")
        found = measure(folder, asked.repeats)
    show(found)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
