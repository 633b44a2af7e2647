"""What the kernel promises, measured on a loopback server: CPU, memory, kill, faults, same bytes.

python benchmarks/kernel.py [cpu memory kill errors limit bytes start install] [--server FILE]
Each part prints a few lines and one JSON line. Without a list of parts all but `install` run.
CPU seconds are the operating system's, start-up included; wall times mean little when shared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, closing
from pathlib import Path

from peers.servers import serving, stats

HERE = Path(__file__).parent
KARAT = [sys.executable, "-m", "karat"]
WIDTH = 256


class Done:
    """A finished child process: CPU seconds, peak memory, wall seconds."""

    def __init__(self, command: list[str], **options: object) -> None:
        began = time.perf_counter()
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options
        )
        error = child.stderr.read().decode()
        _, status, usage = os.wait4(child.pid, 0)
        self.wall = time.perf_counter() - began
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak_mb = usage.ru_maxrss / 1024
        if status != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{error}")


class Bench:
    def __init__(self, folder: Path, server: str) -> None:
        self.folder, self.server_file = folder, server

    def server(self, *settings: object) -> AbstractContextManager[str]:
        return serving(self.server_file, *settings)

    def recipe(self, base: str, rows: int, width: int = WIDTH) -> Path:
        prompts = self.folder / f"prompts-{rows}.jsonl"
        if not prompts.exists():
            with prompts.open("w") as out:
                for i in range(rows):
                    text = f"Item {i}: explain tides to a student in two short paragraphs."
                    out.write(json.dumps({"prompt": text}) + "\n")
        model = f'{{model: openai/loop, base_url: "{base}/v1", concurrency: {width}}}'
        recipe = self.folder / "bench.yaml"
        recipe.write_text(
            f"name: bench\nmodels:\n  m: {model}\nsteps:\n  - read: {{path: {prompts}}}\n"
            "  - respond: {models: [m]}\nexport: [jsonl]\n"
        )
        return recipe

    def run(self, recipe: Path, name: str, fresh: bool = True) -> tuple[Done, Path]:
        out = self.folder / name
        if fresh:
            shutil.rmtree(out, ignore_errors=True)
        return Done([*KARAT, "run", str(recipe), "--out", str(out)]), out


def fingerprint(out: Path) -> str:
    return hashlib.sha256((out / "accepted.parquet").read_bytes()).hexdigest()[:16]


def accepted(out: Path) -> int:
    return json.loads((out / "report.json").read_text())["rows"]["accepted"]


def cpu(bench: Bench, rows: int = 2000, pairs: int = 5) -> dict:
    """CPU of `karat run` over the raw loop's, in pairs; the empty run shows what start-up takes."""
    raw, karat = [], []
    with bench.server(50) as base:
        recipe = bench.recipe(base, rows)
        for _ in range(pairs):
            raw.append(
                Done(
                    [sys.executable, str(HERE / "raw_loop.py"), f"{base}/v1", str(rows), str(WIDTH)]
                )
            )
            karat.append(bench.run(recipe, "cpu")[0])
        start = bench.run(bench.recipe(base, 1), "start")[0]
        replay = Done([*KARAT, "run", str(recipe), "--out", str(bench.folder / "cpu")])
    ratios = [k.cpu / r.cpu for k, r in zip(karat, raw, strict=True)]
    whole = statistics.median(k.cpu for k in karat)
    return {
        "rows": rows,
        "raw_cpu_s": round(statistics.median(r.cpu for r in raw), 2),
        "karat_cpu_s": round(whole, 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(r, 2) for r in ratios],
        "start_up_and_report_cpu_s": round(start.cpu, 2),
        "cpu_us_per_row_beyond": round((whole - start.cpu) / rows * 1e6),
        "second_run_cpu_s": round(replay.cpu, 2),
    }


def memory(bench: Bench) -> dict:
    """Peak memory at 10,000 and at 100,000 rows."""
    peaks = {}
    with bench.server(1) as base:
        for rows in (10_000, 100_000):
            done, _ = bench.run(bench.recipe(base, rows), f"memory-{rows}")
            peaks[rows] = done
    small, large = peaks[10_000], peaks[100_000]
    return {
        "mb_at_10k": round(small.peak_mb),
        "mb_at_100k": round(large.peak_mb),
        "ratio": round(large.peak_mb / small.peak_mb, 2),
        "cpu_s_at_100k": round(large.cpu, 1),
    }


