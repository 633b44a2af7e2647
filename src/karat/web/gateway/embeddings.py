"""`/v1/embeddings`: vectors of any model that makes some, in OpenAI's words.

The official client asks for base64, a quarter of the bytes of decimal numbers; karat holds vectors
as those very bytes. Each text has an answer of its own: with the cache, one that was embedded is
not embedded again, whatever it is sent with.
Source: the `openai` package 3.57, types/embedding_create_params.py, create_embedding_response.py.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from starlette.types import Scope

from karat.models.asks import EmbedRequest
from karat.models.orders import EmbedOrder
from karat.web.gateway.door import Reply, dumps, told
from karat.web.gateway.engine import Asked
from karat.web.gateway.fields import Whole, texts
from karat.web.gateway.openai_words import reader
from karat.web.gateway.refusals import bad_request

MOST_TEXTS = 2048  # of one request, as OpenAI has it


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """`purpose` is karat's own: query or document, where a model embeds the two apart."""

    model: str
    input: Annotated[Any, texts(MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Whole | None = None
    purpose: Literal["query", "document"] | None = None
    user: Any = None  # a hint for OpenAI; it goes no further than here


_read = reader(Body)


async def serve(asked: Asked, data: bytes, scope: Scope) -> Reply:
    """Raises: Refused; ProviderError, RunError."""
    body = _read(data)
    texts = _texts(body.input)
    gateway = asked.gateway
    model = await gateway.model(body.model, asked.caller)
    order = EmbedOrder(EmbedRequest(texts, body.dimensions, body.purpose or ""))
    got = await gateway.client.buy(model, order, asked.asker)
    figures = asked.figures([one.key.hex() for one in got])
    base64 = body.encoding_format == "base64"
    answer = {
        "object": "list",
        "model": body.model,
        "data": [
            {"object": "embedding", "index": place, "embedding": _written(one.held[1], base64)}
            for place, one in enumerate(got)
        ],
        "usage": {
            "prompt_tokens": figures.prompt_tokens, "total_tokens": figures.prompt_tokens,
            "cost_usd": figures.cost_usd,
        },
    }  # fmt: skip
    return Reply(dumps(answer), told(figures, asked.terms.model or model))


def _texts(given: Any) -> tuple[str, ...]:
    """Raises: Refused."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise bad_request("input must be a text or a list of texts", "input")
    if all(isinstance(one, int | list) for one in texts):
        raise bad_request(
            "input holds token ids, which mean something else to every model: send texts "
            "(LangChain: check_embedding_ctx_length=False)",
            "input",
        )
    if len(texts) > MOST_TEXTS:
        raise bad_request(f"input holds {len(texts)} texts; send at most {MOST_TEXTS}", "input")
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise bad_request(f"input.{place} must be a text that is not empty", "input")
    return tuple(texts)


def _written(vector: bytes, base64: bool) -> str | list[float]:
    """A vector of float32, little-endian, as its bytes in base64 or as numbers."""
    if base64:
        return b64encode(vector).decode()
    numbers: list[float] = np.frombuffer(vector, "<f4").tolist()
    return numbers
