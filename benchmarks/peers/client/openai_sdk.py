"""The `openai` SDK's asynchronous client, for benchmarks/client.py; nothing recorded, no retries.

python openai_sdk.py BASE_URL N CONCURRENCY [aiohttp]

With `aiohttp` over the transport of its extra of that name, else over its default one (httpx2).
"""

import asyncio
import sys
from collections.abc import Iterator

import uvloop
from openai import AsyncOpenAI, DefaultAioHttpClient


async def worker(client: AsyncOpenAI, rows: Iterator[tuple[int, str]]) -> None:
    for i, text in rows:
        reply = await client.chat.completions.create(
            model="loop", messages=[{"role": "user", "content": text}], seed=i
        )
        assert reply.choices[0].message.content
        assert reply.usage.completion_tokens


async def main(base: str, n: int, width: int, transport: str) -> None:
    rows = iter(
        [(i, f"Item {i}: explain tides to a student in two short paragraphs.") for i in range(n)]
    )
    http = DefaultAioHttpClient() if transport == "aiohttp" else None
    async with AsyncOpenAI(
        base_url=base, api_key="none", max_retries=0, http_client=http
    ) as client:
        await asyncio.gather(*(worker(client, rows) for _ in range(width)))


uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "".join(sys.argv[4:])))
