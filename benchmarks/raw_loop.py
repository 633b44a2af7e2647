"""The floor: what one asyncio loop on aiohttp, uvloop and orjson needs for N calls.

python benchmarks/raw_loop.py BASE_URL N CONCURRENCY
"""

import asyncio
import sys
from collections.abc import Iterator

import aiohttp
import orjson
import uvloop


async def worker(session: aiohttp.ClientSession, url: str, prompts: Iterator[str]) -> None:
    headers = {"content-type": "application/json"}
    for prompt in prompts:
        body = orjson.dumps({"model": "loop", "messages": [{"role": "user", "content": prompt}]})
        async with session.post(url, data=body, headers=headers) as reply:
            orjson.loads(await reply.read())["choices"][0]["message"]["content"]


async def main(base: str, n: int, width: int) -> None:
    prompts = iter(
        [f"Item {i}: explain tides to a student in two short paragraphs." for i in range(n)]
    )
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=width)) as session:
        url = f"{base}/chat/completions"
        await asyncio.gather(*(worker(session, url, prompts) for _ in range(width)))


uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
