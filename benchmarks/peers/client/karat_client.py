"""karat's client asking as `karat run` lets its steps ask: journal, prices and limits on.

python benchmarks/peers/client/karat_client.py BASE_URL N CONCURRENCY JOURNAL

uvloop and the calmer garbage collector are what `karat run` sets (driving._on_fresh_loop,
cli._base.calm_gc). As many workers as calls in flight each ask for one row after another.
"""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import uvloop

from karat.cli._base import calm_gc
from karat.journal import open_journal
from karat.models.budget import Budget
from karat.models.chat import ChatRequest
from karat.models.client import Client
from karat.models.endpoint import Asker
from karat.models.spec import parse_model
from karat.row import Message


async def worker(client: Client, rows: Iterator[tuple[int, str]]) -> None:
    for i, text in rows:
        request = ChatRequest((Message("user", text),), 1, seed=i)
        (answer,) = await client.chat("m", request, Asker("respond", f"row-{i}"))
        assert answer.content


async def main(base: str, n: int, width: int, path: Path) -> None:
    rows = iter(
        [(i, f"Item {i}: explain tides to a student in two short paragraphs.") for i in range(n)]
    )
    price = {"input": 0.2, "output": 0.6}
    model = {"model": "openai/loop", "base_url": base, "concurrency": width, "price": price}
    journal = open_journal(path)
    client = Client({"m": parse_model(model)}, journal, Budget(None))
    await asyncio.gather(*(worker(client, rows) for _ in range(width)))
    await client.close()
    await journal.close()


calm_gc()
uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