def kill(bench: Bench, rows: int = 2000) -> dict:
    """kill -9 at half, then the same command again: what is sent twice, and whether rows differ."""
    with bench.server(50) as base:
        recipe = bench.recipe(base, rows)
        undisturbed = fingerprint(bench.run(recipe, "whole")[1])
        before = stats(base)["served"]
        out = bench.folder / "killed"
        shutil.rmtree(out, ignore_errors=True)
        child = subprocess.Popen(
            [*KARAT, "run", str(recipe), "--out", str(out)], stderr=subprocess.DEVNULL
        )
        while stats(base)["served"] - before < rows // 2:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        at_kill = stats(base)["served"] - before
        time.sleep(0.5)  # what was in flight at the server comes to its end
        bench.run(recipe, "killed", fresh=False)
        total = stats(base)
    return {
        "rows": rows,
        "served_at_kill": at_kill,
        "sent_again": total["served"] - before - rows,
        "in_flight_at_most": total["peak"],
        "same_bytes_as_undisturbed": fingerprint(out) == undisturbed,
    }


def errors(bench: Bench, rows: int = 2000) -> dict:
    """One reply in ten is HTTP 500: every row delivered, none twice."""
    with bench.server(50, 0, 0.1) as base:
        _, out = bench.run(bench.recipe(base, rows), "errors")
        seen = stats(base)
    return {
        "rows": rows,
        "accepted": accepted(out),
        "served": seen["served"],
        "http_500": seen["errors"],
    }


def limit(bench: Bench, rows: int = 2000, rps: int = 200) -> dict:
    """429 above 200 requests a second: every row delivered, at what share of the permitted rate."""
    with bench.server(50, 0, 0, rps) as base:
        done, out = bench.run(bench.recipe(base, rows), "limit")
        seen = stats(base)
    with closing(sqlite3.connect(out / "journal.sqlite")) as journal:
        ((seconds,),) = journal.execute("SELECT max(started) - min(started) FROM calls")
    return {
        "rows": rows,
        "accepted": accepted(out),
        "served": seen["served"],
        "refused": seen["limited"],
        "seconds_of_calls": round(seconds, 2),
        "share_of_rate": round(rows / seconds / rps, 3),
        "share_of_rate_without_the_first_burst": round((rows - rps) / seconds / rps, 3),
        "cpu_s": round(done.cpu, 2),
    }


def same_bytes(bench: Bench, rows: int = 400) -> dict:
    """accepted.parquet at 4 and at 256 in flight."""
    found = []
    with bench.server(20) as base:
        for width in (4, 256):
            _, out = bench.run(bench.recipe(base, rows, width), f"w{width}")
            found.append(fingerprint(out))
    return {"rows": rows, "at_4": found[0], "at_256": found[1], "same": found[0] == found[1]}


def start(bench: Bench) -> dict:
    """CPU of `karat --help` and of `import karat`."""
    command = [sys.executable, "-c", "import karat"]
    return {
        "help_cpu_s": round(min(Done([*KARAT, "--help"]).cpu for _ in range(5)), 3),
        "import_cpu_s": round(min(Done(command).cpu for _ in range(5)), 3),
    }


def install(bench: Bench) -> dict:
    """Disk used by the core install in a fresh environment, pip and setuptools included."""
    home = bench.folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    subprocess.run([home / "bin" / "pip", "install", "-q", str(HERE.parent)], check=True)
    kib = subprocess.run(["du", "-sk", str(home)], check=True, capture_output=True).stdout.split()[
        0
    ]
    return {"core_install_mb": round(int(kib) / 1024)}


PARTS = {
    "cpu": cpu, "memory": memory, "kill": kill, "errors": errors, "limit": limit,
    "bytes": same_bytes, "start": start, "install": install,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--server", default=str(HERE / "loopback.py"))
    options = parser.parse_args()
    for part in options.parts or [name for name in PARTS if name != "install"]:
        with tempfile.TemporaryDirectory() as folder:
            result = PARTS[part](Bench(Path(folder), options.server))
        print(f"\n{part}: {PARTS[part].__doc__}")
        for key, value in result.items():
            print(f"  {key:<36} {value}")
        print(json.dumps({"benchmark": f"kernel/{part}", **result}), flush=True)


main()
