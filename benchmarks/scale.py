"""What a row costs at ten thousand, a hundred thousand and a million rows, here and on Ray.

python benchmarks/scale.py [--rows 10000 100000 1000000] [--workers 0 1 2 4] [--steps respond]
    [--journal postgresql://…] [--server benchmarks/loopback.py] [--latency-ms 1]
Workers 0 is one process without Ray. A run of a few rows first shows what starting takes; it is
taken off the others, and what each further row costs from one size to the next is said by itself.
CPU seconds are those of all processes of a run, asked of the system four times a second; the
server's are not among them. Memory is the driver's peak. Each line is JSON as well, in scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from peers.servers import serving

HERE = Path(__file__).parent
FEW = 2048  # rows of a run that shows what starting takes: units for all workers, and their tasks
LOOK_S = 0.25
STEPS = {
    "respond": ["- respond: {models: [m]}"],
    "grade": ["- respond: {models: [m]}", "- grade: {reward: helpsteer2}"],
    "tables": [
        "- respond: {models: [m]}", "- filters: {rules: [length]}", "- dedupe: {on: prompt}",
    ],
}  # fmt: skip


class Watched:
    """A command and all it starts: CPU seconds by kind of process, the driver's peak memory."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        began = time.perf_counter()
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env
        )
        root = psutil.Process(child.pid)
        self._seen: dict[int, tuple[str, float]] = {}
        self.peak_mb = self.others_mb = self.seconds = 0.0
        self.table_bytes = self.journal_bytes = 0
        while child.poll() is None:
            self._look(root)
            time.sleep(LOOK_S)
        self.wall = time.perf_counter() - began
        error = child.stderr.read().decode() if child.stderr else ""
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{error}")

    def _look(self, root: psutil.Process) -> None:
        total = 0.0
        try:
            tree = [root, *root.children(recursive=True)]
        except psutil.Error:
            return
        for process in tree:
            try:
                times, name = process.cpu_times(), _kind(process, root)
                used = process.memory_info().rss / 2**20
                self._seen[process.pid] = (name, times.user + times.system)
            except psutil.Error:
                continue
            if process is root:
                self.peak_mb = max(self.peak_mb, used)
            elif name == "workers":
                total += used
        self.others_mb = max(self.others_mb, total)

    def cpu(self, kind: str | None = None) -> float:
        return sum(cpu for name, cpu in self._seen.values() if kind in (None, name))


def _kind(process: psutil.Process, root: psutil.Process) -> str:
    if process.pid == root.pid:
        return "driver"
    title = " ".join(process.cmdline()[:1])
    return "workers" if title.startswith("ray::") else "ray"


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


class Bench:
    def __init__(self, folder: Path, given: argparse.Namespace, base: str) -> None:
        self.folder, self.given, self.base = folder, given, base

    def recipe(self, rows: int) -> Path:
        prompts = self.folder / f"prompts-{rows}.jsonl"
        if not prompts.exists():
            with prompts.open("w") as out:
                for i in range(rows):
                    text = (
                        f"Item {i}: explain tides to student {i * 7919 % rows} in two paragraphs."
                    )
                    out.write(json.dumps({"prompt": text}) + "\n")
        model = f'{{model: openai/loop, base_url: "{self.base}/v1", concurrency: 256}}'
        steps = [f"- read: {{path: {prompts}}}", *STEPS[self.given.steps]]
        lines = "\n".join(f"  {step}" for step in steps)
        recipe = self.folder / "bench.yaml"
        recipe.write_text(
            f"name: bench\nmodels:\n  m: {model}\nrewards:\n  helpsteer2: embedded/helpsteer2\n"
            f"steps:\n{lines}\nexport: []\n"
            if self.given.steps == "grade"
            else f"name: bench\nmodels:\n  m: {model}\nsteps:\n{lines}\nexport: []\n"
        )
        return recipe

    def run(self, rows: int, workers: int) -> Watched:
        out = self.folder / f"run-{rows}-{workers}"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "karat", "run", str(self.recipe(rows)), "--out", str(out)]
        if workers:
            command += ["--executor", "ray", "--workers", str(workers)]
        if self.given.journal:
            mark = "&" if "?" in self.given.journal else "?"
            schema = f"scale_{rows}_{workers}_{int(time.time())}"
            command += ["--journal", f"{self.given.journal}{mark}schema={schema}"]
        done = Watched(command, {**os.environ, "OPENAI_API_KEY": "none"})
        report = json.loads((out / "report.json").read_text())
        held = report["rows"]["accepted"] + report["rows"]["dropped"]
        if held != rows:
            raise SystemExit(f"{held} rows came out of {rows}")
        tables = [out / "stages", out / "accepted.parquet", out / "dropped.parquet"]
        done.table_bytes = sum(map(_size, tables))
        done.journal_bytes = sum(_size(path) for path in out.glob("journal.sqlite*"))
        done.seconds = report["this_run"]["seconds"]
        shutil.rmtree(out, ignore_errors=True)
        return done


def measure(bench: Bench, workers: int, sizes: list[int]) -> list[dict[str, Any]]:
    few = bench.run(FEW, workers)
    where = f"ray, {workers} workers" if workers else "local"
    print(f"{where}: starting, {FEW} rows and the report take {few.wall:.1f} s wall, "
          f"{few.cpu():.1f} CPU s", flush=True)  # fmt: skip
    found = []
    for rows in sizes:
        done = bench.run(rows, workers)
        more = rows - FEW
        line = {
            "workers": workers, "rows": rows, "wall_s": round(done.wall, 1),
            "cpu_s": round(done.cpu(), 2),
            "rows_per_s": round(more / max(done.wall - few.wall, 1e-9), 1),
            "cpu_us_per_row": round((done.cpu() - few.cpu()) / more * 1e6, 1),
            **{f"{kind}_us_per_row": round((done.cpu(kind) - few.cpu(kind)) / more * 1e6, 1)
               for kind in ("driver", "workers", "ray")},
            "start_wall_s": round(few.wall, 1), "start_cpu_s": round(few.cpu(), 1),
            "table_bytes_per_row": round(done.table_bytes / rows),
            "journal_bytes_per_row": round(done.journal_bytes / rows),
            "driver_peak_mb": round(done.peak_mb), "workers_peak_mb": round(done.others_mb),
        }  # fmt: skip
        found.append(line)
        print(
            f"{where}, {rows:>9,} rows: {line['rows_per_s']:>7,.0f} rows/s, "
            f"{line['cpu_us_per_row']:.0f} CPU µs a row (driver {line['driver_us_per_row']:.0f}, "
            f"workers {line['workers_us_per_row']:.0f}, Ray {line['ray_us_per_row']:.0f}), driver "
            f"{line['driver_peak_mb']} MB, workers {line['workers_peak_mb']} MB",
            flush=True,
        )
    for fewer, more in pairwise(found):
        between = more["rows"] - fewer["rows"]
        cost = (more["cpu_s"] - fewer["cpu_s"]) / between * 1e6
        more["cpu_us_per_further_row"] = round(cost, 1)
        print(f"{where}: each row from {fewer['rows']:,} to {more['rows']:,} costs {cost:.0f} "
              "CPU µs", flush=True)  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--steps", choices=STEPS, default="respond")
    parser.add_argument("--journal", default="", help="a PostgreSQL database; by default SQLite")
    parser.add_argument("--server", default=str(HERE / "loopback.py"))
    parser.add_argument("--latency-ms", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("scale.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(given.server, given.latency_ms) as base:
        bench = Bench(Path(folder), given, base)
        lines = [one for n in given.workers for one in measure(bench, n, given.rows)]
    given.out.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
