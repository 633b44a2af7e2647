"""How well karat's client uses up a service that limits it: by refusals, by latency, by neighbours.

python benchmarks/saturation.py [limit latency thrash neighbours] [--seconds 60]

limit       R = 50 and 200 calls a second, 429 with Retry-After: 1 beyond; the service's bucket
            saves up a tenth of a second's calls, or a whole second's. Refusals come at once,
            answers after 0.2 s on average, lengths lognormal. Whole: from the first call on, the
            search included; settled: after ten seconds.
latency     answers take 0.1 s and 0.01 s for each call in flight: beyond some width nothing is won
thrash      calls share a processor that does 100 a second at 32 in flight and 40 at 256
neighbours  a second process joins for the middle third of the time, at R = 100

Server and clients are processes of their own. The best fixed width is measured in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from karat.errors import KaratError
from karat.journal import open_journal
from karat.models.budget import Budget
from karat.models.chat import ChatRequest
from karat.models.client import Client
from karat.models.endpoint import Asker
from karat.models.limits import Limiter
from karat.models.neighbours import FileMailbox
from karat.models.spec import parse_model
from karat.row import Message

WIDTH = 256
SETTLED_S = 10
FIXED_WIDTHS = (16, 32, 64, 128, 256)


class Fixed(Limiter):
    """A width that stays as given, to compare with."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self._width.starting = False
        self._width._use(0)

    def delivered(self, began: float = 0.0, tokens: tuple[int, int] = (0, 0)) -> None:
        pass


async def drive(base: str, name: str, seconds: float, limiter: Limiter | None = None) -> int:
    """Calls without end for so long, through karat's client; how many were answered in time."""
    model = {"model": f"openai/{name}", "base_url": f"{base}/v1", "concurrency": WIDTH}
    spec = parse_model(model)
    answered = 0
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(Path(folder) / "journal.sqlite")
        client = Client({"m": spec}, journal, Budget(None))
        if limiter is not None:
            client.endpoint("m").limiter = limiter
        ends = time.monotonic() + seconds

        async def caller(number: int) -> None:
            nonlocal answered
            count = 0
            while time.monotonic() < ends:
                count += 1
                text = f"Item {number}/{count}: what is a tide?"
                request = ChatRequest((Message("user", text),), 1)
                with suppress(KaratError):
                    await client.chat("m", request, Asker("respond", f"{number}/{count}"))
                    answered += time.monotonic() < ends

        callers = [asyncio.ensure_future(caller(i)) for i in range(2 * WIDTH)]
        await asyncio.sleep(seconds)
        client.stop()
        await asyncio.gather(*callers)
        await client.close()
        await journal.close()
    return answered


@contextmanager
def server(mode: str, rate: float = 0.0, burst: float = 0.0) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = map(str, (port, mode, rate, burst))
    child = subprocess.Popen([sys.executable, Path(__file__).with_name("limited.py"), *words])
    base = f"http://127.0.0.1:{port}"
    try:
        while child.poll() is None:
            with suppress(OSError):
                stats(base)
                break
            time.sleep(0.1)
        yield base
    finally:
        child.terminate()
        child.wait()


def stats(base: str) -> tuple[dict[str, Counter[int]], Counter[int]]:
    with urllib.request.urlopen(f"{base}/stats") as reply:
        said = json.load(reply)
    served = {name: by_second(counts) for name, counts in said["served"].items()}
    return served, by_second(said["refused"])


def by_second(counts: dict[str, int]) -> Counter[int]:
    return Counter({int(second): n for second, n in counts.items()})


def between(counts: Counter[int], begin: float, end: float) -> int:
    return sum(n for second, n in counts.items() if begin <= second < end)


def limit(seconds: float) -> dict[str, object]:
    result: dict[str, object] = {}
    for rate in (50, 200):
        for burst_s in (0.1, 1.0):
            with server("limit", rate, rate * burst_s) as base:
                asyncio.run(drive(base, "m", seconds))
                served, refused = stats(base)
            late = between(served["m"], SETTLED_S, seconds)
            lost = between(refused, SETTLED_S, seconds)
            result[f"{rate}/s, burst of {burst_s} s"] = {
                "whole": round(between(served["m"], 0, seconds) / rate / seconds, 3),
                "settled": round(late / rate / (seconds - SETTLED_S), 3),
                "refused_settled": round(lost / (late + lost), 4),
                "refused_before": between(refused, 0, SETTLED_S),
            }
    return result


def by_latency(mode: str, seconds: float) -> dict[str, object]:
    fixed = {}
    for width in FIXED_WIDTHS:
        with server(mode) as base:
            fixed[width] = asyncio.run(drive(base, "m", seconds / 3, Fixed(width))) * 3 / seconds
    with server(mode) as base:
        answered = asyncio.run(drive(base, "m", seconds))
        served, _ = stats(base)
    best = max(fixed.values())
    late = between(served["m"], seconds / 3, seconds - 1) / (seconds * 2 / 3 - 1)
    return {
        "fixed": {width: round(rate, 1) for width, rate in fixed.items()},
        "whole": round(answered / seconds / best, 3),
        "settled": round(late / best, 3),
    }


def neighbours(seconds: float) -> dict[str, object]:
    third, rate = seconds / 3, 100
    with tempfile.TemporaryDirectory() as folder, server("limit", rate, rate / 10) as base:

        def start(name: str, lasts: float) -> subprocess.Popen[bytes]:
            words = f"{base} {name} {folder} {lasts}"
            return subprocess.Popen([sys.executable, __file__, "_neighbour", words])

        first = start("a", seconds)
        time.sleep(third)
        second = start("b", third)
        first.wait()
        second.wait()
        served, refused = stats(base)
    joined, left = min(served["b"]), max(served["b"])
    spans = {"alone": (SETTLED_S, joined), "both": (joined + 5, left), "after": (left + 5, seconds)}
    return {
        span: {
            name: round(between(served[name], *s) / max(1, s[1] - s[0]), 1) for name in ("a", "b")
        }
        for span, s in spans.items()
    } | {"refused": round(refused.total() / sum(c.total() for c in served.values()), 4)}


PARTS = {
    "limit": limit,
    "latency": partial(by_latency, "latency"),
    "thrash": partial(by_latency, "thrash"),
    "neighbours": neighbours,
}


def main() -> None:
    if sys.argv[1:2] == ["_neighbour"]:
        base, name, folder, seconds = sys.argv[2].split(" ")
        limiter = Limiter(64, neighbours=FileMailbox("saturation", Path(folder)))
        asyncio.run(drive(base, name, float(seconds), limiter))
        return
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    for part in options.parts or PARTS:
        result = PARTS[part](options.seconds)
        print(json.dumps({"benchmark": f"saturation/{part}", **result}), flush=True)


main()
