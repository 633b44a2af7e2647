"""A service, the gateway before it and the official client, for tests that need their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from later import later
from wired import Upstream, Wired

from karat.web.gateway import keys

openai = later("openai")

PRICE = {"input": 1, "output": 10}  # of 10 and 7 tokens: 80 microdollars
COST_NANO = 80_000
ASK = {"model": "loop", "messages": [{"role": "user", "content": "Why tides?"}]}


class Gated(NamedTuple):
    client: openai.OpenAI
    wired: Wired
    upstream: Upstream


@contextmanager
def gated(
    folder: Path, service: dict[str, Any] | None = None, model: dict[str, Any] | None = None,
    *, key: str = "any", **options: Any,
) -> Iterator[Gated]:  # fmt: skip
    """`service` says how the upstream behaves, `model` what the config says of it (`loop`)."""
    with Upstream(**(service or {})) as upstream:
        spec = upstream.model(**{"price": PRICE, **(model or {})})
        with Wired(folder, {"loop": spec}, **options) as wired, using(wired, key) as client:
            yield Gated(client, wired, upstream)


def using(wired: Wired, key: str = "any", **more: Any) -> openai.OpenAI:
    """The official client, which tries nothing twice."""
    return openai.OpenAI(api_key=key, base_url=f"{wired.url}/v1", max_retries=0, **more)


def ask(wired: Wired, key: str, **more: Any) -> Any:
    """An answer to whoever brings this key."""
    with using(wired, key) as client:
        return client.chat.completions.create(**{**ASK, **more})


def refusal(wired: Wired, key: str, kind: type[Exception], **more: Any) -> Any:
    """How whoever brings this key is refused."""
    with pytest.raises(kind) as caught:
        ask(wired, key, **more)
    return caught.value


def made(wired: Wired, name: str = "team", **more: Any) -> str:
    """The secret of a new key of the server."""
    return keys.add(wired.gateway.run.path, name, **more)
