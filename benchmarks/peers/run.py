"""karat beside the tools others would use: the same work, the same server, one table.

    python benchmarks/peers/run.py [--only NAME …] [--work orchestrate faults dedupe gateway client]
        [--rounds 3] [--rows 2000] [--faulty 1000] [--documents 20000] [--large 100000]
        [--server FILE] [--timeout 300] [--out FOLDER]

Each peer has an environment of its own under the user's cache, made on first use from
requirements/NAME.txt, and one adapter of at most 80 lines, orchestrate/NAME_peer.py or
dedupe/NAME_peer.py, which says which settings it uses and why. CPU seconds are those of all
processes a tool started, from its start to the end of the last (trees.py); memory is theirs
together. `× karat` is taken within a round and quoted as the median (least to largest). A peer
that cannot be installed, fails or does not end in time is in the table with that.

Writes FOLDER/peers.md and FOLDER/peers.json, and prints the table. What is there already and was
not measured again stays, so a table can be made in pieces. Linux, with /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SIZES = ("rounds", "rows", "faulty", "documents", "large")
sys.path[0] = str(HERE.parent)  # `peers` and the benchmarks that are beside it

from peers import calls, documents, rows  # noqa: E402
from peers.tables import table  # noqa: E402
from peers.tools import PEERS, WORKS, Tool  # noqa: E402


def measure(work: str, tools: list[Tool], given: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="karat-peers-") as name:
        home = Path(name)
        if work == "orchestrate":
            return rows.measure(
                tools, home, server=given.server, n=given.rows, rounds=given.rounds,
                timeout_s=given.timeout,
            )  # fmt: skip
        if work == "faults":
            return rows.faults(
                tools, home, server=given.server, n=given.faulty, timeout_s=given.timeout
            )
        if work == "dedupe":
            return documents.measure(
                tools, home, count=given.documents, large=given.large, rounds=given.rounds,
                timeout_s=4 * given.timeout,
            )  # fmt: skip
        ask = calls.gateway if work == "gateway" else calls.client
        return ask(given.rows, given.rounds, 6 * given.timeout)


def about(given: argparse.Namespace) -> dict[str, Any]:
    """When and on what, without the machine's name."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "cores": os.cpu_count(),
        "python": platform.python_version(), "system": platform.system(),
        "load_at_start": round(os.getloadavg()[0], 1),
        **{name: getattr(given, name) for name in SIZES},
    }  # fmt: skip


def kept(out: Path, found: list[dict[str, Any]], head: dict[str, Any]) -> str:
    """Puts the records beside what was measured before, in both files; the table of all."""
    path = out / "peers.json"
    before = json.loads(path.read_text())["records"] if path.exists() else []
    new = {_key(record) for record in found}
    every = [record for record in before if _key(record) not in new]
    every += [{**record, "about": head} for record in found]
    every.sort(key=lambda record: WORKS.index(record["work"]))
    path.write_text(json.dumps({"records": every}, indent=1) + "\n")
    made = table(every)
    (out / "peers.md").write_text(made)
    return made


def _key(record: dict[str, Any]) -> tuple[str, ...]:
    return record["work"], record["tool"], record.get("setting", "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [tool.name for tool in PEERS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--work", nargs="+", choices=WORKS, default=WORKS, metavar="WORK")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--faulty", type=int, default=1000, help="rows of the runs with faults")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=100_000, help="karat alone; 0: not at all")
    parser.add_argument("--server", default=str(HERE.parent / "loopback.py"))
    parser.add_argument("--timeout", type=float, default=300, help="seconds a run of rows may take")
    parser.add_argument("--out", type=Path, default=Path("peers"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    head, made = about(given), ""
    for work in given.work:
        tools = [tool for tool in PEERS if work in tool.works and tool.name in given.only]
        if tools:
            made = kept(given.out, measure(work, tools, given), head)
    print(made, end="")


if __name__ == "__main__":
    main()
