"""Orchestration: many single-turn prompts through a model, to rows in a file.

Each run has a server of its own, so that its counts are of that run. A row counts as delivered when
its prompt has an answer in the tool's own results. The fault runs: one reply in ten is HTTP 500;
and SIGKILL to every process of the tool when half of the prompts are answered, after which the same
command is given again in the same folder.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers.environments import InstallError
from peers.servers import serving, stats
from peers.tools import KARAT, Tool, environment
from peers.trees import Ran, run_tree

LATENCY_MS, WIDTH, ERRORS = 50, 256, 0.1
SETTLE_S = 0.5  # what was in flight at a kill comes to its end at the server
RAW, RAW_LOOP = "raw aiohttp loop", Path(__file__).parents[1] / "raw_loop.py"
Command = Callable[[str, Path, Path], list[str]]


def write_prompts(path: Path, n: int) -> None:
    with path.open("w") as out:
        for i in range(n):
            text = f"Item {i}: explain tides to a student in two short paragraphs."
            out.write(json.dumps({"id": str(i), "prompt": text}) + "\n")


def delivered(folder: Path) -> int:
    """Prompts that have an answer in what the tool wrote."""
    path = folder / "rows.jsonl"
    if not path.exists():
        return 0
    rows = map(json.loads, path.read_text().splitlines())
    return len({row["prompt"] for row in rows if row["response"]})


class Bench:
    """The work of `n` prompts at the server in `server`; no run takes longer than `timeout_s`."""

    def __init__(self, home: Path, server: str, n: int, timeout_s: float) -> None:
        self.home, self.server, self.n, self.timeout_s = home, server, n, timeout_s
        self.prompts = home / f"prompts-{n}.jsonl"
        write_prompts(self.prompts, n)

    def run(self, command: Command, base: str, folder: Path, kill_at: int = 0) -> Ran:
        def half() -> bool:
            return bool(kill_at) and stats(base)["served"] >= kill_at

        line = command(f"{base}/v1", self.prompts, folder)
        return run_tree(line, folder, self.timeout_s, environment(folder), half)

    def once(self, command: Command, error_rate: float = 0) -> dict[str, Any]:
        with (
            tempfile.TemporaryDirectory(dir=self.home) as name,
            serving(self.server, LATENCY_MS, 0, error_rate) as base,
        ):
            ran = self.run(command, base, Path(name))
            seen = stats(base)
            return {
                "cpu_s": ran.cpu_s, "wall_s": ran.wall_s, "mb": ran.peak_mb, "peak": seen["peak"],
                "sent": seen["served"] + seen["errors"], "rows": delivered(Path(name)),
                "failure": ran.failure(),
            }  # fmt: skip

    def killed(self, command: Command) -> dict[str, Any]:
        with (
            tempfile.TemporaryDirectory(dir=self.home) as name,
            serving(self.server, LATENCY_MS) as base,
        ):
            folder = Path(name)
            first = self.run(command, base, folder, self.n // 2)
            time.sleep(SETTLE_S)
            at = stats(base)["served"]
            if first.ended != "killed":
                return {"failure": first.failure() or "ended before half was answered"}
            again = self.run(command, base, folder)
            return {
                "at": at, "sent": stats(base)["served"], "rows": delivered(folder),
                "failure": again.failure(),
            }  # fmt: skip


def measure(
    tools: list[Tool], home: Path, *, server: str, n: int, rounds: int, timeout_s: float
) -> list[dict[str, Any]]:
    """One record a tool, the raw loop and karat first; every other round in reverse order."""
    bench = Bench(home, server, n, timeout_s)
    found, commands = _commands(tools)
    found = {RAW: {"version": "", "rounds": []}, **found}
    commands = {RAW: _raw(n), **commands}
    for number in range(rounds):
        for name in list(commands) if number % 2 == 0 else list(commands)[::-1]:
            if not any(one["failure"] for one in found[name]["rounds"]):  # it fails alike again
                found[name]["rounds"].append(bench.once(commands[name]))
                print(f"orchestrate, round {number + 1}: {name}", file=sys.stderr, flush=True)
    ours = found["karat"]["rounds"]
    return [_record(name, one, ours, n) for name, one in found.items()]


def faults(
    tools: list[Tool], home: Path, *, server: str, n: int, timeout_s: float
) -> list[dict[str, Any]]:
    """What is delivered and asked again when replies fail and when the tool is killed."""
    bench = Bench(home, server, n, timeout_s)
    found, commands = _commands(tools)
    for name, command in commands.items():
        print(f"faults: {name}", file=sys.stderr, flush=True)
        found[name] |= {"errors": bench.once(command, ERRORS), "killed": bench.killed(command)}
    return [
        {"work": "faults", "tool": name, "failure": None, **one, "result": fault_result(one, n)}
        for name, one in found.items()
    ]


def _raw(n: int) -> Command:
    return lambda base, _, __: [sys.executable, str(RAW_LOOP), base, str(n), str(WIDTH)]


def _commands(tools: list[Tool]) -> tuple[dict[str, dict[str, Any]], dict[str, Command]]:
    """A record to fill for each tool, and the command of each that can be had."""
    found: dict[str, dict[str, Any]] = {}
    commands: dict[str, Command] = {}
    for tool in (KARAT, *tools):
        found[tool.name] = {"version": tool.version, "rounds": []}
        try:
            start = tool.command("orchestrate")
        except InstallError as error:
            found[tool.name]["failure"] = str(error)
            continue
        commands[tool.name] = lambda base, prompts, folder, start=start: [
            *start, base, str(prompts), str(folder), str(WIDTH)
        ]  # fmt: skip
    return found, commands


def _record(name: str, one: dict[str, Any], ours: list[dict[str, Any]], n: int) -> dict[str, Any]:
    runs = one["rounds"]
    failure = one.get("failure") or next((run["failure"] for run in runs if run["failure"]), None)
    record = {"work": "orchestrate", "tool": name, **one, "failure": failure, "result": ""}
    if runs and not failure:
        for key in ("cpu_s", "wall_s", "mb", "peak"):
            record[key] = statistics.median(run[key] for run in runs)
        record["over_karat"] = [
            run["cpu_s"] / own["cpu_s"] for run, own in zip(runs, ours, strict=True)
        ]
        if name != RAW:
            record["result"] = f"{min(run['rows'] for run in runs):,} of {n:,} rows"
    return record


def fault_result(one: dict[str, Any], n: int) -> str:
    if "errors" not in one:
        return ""
    errors, killed = one["errors"], one["killed"]
    said = f"10% HTTP 500: {errors['rows']:,} of {n:,} rows{_why(errors)}; "
    if "at" not in killed:
        return f"{said}kill: {killed['failure']}"
    return (
        f"{said}killed at {killed['at']:,}: {killed['sent']:,} requests in all, "
        f"{killed['rows']:,} rows{_why(killed)}"
    )


def _why(run: dict[str, Any]) -> str:
    return f" ({run['failure']})" if run["failure"] else ""
