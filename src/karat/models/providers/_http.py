"""What every provider over HTTP shares: its address, its key, its words in an error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson

from karat.errors import KeyMissingError, ProviderError, RecipeError
from karat.models.asks import (
    CompleteRequest,
    DecideReply,
    DecideRequest,
    EmbedReply,
    EmbedRequest,
    RerankReply,
    RerankRequest,
)
from karat.models.chat import ChatReply, ChatRequest, ToolCall, with_defaults
from karat.models.faults import fault
from karat.models.services import Service, read_headers
from karat.models.spec import ModelSpec
from karat.models.takes import service_of
from karat.models.transport import HttpReply, HttpTransport, Transport
from karat.models.wire import Post
from karat.row import Message

MOST_COUNTED = 10**12  # tokens, or ticks of a price: a ledger's sums must stay in 64 bits
AUTH = {
    "bearer": ("authorization", "Bearer {}"),
    "api-key": ("api-key", "{}"),
    "x-api-key": ("x-api-key", "{}"),
    "x-goog-api-key": ("x-goog-api-key", "{}"),
}


def check_reachable(spec: ModelSpec) -> None:
    """Raises: RecipeError when the address or the key is missing."""
    service = spec.offered_by()
    if base_url(spec, service) is None:
        raise RecipeError(
            f"model '{spec.model}' needs base_url: the address of your server, such as "
            "http://127.0.0.1:8000/v1"
        )
    if spec.base_url is None and not service.local and not key_of(spec, service):
        raise KeyMissingError(
            f"model '{spec.model}' needs {' or '.join(service.key_env)}; export it, name another "
            "variable in key_env, or say base_url for a server of your own"
        )
    key_of(spec, service)
    read_headers(service)


def check_defaults(spec: ModelSpec, refusal: Callable[[ModelSpec, ChatRequest], str]) -> None:
    """Raises: RecipeError when it cannot be reached, or refuses what the model says of itself."""
    check_reachable(spec)
    words = refusal(spec, with_defaults(ChatRequest((Message("user", ""),)), spec.defaults()))
    if words:
        raise RecipeError(words)


def base_url(spec: ModelSpec, service: Service) -> str | None:
    """Where requests go, without a slash at the end."""
    found = spec.base_url or service.base_url
    return found.rstrip("/") if found else None


def key_of(spec: ModelSpec, service: Service) -> str:
    """The key to send; a service's own never goes to somebody else's server.

    A service without an address of its own, as Azure, is wherever base_url says.
    Raises: RecipeError for characters that no key has.
    """
    if spec.base_url is not None and spec.key_env is None and service.base_url is not None:
        return ""
    for name in [spec.key_env] if spec.key_env else service.key_env:
        key = os.environ.get(name, "").strip()  # read from a file, it brings its line end along
        if not (key.isascii() and key.isprintable()):
            raise RecipeError(f"the key in {name} holds characters that no key has; set it again")
        if key:
            return key
    return ""


P = TypeVar("P", bound="HttpProvider")


def over_http(kind: type[P], spec: ModelSpec) -> P:
    """A connection of this kind to the model's service."""
    service = spec.offered_by()
    slots = spec.concurrency or service.concurrency
    return kind(spec, HttpTransport(), slots, base_url(spec, service) or "", key_of(spec, service))


class HttpProvider:
    """A connection to one service for one model. What it does not offer is refused in words."""

    counts_samples = False
    default_max_tokens = 4096  # what a budget reserves where nobody said

    def __init__(
        self, spec: ModelSpec, transport: Transport, concurrency: int, url: str, key: str = ""
    ) -> None:
        self.spec = spec
        self.service = service_of(spec)
        self.transport = transport
        self.concurrency = concurrency
        self.address = url.rstrip("/")
        self.max_n: int | None = self.service.max_n if self.service.n else 1
        headers, secrets = read_headers(self.service)
        self._secrets = sorted({s for s in (key, *secrets) if s}, key=len, reverse=True)
        name, form = AUTH[self.service.auth]
        self.headers: Mapping[str, str] = {
            "content-type": "application/json",
            **headers,
            **({name: form.format(key)} if key else {}),
        }

    def complete(self, request: CompleteRequest) -> Post:
        raise self._lacks("completion of raw text")

    def read_complete(self, reply: HttpReply) -> ChatReply:
        raise self._lacks("completion of raw text")

    def embed(self, request: EmbedRequest) -> Post:
        raise self._lacks("embeddings")

    def read_embed(self, request: EmbedRequest, reply: HttpReply) -> EmbedReply:
        raise self._lacks("embeddings")

    def rerank(self, request: RerankRequest) -> Post:
        raise self._lacks("rerank")

    def read_rerank(self, request: RerankRequest, reply: HttpReply) -> RerankReply:
        raise self._lacks("rerank")

    def decide(self, request: DecideRequest) -> Post:
        raise self._lacks("decisions")

    def read_decide(self, request: DecideRequest, reply: HttpReply) -> DecideReply:
        raise self._lacks("decisions")

    def fault(self, reply: HttpReply) -> ProviderError:
        """What a reply of another status than 200 means, in the service's words, key hidden."""
        said, words = self._said(reply.body)
        return fault(reply.status, said, words)

    def _said(self, body: bytes) -> tuple[str, str]:
        """The message of an error body, and its codes and types."""
        try:
            tree = orjson.loads(body)
            tree = tree[0] if isinstance(tree, list) else tree
            found = tree.get("error", tree)
            if not isinstance(found, dict):
                return self.quote(str(found)), ""
            said = found.get("message", found)
            words = " ".join(str(found[k]) for k in ("code", "type", "status") if found.get(k))
            return self.quote(said if isinstance(said, str) else orjson.dumps(said).decode()), words
        except (ValueError, TypeError, AttributeError, IndexError):
            return repr(self.quote(body.decode("utf-8", "replace"))), ""

    def unreadable(self, what: str, body: bytes) -> ProviderError:
        """For a 200 that holds no answer."""
        said = self.quote(body.decode("utf-8", "replace"))
        return ProviderError(f"not {what}: {said!r}", 200, kind="unreadable")

    def quote(self, said: str, length: int = 300) -> str:
        """A service's words, without the key it may echo and without control codes."""
        for secret in self._secrets:
            said = said.replace(secret, "[key]")
        printable = "".join(c if c.isprintable() else " " for c in said[: 4 * length])
        return " ".join(printable.split())[:length]

    def _lacks(self, what: str) -> ProviderError:
        return ProviderError(
            f"{self.spec.provider} offers no {what} that karat can reach", kind="row"
        )

    async def close(self) -> None:
        await self.transport.close()


def refused(what: str) -> ProviderError:
    """Said before anything is sent: the service would refuse it, or drop it in silence."""
    return ProviderError(what, kind="row")


def parse(body: bytes) -> Any:
    """JSON; half a surrogate pair, where a text was cut within a character, is let through."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return json.loads(body)
        except RecursionError:
            raise ValueError("nested too deep") from None


def json_text(value: Any) -> str:
    """JSON, whatever was parsed: half surrogate pairs and numbers of any size too.

    Raises: ValueError when it is nested too deep.
    """
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except RecursionError:
            raise ValueError("nested too deep") from None


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as the object that some formats want. Raises: ProviderError."""
    try:
        found = parse(call.arguments.encode("utf-8", "surrogatepass")) if call.arguments else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ProviderError(
            f"the arguments of the call of '{call.name}' are no JSON object, which this format "
            "must have",
            kind="row",
        )
    return found


def count(value: object) -> int | None:
    """A number of tokens, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MOST_COUNTED else None
