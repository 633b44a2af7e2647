"""Services that karat has no entry for, through the any-llm library in this process.

The library is behind the transport that a service would be behind, so that limits, retries, prices
and the journal are karat's own: it turns OpenAI's body into a service's, and the answer back, once.
Why any-llm 1.40 and not litellm 1.109, which reaches more: 26 packages (106 MB) against 60 (272);
1.4 s to load against 6.5 off line, where litellm waits for a price list from the web; it fits
beside huggingface-hub 2, which litellm shuts out; litellm had two releases that stole keys, in
March 2026 (BerriAI/litellm, issue 24518); and any-llm can tell most SDKs beneath it not to retry.
Source: the `any-llm-sdk` package 1.40, any_llm.py and exceptions.py.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from karat.errors import ProviderError, RecipeError, did_you_mean
from karat.models.transport import HttpReply, Stream, Whole

# What an error of the library would have been as a reply, by its class, where it names no status.
STATUS = {
    "MissingApiKeyError": 401, "AuthenticationError": 401, "InsufficientFundsError": 402,
    "ModelNotFoundError": 404, "InvalidRequestError": 400, "UnsupportedParameterError": 400,
    "ContentFilterError": 400, "ContextLengthExceededError": 400, "RateLimitError": 429,
    "UpstreamProviderError": 502, "GatewayTimeoutError": 504,
}  # fmt: skip
# Codes that karat's own sorting of errors knows.
CODES = {
    "ContentFilterError": "content_filter",
    "ContextLengthExceededError": "context_length_exceeded",
}
SIGNED = ("bedrock", "sagemaker")  # they sign with a secret that is never sent
NO_KEY = "none"  # where a server of the user's own asks for none, the library asks for one


def library() -> Any:
    """any_llm's AnyLLM, loaded late: it takes over a second. Raises: RecipeError."""
    if importlib.util.find_spec("any_llm") is None:
        raise RecipeError("anyllm/… models need any-llm; pip install 'karat[anyllm]'")
    return importlib.import_module("any_llm").AnyLLM


def open_service(name: str, key: str = "", base_url: str | None = None) -> Any:
    """The library's client of one service. Raises: RecipeError when it cannot be called.

    The library reads a service's own key where `key` is empty, but never for a server of the
    user's: that would hand the key to somebody else.
    """
    library_ = library()
    known = library_.get_supported_providers()
    if name not in known:
        raise RecipeError(f"any-llm knows no service '{name}'; {did_you_mean(name, known)}")
    try:
        service = library_.get_provider_class(name)
    except ImportError as error:
        raise RecipeError(f"any-llm: {error}") from None
    if service.MISSING_PACKAGES_ERROR is not None:
        raise RecipeError(
            f"anyllm/{name} models need more packages; pip install 'any-llm-sdk[{name}]'"
        )
    elsewhere = service.ENV_API_BASE_NAME
    if base_url is None and elsewhere and os.environ.get(elsewhere):
        raise RecipeError(
            f"{elsewhere} is set; say that address as base_url (and its key_env), so that the "
            "journal knows which server answered"
        )
    if base_url is not None and not key and name not in SIGNED:
        key = NO_KEY
    options: dict[str, Any] = {"api_key": key or None, "api_base": base_url}
    try:
        return _open(library_, name, {**options, "unified_exceptions": True})
    except Exception as error:  # whatever a vendor's SDK raises for what it lacks
        variable = getattr(error, "env_var_name", "")
        if variable:
            raise RecipeError(
                f"anyllm/{name} models need {variable}; export it, or name another variable in "
                "key_env"
            ) from None
        raise RecipeError(f"any-llm cannot open {name}: {hide(str(error), key)}") from None


def _open(library_: Any, name: str, options: dict[str, Any]) -> Any:
    """Without retries beneath karat's own, wherever the SDK can be told so."""
    if name in SIGNED:
        config = importlib.import_module("botocore.config").Config
        return library_.create(name, **options, config=config(retries={"total_max_attempts": 1}))
    if name == "azure":
        return library_.create(name, **options, retry_total=0)
    try:
        return library_.create(name, **options, max_retries=0)
    except Exception as error:
        if getattr(error, "parameter_name", "") != "max_retries":
            raise
        return library_.create(name, **options)


def hide(said: str, key: str) -> str:
    return said.replace(key, "[key]") if key and key != NO_KEY else said


