"""`litellm.acompletion`, for benchmarks/client.py, with its own defaults; no retries.

python litellm_sdk.py BASE_URL N CONCURRENCY
"""

import asyncio
import os
import sys
from collections.abc import Iterator

import uvloop

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its prices from the package, not the network

import litellm

litellm.telemetry = False


async def worker(base: str, rows: Iterator[tuple[int, str]]) -> None:
    for i, text in rows:
        reply = await litellm.acompletion(
            model="openai/loop",
            messages=[{"role": "user", "content": text}],
            seed=i,
            api_base=base,
            api_key="none",
            num_retries=0,
        )
        assert reply.choices[0].message.content
        assert reply.usage.completion_tokens


async def main(base: str, n: int, width: int) -> None:
    rows = iter(
        [(i, f"Item {i}: explain tides to a student in two short paragraphs.") for i in range(n)]
    )
    await asyncio.gather(*(worker(base, rows) for _ in range(width)))


uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
