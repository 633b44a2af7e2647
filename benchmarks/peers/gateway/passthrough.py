"""The least a gateway in Python can do: Starlette on uvicorn hands bytes to aiohttp, and back.

python benchmarks/peers/gateway/passthrough.py PORT UPSTREAM_URL

No key, no budget, no ledger; it does not even look at what it carries.
"""

import sys
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

upstream = f"{sys.argv[2]}/chat/completions"
HEADERS = {"content-type": "application/json"}


@asynccontextmanager
async def lifespan(app):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app.state.session = session
        yield


async def chat(request):
    body = await request.body()
    async with request.app.state.session.post(upstream, data=body, headers=HEADERS) as reply:
        data = await reply.read()
        return Response(data, reply.status, media_type="application/json")


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])], lifespan=lifespan)
uvicorn.run(
    app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False,
    log_level="warning",
)  # fmt: skip
