"""Asks a server for so many chats, so many at once, and says how long each took.

python benchmarks/peers/gateway/load.py BASE_URL N CONCURRENCY KEY MODEL

The same for every contender, on karat's own transport: it takes a tenth of aiohttp's CPU, so that
two cores measure the server and not its clients. Prints milliseconds as a JSON list.
"""

import asyncio
import sys
import time

import orjson
import uvloop

from karat.models.transport import HttpTransport

TEXT = "Item {}: explain tides to a student in two short paragraphs."


async def main(base: str, n: int, width: int, key: str, model: str) -> None:
    transport = HttpTransport()
    url = f"{base}/chat/completions"
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    bodies = [
        orjson.dumps(
            {"model": model, "messages": [{"role": "user", "content": TEXT.format(i)}], "seed": i}
        )
        for i in range(n)
    ]
    rest, spent_ms = iter(bodies), []

    async def worker() -> None:
        for body in rest:
            began = time.perf_counter()
            reply = await transport.post(url, body, headers, 120)
            spent_ms.append((time.perf_counter() - began) * 1000)
            if reply.status != 200 or b'"content"' not in reply.body:
                raise SystemExit(f"HTTP {reply.status}: {reply.body[:500]!r}")

    await asyncio.gather(*(worker() for _ in range(width)))
    await transport.close()
    print(orjson.dumps(spent_ms).decode())


uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]))
