"""What one chat costs in karat's gateway, beside a bare passthrough and litellm's proxy.

python benchmarks/gateway.py [--requests 2000] [--rounds 5] [--upstream FILE] [--litellm [PYTHON]]

Each contender is a server of its own in front of one loopback upstream of 50 ms; the same load
generator, a process of its own, keeps 128 requests in flight at each. `passthrough` is Starlette on
uvicorn with aiohttp, which looks at nothing. `karat` is `karat serve` with all that is on by
default and a virtual key with a budget: authentication, the guard, prices, budgets and the ledger;
afterwards its ledger must hold every request with its cost. `litellm` is its proxy on one worker,
with a master key and neither database nor callbacks, from the environment whose interpreter
--litellm names, or without a name from one made of peers/requirements/litellm.txt; without
--litellm it is left out.

A round drives each once, every other round in reverse order; each is warmed up first. CPU seconds
are the system's (user and kernel, /proc/PID/stat, children counted once they end), of the server's
process alone. Added latency is the difference of medians and of 95th percentiles to asking the
upstream directly in the same round. Ratios are taken within a round and quoted as their median
(least to largest). On a machine with few cores the latency at full load is mostly waiting for CPU;
--paced asks at a fixed width of 8 instead, which shows what one request waits.
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
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from peers.environments import python_of
from peers.servers import free_port

from karat.journal import look_up

HERE = Path(__file__).parent
PEERS = HERE / "peers" / "gateway"
LATENCY_MS, WIDTH, PACED = 50, 128, 8
TICKS = os.sysconf("SC_CLK_TCK")
PRICE = {"input": 0.2, "output": 0.6}
START_S = 120
MASTER = "sk-master-of-this-benchmark"
CONFIG = """
models:
  loop:
    model: openai/loop
    base_url: "{base}"
    concurrency: 512
    price: {{input: 0.2, output: 0.6}}
"""
LITELLM = """
model_list:
  - model_name: loop
    litellm_params: {{model: openai/loop, api_base: "{base}", api_key: none}}
general_settings: {{master_key: {master}}}
litellm_settings: {{telemetry: false}}
"""


class Contender:
    """A server under test: where it is, its key, its process."""

    def __init__(self, name: str, base: str, key: str = "none", pid: int = 0) -> None:
        self.name, self.base, self.key, self.pid = name, base, key, pid
        self.cpu_s: list[float] = []
        self.p50_ms: list[float] = []
        self.p95_ms: list[float] = []

    def drive(self, n: int, width: int) -> None:
        before = self.cpu()
        spent = load(self, n, width)
        self.cpu_s.append(self.cpu() - before)
        cuts = statistics.quantiles(spent, n=20)
        self.p50_ms.append(statistics.median(spent))
        self.p95_ms.append(cuts[18])

    def cpu(self) -> float:
        if not self.pid:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return sum(map(int, fields[11:15])) / TICKS

    def memory_mb(self) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def load(contender: Contender, n: int, width: int) -> list[float]:
    command = [sys.executable, str(PEERS / "load.py"), contender.base, str(n), str(width)]
    done = subprocess.run([*command, contender.key, "loop"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{contender.name}: {done.stderr[-3000:]}")
    found: list[float] = json.loads(done.stdout)
    if len(found) != n:
        raise SystemExit(f"{contender.name}: {len(found)} answers to {n} requests")
    return found


@contextmanager
def process(command: list[str], url: str, folder: Path) -> Iterator[int]:
    """The server of this command, once it answers anything at `url`."""
    with (folder / f"said-{time.monotonic_ns()}").open("w+b") as said:
        child = subprocess.Popen(command, stdout=said, stderr=said, cwd=folder)
        try:
            wait(child, url, said.name)
            yield child.pid
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait(child: subprocess.Popen[bytes], url: str, said: str) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            if child.poll() is not None:
                break
            time.sleep(0.2)
        else:
            return
    words = Path(said).read_text("utf-8", "replace")[-3000:]
    raise SystemExit(f"no server at {url}:\n{words}")


def upstream(file: str) -> tuple[list[str], int]:
    port = free_port()
    program = ["node"] if file.endswith(".mjs") else [sys.executable]
    return [*program, str(Path(file).resolve()), str(port), str(LATENCY_MS)], port


def contenders(stack: ExitStack, options: argparse.Namespace, folder: Path) -> list[Contender]:
    command, port = upstream(options.upstream)
    stack.enter_context(process(command, f"http://127.0.0.1:{port}/stats", folder))
    base = f"http://127.0.0.1:{port}/v1"
    found = [Contender("direct", base)]

    port = free_port()
    command = [sys.executable, str(PEERS / "passthrough.py"), str(port), base]
    pid = stack.enter_context(process(command, f"http://127.0.0.1:{port}/", folder))
    found.append(Contender("passthrough", f"http://127.0.0.1:{port}/v1", pid=pid))

    port, runs, config = free_port(), folder / "runs", folder / "serve.yaml"
    runs.mkdir()
    config.write_text(CONFIG.format(base=base))
    karat = [sys.executable, "-m", "karat"]
    key = subprocess.run(
        [*karat, "key", "add", "bench", "--budget", "1000", "--runs", str(runs)],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    command = [*karat, "serve", "--runs", str(runs), "--config", str(config), "--port", str(port)]
    pid = stack.enter_context(process(command, f"http://127.0.0.1:{port}/healthz", folder))
    found.append(Contender("karat", f"http://127.0.0.1:{port}/v1", key, pid))

    if options.litellm:
        port, config = free_port(), folder / "litellm.yaml"
        config.write_text(LITELLM.format(base=base, master=MASTER))
        python = python_of("litellm") if options.litellm is True else options.litellm
        program = str(Path(python).parent / "litellm")
        command = [program, "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
        url = f"http://127.0.0.1:{port}/health/liveliness"
        pid = stack.enter_context(process([*command, "--num_workers", "1"], url, folder))
        found.append(Contender("litellm", f"http://127.0.0.1:{port}/v1", MASTER, pid))
    return found


def check(journal: Path, n: int) -> None:
    """The ledger holds every request under the key's name, with tokens and cost."""
    ((calls, cost, prompt, completion, row_names),) = look_up(
        journal,
        "SELECT count(*), sum(cost_nano), sum(prompt_tokens), sum(completion_tokens), "
        "count(DISTINCT row) FROM attempts WHERE step = 'key:bench' AND outcome = 'answered'",
    )
    due = round(PRICE["input"] * 1000 * prompt + PRICE["output"] * 1000 * completion)
    if (calls, row_names, cost) != (n, n, due):
        raise SystemExit(f"the ledger holds {calls} calls of {row_names} requests for {cost} "
                         f"nano-dollars where {n} and {due} were due")  # fmt: skip


