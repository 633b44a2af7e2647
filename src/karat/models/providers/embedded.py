"""Models that run inside this process: no server, no key, no cost.

`embedded/NAME`, or `embedded/./FILE.gguf`, speaks OpenAI's format over a transport that never
leaves the process, so that it shares every line of the client with hosted models.
"""

from __future__ import annotations

from msgspec.structs import replace

from karat.errors import RecipeError, did_you_mean
from karat.models.embedded import MODELS, EmbeddedTransport, available
from karat.models.embedded_table import NAME as TABLE
from karat.models.embedded_table import TableTransport
from karat.models.gguf_files import ENDING
from karat.models.providers.openai import OpenAI
from karat.models.spec import ModelSpec

TAKES = (
    "messages", "n", "temperature", "top_p", "top_k", "min_p", "max_tokens", "stop", "seed",
    "presence_penalty", "frequency_penalty", "logprobs", "schema",
)  # fmt: skip
COMPLETES = True
TOKENS_PER_S = 7.0  # of one answer among the eight a server writes at once on a laptop's core


def check(spec: ModelSpec) -> None:
    """Raises: RecipeError when the model is unknown or its runtime is not installed."""
    if "/" not in spec.name and not spec.name.endswith(ENDING):
        if spec.name not in (known := [*MODELS, TABLE]):
            near = did_you_mean(spec.name, known)
            raise RecipeError(f"no embedded model '{spec.name}'; {near}, or name a {ENDING} file")
        if spec.name == TABLE and spec.adapter is not None:
            raise RecipeError(f"{TABLE} is a table of vectors: it takes no adapter")
    if spec.base_url is not None or spec.key_env is not None:
        raise RecipeError("an embedded model takes no base_url and no key_env")
    reason = None if spec.name == TABLE else available()
    if reason is not None:
        raise RecipeError(reason)
    _transport(spec)


def identity(spec: ModelSpec) -> str:
    """The exact weights: other weights, other answers."""
    return _transport(spec).identity


def width(spec: ModelSpec, n: int) -> int:
    """Requests under way at once: each takes n of the model's slots."""
    return max(1, _slots(spec, _transport(spec)) // n)


def _transport(spec: ModelSpec) -> EmbeddedTransport | TableTransport:
    return (
        TableTransport()
        if spec.name == TABLE
        else EmbeddedTransport(spec.name, adapter=spec.adapter)
    )


def _slots(spec: ModelSpec, transport: EmbeddedTransport | TableTransport) -> int:
    return min(spec.concurrency or transport.concurrency, transport.concurrency)


def connect(spec: ModelSpec) -> OpenAI:
    transport = _transport(spec)
    if spec.name == TABLE:
        service = replace(spec.offered_by(), embeddings="/embeddings")
        spec = replace(spec, service=service)
    return _Embedded(spec, transport, _slots(spec, transport), "embedded:")


class _Embedded(OpenAI):
    """Each sample of a request takes a slot of the model's own."""

    counts_samples = True
