"""What a record costs the process that writes it: CPU and time, in a file and in a database.

    python benchmarks/journal.py [postgresql://user@host/db] [--records 20000]

`at once` coroutines each put one record of 1,000 characters after another, and look one up before
each, as rows do. `cpu` is this process's, all its threads; what the database's server uses is its
own. Without an address only the file is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
import uuid
from pathlib import Path

import msgspec

from karat.driving import drive
from karat.journal import Address, open_journal, parse_address
from karat.ledger import Attempt, Record, new_id

ANSWER = "answer " * 140
BODY = '{"messages":[{"role":"user","content":"' + "word " * 100 + '"}],"seed":1}'
WIDTHS = (8, 64, 512)


def pair() -> tuple[Record, Attempt]:
    """One answer and the request that bought it, as a client makes them."""
    made = Attempt(
        new_id(), "chat", "teacher", "openai/llama-3.3-70b", "openai/llama-3.3-70b@x", "respond",
        "row-123456", time.time(), latency_ms=1234.5, queue_ms=1.5, ttft_ms=33.3,
        prompt_tokens=300, completion_tokens=400, cost_nano=123_456, tokens_from="reported",
        price="recipe", body=BODY,
    )  # fmt: skip
    record = Record(
        random.randbytes(16), made.id, "chat", made.model, "respond", made.row, 0, ANSWER, "stop",
        None, 300, 400, 123_456, made.started, "scope",
    )  # fmt: skip
    return record, made


async def measure(address: Address, records: int, width: int) -> tuple[float, float]:
    """(CPU, wall) in µs a record."""
    journal = open_journal(address, shared=True)
    pairs = iter([pair() for _ in range(records)])

    async def write() -> None:
        for record, made in pairs:
            await journal.get([record.key])
            await journal.put([record], made)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(write() for _ in range(width)))
    await journal.close()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / records * 1e6, wall / records * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?")
    parser.add_argument("--records", type=int, default=20_000)
    options = parser.parse_args()
    print(f"{'journal':<12}{'at once':>8}{'cpu µs':>10}{'wall µs':>10}")
    for width in WIDTHS:
        with tempfile.TemporaryDirectory() as folder:
            places: dict[str, Address] = {"file": Path(folder) / "journal.sqlite"}
            if options.address:
                place = parse_address(options.address)
                name = f"benchmark_{uuid.uuid4().hex[:8]}"
                places["database"] = msgspec.structs.replace(place, schema=name)
            for name, address in places.items():
                cpu, wall = drive(measure(address, options.records, width))
                print(f"{name:<12}{width:>8}{cpu:>10.1f}{wall:>10.1f}")


if __name__ == "__main__":
    main()