class AnyLLMTransport:
    """Answers OpenAI's /chat/completions, /embeddings and /rerank by calls of the library."""

    def __init__(self, service: str, key: str = "", base_url: str | None = None) -> None:
        self._service, self._key, self._base_url = service, key, base_url
        self._client: Any = None

    def _call(self, url: str, body: bytes) -> Any:
        """The library's call for a request, not yet begun. Raises: KeyError, RecipeError."""
        if self._client is None:
            self._client = open_service(self._service, self._key, self._base_url)
            if not self._key and self._base_url is None:  # the library found it, vendors echo it
                self._key = os.environ.get(self._client.ENV_API_KEY_NAME, "")
        request = orjson.loads(body)
        model = request.pop("model").removeprefix(f"{self._service}/")
        kind = url.rpartition("/")[2]
        if kind == "completions":
            return self._client.acompletion(model, request.pop("messages"), **request)
        if kind == "embeddings":
            return self._client.aembedding(model, request.pop("input"), **request)
        asked = (request.pop("query"), request.pop("documents"))
        return self._client.arerank(model, *asked, **request)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply:
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._call(url, body)
        except Exception as error:  # any-llm wraps its SDKs' own, not what Python raises
            return self._refused(error, timeout_s)
        return _json(200, _body(answer))

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[Stream]:
        """`timeout_s` is the longest silence, not the whole."""
        try:
            async with asyncio.timeout(timeout_s):
                chunks = await self._call(url, body)
        except Exception as error:
            yield Whole(self._refused(error, timeout_s))
            return
        try:
            yield _Streamed(self, chunks, timeout_s)
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    def _refused(self, error: Exception, timeout_s: float) -> HttpReply:
        """The reply an error stands for. Raises: ProviderError where there was none."""
        if isinstance(error, RecipeError | ProviderError):
            raise error
        name = type(error).__name__
        said = hide(str(getattr(error, "message", None) or error) or name, self._key)
        status = _status(error)
        silent = status is None and "timeout" in type(_cause(error)).__name__.lower()
        if silent or isinstance(error, TimeoutError):
            raise ProviderError(f"no answer within {timeout_s:g} s", kind="timeout") from None
        if name == "ProviderError" and status is None:
            raise ProviderError(f"connection failed: {said}", kind="connection") from None
        if status is not None and status < 400:
            raise ProviderError(f"not a chat completion: {said}", 200, kind="unreadable") from None
        code = CODES.get(name) or getattr(error, "code", None) or name
        later = getattr(error, "retry_after", None)
        reply = _json(status or 400, orjson.dumps({"error": {"message": said, "code": code}}))
        if later is not None:
            reply.headers["retry-after"] = str(later)
        return reply

    async def close(self) -> None:
        """Vendors' SDKs close in different ways, or when they are collected."""
        inner = getattr(self._client, "client", None)
        self._client = None
        for name in ("aclose", "close"):
            close = getattr(inner, name, None)
            if close is not None:
                found = close()
                if asyncio.iscoroutine(found):
                    await found
                return


class _Streamed:
    """The library's chunks as server-sent events."""

    status = 200

    def __init__(self, transport: AnyLLMTransport, chunks: Any, timeout_s: float) -> None:
        self.headers = {"content-type": "text/event-stream"}
        self._transport, self._chunks, self._timeout_s = transport, aiter(chunks), timeout_s

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises: ProviderError when it breaks off."""
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    chunk = await anext(self._chunks)
            except StopAsyncIteration:
                yield b"data: [DONE]\n\n"
                return
            except Exception as error:
                refused = self._transport._refused(error, self._timeout_s)
                yield b"data: " + refused.body + b"\n\n"
                return
            yield b"data: " + _body(chunk) + b"\n\n"


def _cause(error: Exception) -> Any:
    """A vendor's own error beneath the library's."""
    return getattr(error, "original_exception", None)


def _status(error: Exception) -> int | None:
    """The status an error came with, or would have come with."""
    response = getattr(_cause(error), "response", None)
    if isinstance(response, dict):  # botocore's, which any-llm does not look into
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(error, "status_code", None)
    return found or STATUS.get(type(error).__name__)


def _body(answer: Any) -> bytes:
    """An answer of the library's, which are OpenAI's types, as JSON."""
    written: str = answer.model_dump_json(exclude_none=True, warnings=False)
    return written.encode()


def _json(status: int, body: bytes) -> HttpReply:
    return HttpReply(status, {"content-type": "application/json"}, body)