def three(values: list[float]) -> list[float]:
    return [round(f(values), 3) for f in (min, statistics.median, max)]


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def tell(found: list[Contender], n: int, width: int) -> dict[str, object]:
    direct, servers = found[0], found[1:]
    named = {one.name: one for one in servers}
    tree: dict[str, object] = {"benchmark": "gateway", "requests": n, "in_flight": width}
    head = ("", "CPU s/1000", "added p50 ms", "added p95 ms", "MB", "CPU over karat's")
    print(f"{head[0]:<13}{head[1]:>20}{head[2]:>16}{head[3]:>16}{head[4]:>6}  {head[5]}")
    for one in servers:
        cpu = [spent / n * 1000 for spent in one.cpu_s]
        p50 = [a - b for a, b in zip(one.p50_ms, direct.p50_ms, strict=True)]
        p95 = [a - b for a, b in zip(one.p95_ms, direct.p95_ms, strict=True)]
        over = [a / b for a, b in zip(one.cpu_s, named["karat"].cpu_s, strict=True)]
        middle = statistics.median
        print(f"{one.name:<13}{spread(cpu):>20}{middle(p50):>16.1f}{middle(p95):>16.1f}"
              f"{one.memory_mb():>6.0f}  {spread(over)}")  # fmt: skip
        tree[one.name] = {
            "cpu_s_per_1000": round(middle(cpu), 3), "added_p50_ms": round(middle(p50), 2),
            "added_p95_ms": round(middle(p95), 2), "cpu_over_karat": three(over),
            "mb": round(one.memory_mb()),
        }  # fmt: skip
    return tree


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--upstream", default=str(HERE / "loopback.py"))
    parser.add_argument("--litellm", metavar="PYTHON", nargs="?", const=True)
    parser.add_argument("--paced", action="store_true")
    options = parser.parse_args()
    width, warm = PACED if options.paced else WIDTH, 200
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = contenders(stack, options, folder)
        for one in found:
            load(one, warm, width)
        for number in range(options.rounds):
            for one in found if number % 2 == 0 else found[::-1]:
                one.drive(options.requests, width)
                print(f"round {number + 1}: {one.name:<12}", end="\r", file=sys.stderr, flush=True)
        time.sleep(0.1)  # the ledger's last group
        check(
            folder / "runs" / "gateway" / "journal.sqlite", warm + options.rounds * options.requests
        )
        tree = tell(found, options.requests, width)
    print(json.dumps(tree), flush=True)


main()
