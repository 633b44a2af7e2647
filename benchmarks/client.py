"""What one call costs in karat's client, beside the floor and the clients others would use.

python benchmarks/client.py [--requests 2000] [--pairs 5] [--server FILE] [--only NAME …]

Each contender is a process of its own, with 256 calls in flight at a loopback server of 50 ms: the
raw loop (raw_loop.py), karat's client with journal and prices on, the `openai` SDK over its default
transport and over that of its `aiohttp` extra, and `litellm`. All run on uvloop. karat's process
sets what `karat run` sets (uvloop, a calmer garbage collector); afterwards its journal must hold
every answer with its cost. A round runs each once, every other round in reverse order; ratios are
taken within a round, and quoted as their median (least to largest).

CPU seconds are the operating system's, of the client's process alone: whole, and per call, which is
whole less the median process that makes one call. Wall times mean little on a shared machine.

The peers get an environment of their own under the user's cache, made on first use from
peers/requirements/litellm.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from peers.environments import python_of
from peers.servers import serving, stats

from karat.journal import look_up

HERE = Path(__file__).parent
PEERS = HERE / "peers" / "client"
LATENCY_MS, WIDTH = 50, 256
PRICE_NANO = (200, 600)  # of a prompt and of a completion token, as karat_client.py says
PEER_SCRIPTS = {
    "openai": ["openai_sdk.py"],
    "openai+aiohttp": ["openai_sdk.py", "aiohttp"],
    "litellm": ["litellm_sdk.py"],
}
NAMES = ["raw", "karat", *PEER_SCRIPTS]


class Done:
    """A finished child process: CPU and wall seconds, peak memory."""

    def __init__(self, command: list[str]) -> None:
        with tempfile.TemporaryFile() as said:
            began = time.perf_counter()
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
            _, status, usage = os.wait4(child.pid, 0)
            self.wall = time.perf_counter() - began
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                said.seek(0)
                raise SystemExit(f"{' '.join(command)} failed:\n{said.read().decode()[-4000:]}")
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak_mb = usage.ru_maxrss / 1024


class Contender:
    """One client: how its process is started, and what its processes took."""

    def __init__(self, name: str, command: Callable[[str, int, Path], list[str]]) -> None:
        self.name, self.command = name, command
        self.whole: list[Done] = []
        self.start: list[Done] = []

    def run(self, base: str, n: int) -> Done:
        """One process that makes n calls; the server must have served n and no more."""
        with tempfile.TemporaryDirectory() as folder:
            before = stats(base)
            done = Done(self.command(f"{base}/v1", n, Path(folder)))
            after = stats(base)
            served = after["served"] - before["served"]
            if served != n or after["errors"] != before["errors"]:
                raise SystemExit(f"{self.name}: {served} calls served where {n} were to be")
            if self.name == "karat":
                check(Path(folder) / "journal.sqlite", n)
        return done

    def per_call_s(self) -> list[float]:
        """CPU seconds of the calls alone, one figure a round."""
        start = statistics.median(done.cpu for done in self.start)
        return [done.cpu - start for done in self.whole]

    def per_second(self, n: int) -> float:
        start = statistics.median(done.wall for done in self.start)
        return statistics.median((n - 1) / (done.wall - start) for done in self.whole)


def check(journal: Path, n: int) -> None:
    """Every answer is in the journal with its cost and the tokens the server reported."""
    ((answers, shares),) = look_up(
        journal, "SELECT count(content), sum(cost_nano) FROM calls WHERE cost_nano IS NOT NULL"
    )
    ((requests, cost, tokens_in, tokens_out),) = look_up(
        journal,
        "SELECT count(*), sum(cost_nano), sum(prompt_tokens), sum(completion_tokens) "
        "FROM attempts WHERE outcome = 'answered' AND tokens_from = 'reported'",
    )
    due = PRICE_NANO[0] * (tokens_in or 0) + PRICE_NANO[1] * (tokens_out or 0)
    if (answers, requests) != (n, n) or shares != due or cost != due:
        raise SystemExit(
            f"the journal holds {answers} priced answers and {requests} requests with reported "
            f"tokens where {n} were made; {shares} and {cost} nano-dollars where {due} were due"
        )


def contenders(names: list[str]) -> list[Contender]:
    here = sys.executable
    width = str(WIDTH)

    def raw(base: str, n: int, folder: Path) -> list[str]:
        return [here, str(HERE / "raw_loop.py"), base, str(n), width]

    def karat(base: str, n: int, folder: Path) -> list[str]:
        script, journal = str(PEERS / "karat_client.py"), str(folder / "journal.sqlite")
        return [here, script, base, str(n), width, journal]

    def peer(name: str) -> Callable[[str, int, Path], list[str]]:
        script, *more = PEER_SCRIPTS[name]
        python = python_of("litellm")
        return lambda base, n, folder: [python, str(PEERS / script), base, str(n), width, *more]

    own = {"raw": raw, "karat": karat}
    return [Contender(name, own[name] if name in own else peer(name)) for name in names]


def measure(clients: list[Contender], base: str, n: int, rounds: int) -> None:
    for client in clients:
        client.run(base, 1)  # compiles what is not compiled yet
    for number in range(rounds):
        for client in clients if number % 2 == 0 else clients[::-1]:
            client.start.append(client.run(base, 1))
            client.whole.append(client.run(base, n))
            print(f"round {number + 1}: {client.name:<15}", end="\r", file=sys.stderr, flush=True)


def spread(values: list[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 2) for name, value in found.items()}


def ratios(above: Contender, below: Contender) -> dict[str, dict[str, float]]:
    """above over below, round by round, of whole processes and of calls alone."""
    wholes = zip(above.whole, below.whole, strict=True)
    calls = zip(above.per_call_s(), below.per_call_s(), strict=True)
    return {
        "whole": spread([a.cpu / b.cpu for a, b in wholes]),
        "per_call": spread([a / b for a, b in calls]),
    }


def figures(clients: list[Contender], n: int) -> dict:
    found: dict = {"requests": n, "pairs": len(clients[0].whole), "in_flight": WIDTH}
    named = {client.name: client for client in clients}
    for client in clients:
        whole = statistics.median(done.cpu for done in client.whole)
        found[client.name] = {
            "cpu_s_per_1000": round(whole / n * 1000, 3),
            "start_cpu_s": round(statistics.median(done.cpu for done in client.start), 3),
            "cpu_us_per_call": round(statistics.median(client.per_call_s()) / n * 1e6),
            "requests_per_s": round(client.per_second(n)),
            "peak_mb": round(statistics.median(done.peak_mb for done in client.whole)),
        }
        for other in ("raw", "karat"):
            if other in named and client.name not in ("raw", other):
                found[client.name][f"over_{other}"] = ratios(client, named[other])
    return found


def told(ratio: dict[str, float] | None) -> str:
    return "" if ratio is None else "{median:.2f} ({least:.2f}–{most:.2f})".format(**ratio)


def table(found: dict, names: list[str]) -> None:
    head = ("", "CPU s/1000", "start-up s", "µs/call", "calls/s", "MB")
    print("{:<15}{:>11}{:>11}{:>9}{:>9}{:>6}".format(*head))
    for name in names:
        print("{:<15}{:>11}{:>11}{:>9}{:>9}{:>6}".format(name, *list(found[name].values())[:5]))
    print(f"\n{'CPU, paired':<28}{'whole process':>24}{'per call':>24}")
    for name in names:
        for other in ("raw", "karat"):
            ratio = found[name].get(f"over_{other}")
            if ratio:
                whole, call = told(ratio["whole"]), told(ratio["per_call"])
                print(f"{f'{name} / {other}':<28}{whole:>24}{call:>24}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--server", default=str(HERE / "loopback.py"))
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    options = parser.parse_args()
    clients = contenders(options.only)
    with serving(options.server, LATENCY_MS) as base:
        measure(clients, base, options.requests, options.pairs)
    found = figures(clients, options.requests)
    table(found, options.only)
    print(json.dumps({"benchmark": "client", **found}), flush=True)


main()
