"""Calls by themselves: benchmarks/client.py and benchmarks/gateway.py, read into the same table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from peers.environments import version_of
from peers.tools import KARAT
from peers.trees import run_tree

BENCHMARKS = Path(__file__).parents[1]


def measured(script: str, options: list[str], timeout_s: float) -> dict[str, Any]:
    """What a benchmark prints in its last line. Raises: RuntimeError with its last words."""
    command = [sys.executable, str(BENCHMARKS / script), *options]
    ran = run_tree(command, Path.cwd(), timeout_s)
    if failure := ran.failure():
        raise RuntimeError(failure)
    found: dict[str, Any] = json.loads(ran.said.splitlines()[-1])
    return found


def client(n: int, rounds: int, timeout_s: float) -> list[dict[str, Any]]:
    """A process that makes n calls with 256 in flight; karat's writes them to its journal."""
    options = ["--requests", str(n), "--pairs", str(rounds)]
    try:
        found = measured("client.py", options, timeout_s)
    except RuntimeError as error:
        return [_failed("client", str(error))]
    names = ["raw", "karat", "openai", "openai+aiohttp", "litellm"]
    records = []
    for name in names:
        one = found[name]
        over = one.get("over_karat", {}).get("whole", {})
        records.append({
            "work": "client", "tool": {"raw": "raw aiohttp loop"}.get(name, name),
            "version": _version(name), "setting": "per 1,000 calls", "failure": None,
            "cpu_s": one["cpu_s_per_1000"], "mb": one["peak_mb"], "over_karat": _three(over, name),
            "result": f"start-up {one['start_cpu_s']:.2f} CPU s, then "
                      f"{one['cpu_us_per_call']:,} µs a call",
        })  # fmt: skip
    return records


def gateway(n: int, rounds: int, timeout_s: float) -> list[dict[str, Any]]:
    """A proxy in front of the same server, 128 connections."""
    options = ["--requests", str(n), "--rounds", str(rounds), "--litellm"]
    try:
        found = measured("gateway.py", options, timeout_s)
    except RuntimeError as error:
        return [_failed("gateway", str(error))]
    records = []
    for name in ("passthrough", "karat", "litellm"):
        one = found[name]
        records.append({
            "work": "gateway",
            "tool": {"passthrough": "bare Starlette", "litellm": "litellm proxy"}.get(name, name),
            "version": _version(name), "setting": "per 1,000 requests", "failure": None,
            "cpu_s": one["cpu_s_per_1000"], "mb": one["mb"], "over_karat": one["cpu_over_karat"],
            "result": f"adds {one['added_p50_ms']:.0f} ms p50, {one['added_p95_ms']:.0f} ms p95",
        })  # fmt: skip
    return records


def _three(over: dict[str, float], name: str) -> list[float]:
    if name == "karat":
        return [1.0]
    return [over["least"], over["median"], over["most"]] if over else []


def _version(name: str) -> str:
    if name == "karat":
        return KARAT.version
    package = name.partition("+")[0]
    return version_of("litellm", package) if package in ("openai", "litellm") else ""


def _failed(work: str, why: str) -> dict[str, Any]:
    return {"work": work, "tool": "litellm", "version": _version("litellm"), "failure": why,
            "result": ""}  # fmt: skip
