"""The loopback server that every tool asks, started for a benchmark and stopped after it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stats(base: str) -> dict[str, int]:
    """What the server counted: served, errors, limited, inflight, peak."""
    with urllib.request.urlopen(f"{base}/stats") as reply:
        found: dict[str, int] = json.load(reply)
    return found


@contextmanager
def serving(file: str, *settings: object) -> Iterator[str]:
    """The address of a server of its own: `file` (.py or .mjs) with latency_ms, jitter, …"""
    port = free_port()
    program = ["node"] if file.endswith(".mjs") else [sys.executable]
    child = subprocess.Popen(
        [*program, str(Path(file).resolve()), str(port), *map(str, settings)],
        stdout=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                stats(base)
                break
            except OSError:
                time.sleep(0.1)
        yield base
    finally:
        child.terminate()
        child.wait()
