"""Embeddings from the table karat ships, behind the transport a hosted model would be behind.

`embedded/minilm-static` needs neither llama.cpp nor a download. It goes through the client like any
model, so that its answers are journaled and a recipe can name a hosted one in its place.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
import numpy as np

from karat.curation import embedding
from karat.models.embedded_reply import refuse
from karat.models.transport import HttpReply, Stream, Whole

NAME = "minilm-static"


class _Request(msgspec.Struct):
    """The body of /embeddings. Fewer dimensions than all: the first ones, at length 1 again."""

    input: list[str]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=embedding.DIMENSIONS)] | None = None


class TableTransport:
    """Answers OpenAI's /embeddings; vectors are sent as base64, as karat asks for them."""

    identity = f"embedded/{embedding.IDENTITY}"
    concurrency = 2  # one is worked on while the next one's texts arrive

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply:
        if not url.endswith("/embeddings"):
            return refuse(404, f"{NAME} embeds texts and writes none")
        try:
            request = msgspec.json.decode(body, type=_Request)
        except msgspec.DecodeError as error:
            return refuse(400, str(error))
        return await asyncio.to_thread(_answer, request)

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[Stream]:
        """Vectors come whole."""
        yield Whole(await self.post(url, body, headers, timeout_s))

    async def close(self) -> None:
        """Holds nothing: the table is one for the whole process."""


def _answer(request: _Request) -> HttpReply:
    vectors_ND = embedding.embed(request.input)[:, : request.dimensions]
    norm = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    vectors_ND = (vectors_ND / np.where(norm > 0, norm, 1)).astype("<f4")
    tokens = sum(map(embedding.count_tokens, request.input))
    said = {
        "object": "list",
        "model": NAME,
        "data": [
            {
                "object": "embedding",
                "index": place,
                "embedding": base64.b64encode(vector.tobytes()).decode(),
            }
            for place, vector in enumerate(vectors_ND)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return HttpReply(200, {"content-type": "application/json"}, msgspec.json.encode(said))
