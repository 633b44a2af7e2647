"""Services: who is meant by the first half of `provider/model`, and how they differ.

A service is data, not code: an address, the variable that holds its key, the wire format it speaks
(a file in models/providers) and its quirks. karat's own are in data/services.toml; a user adds more
in the same words, under `providers:` in a recipe or `[providers.NAME]` in config.toml.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.models.chat import ChatRequest
from karat.row import is_finite
from karat.wording import explain

SHIPPED = Path(__file__).parent / "data" / "services.toml"
Count = Annotated[int, msgspec.Meta(ge=1)]
# What `refuses` may name: fields of a chat request, and of the other requests.
REFUSABLE = (*ChatRequest.__struct_fields__, "encoding_format", "return_documents", "dimensions")
# A resolved recipe is a file, and the journal holds requests: no secret may be in either.
_SECRET_NAME = re.compile(
    r"(^|[-_])(authorization|auth|api-?_?key|key|secret|token|password|cookie)$", re.IGNORECASE
)
_SECRET_VALUE = re.compile(
    r"^(bearer|basic|token)\s|^(sk|pk|gsk|hf|nvapi|xai|key)[-_]", re.IGNORECASE
)
_SECRET_FIELD = re.compile(r"api-?_?key$|authorization|password|secret", re.IGNORECASE)
_KEY = re.compile(r"^(bearer\s|(sk|gsk|hf|nvapi|xai)[-_][\w-]{16})", re.IGNORECASE)
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*)\}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Service(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One service.

    `wire`: the file in models/providers. `key_env`: variables that may hold the key, the first that
    is set counts; none for a server of one's own. `refuses`: fields of a request it does not take;
    `thinking_refuses`: those it ignores while it thinks; `thinks_unasked`: its reasoning models do
    so unless told not to. `headers` are sent with every request; a value `$NAME` is read from that
    variable, as everything secret must be. `max_n`, `max_stop`, `max_logprobs`,
    `max_temperature`: the most it takes of each. `rename`: fields it calls otherwise. `schema`: how
    it takes a JSON schema; `prompt`: not at all, so it is written into the prompt. `reasoning`: how
    it takes an effort: a field of its own, in an object, a switch beside it, or an argument of the
    model's chat template. `logprobs`: whether they are asked for by a switch or by their number.
    `stream_usage`: whether a stream says its usage only where asked to. `batches`, `embeddings`,
    `rerank`, `decisions`, `completions` (of raw text, to which no chat template is applied): the
    path of each below base_url, empty where it has none. `cost`: the field of its usage that holds
    the price of a call in dollars; `cost_ticks`: in ten-billionths of one. `extra`: fields of every
    request.
    """

    wire: str = "openai"
    title: str = ""
    base_url: str | None = None
    key_env: tuple[str, ...] = ()
    auth: Literal["bearer", "api-key", "x-api-key", "x-goog-api-key"] = "bearer"
    headers: dict[str, str] = {}
    n: bool = True
    max_n: Count | None = None
    max_stop: Count | None = None
    max_logprobs: Count | None = None
    max_temperature: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    seed: bool = True
    refuses: tuple[str, ...] = ()
    thinking_refuses: tuple[str, ...] = ()
    thinks_unasked: bool = False
    rename: dict[str, str] = {}
    schema: Literal["json_schema", "json_object", "prompt"] = "json_schema"
    reasoning: Literal["effort", "nested", "thinking", "template", "none"] = "effort"
    logprobs: Literal["switch", "number"] = "switch"
    stream_usage: bool = True
    embeddings: str = "/embeddings"
    rerank: str = ""
    decisions: str = ""
    completions: str = ""
    batches: Literal["", "openai", "anthropic"] = ""
    cost: str = ""
    cost_ticks: str = ""
    extra: dict[str, Any] = {}
    concurrency: Count = 64
    rpm: Count | None = None
    tpm: Count | None = None
    terms: str = ""

    @property
    def local(self) -> bool:
        """Whether it is a server of the user's own, which needs no key."""
        return not self.key_env


# `openai/NAME` with a base_url: any compatible server, which shares none of OpenAI's own quirks.
COMPATIBLE = Service(title="compatible server", rerank="/rerank", completions="/completions")


def parse_service(name: Any, value: Any) -> Service:
    """A service as a recipe or config.toml writes it. Raises: RecipeError."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise RecipeError(
            f"provider {name!r}: its name must be text of letters, digits, '.', '_' and '-', since "
            "models are called provider/name"
        )
    if not isinstance(value, dict):
        raise RecipeError(f"provider '{name}': write its base_url and key_env as a mapping")
    fields = Service.__struct_fields__
    for key in value:
        if key not in fields:
            near = did_you_mean(str(key), fields)
            raise RecipeError(f"provider '{name}': no key '{key}'; {near}")
    if isinstance(value.get("key_env"), str):
        value = {**value, "key_env": (value["key_env"],)}
    try:
        service = msgspec.convert(value, Service)
    except msgspec.ValidationError as error:
        words = explain(str(error), value, Service, "{}")
        raise RecipeError(f"provider '{name}': {words}") from None
    try:
        check_service(service)
    except RecipeError as error:
        raise RecipeError(f"provider '{name}': {error}") from None
    return service


def check_service(service: Service) -> None:
    """Raises: RecipeError for what could not work, or would put a secret into a file."""
    if service.base_url is not None:
        check_url(service.base_url)
    for field in (*service.refuses, *service.thinking_refuses):
        if field not in REFUSABLE:
            near = did_you_mean(field, REFUSABLE)
            raise RecipeError(f"refuses '{field}', which no request has; {near}")
    for name, value in service.headers.items():
        if not _HEADER.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise RecipeError(f"headers: '{name}' or its value holds what no header can hold")
        secret = _SECRET_NAME.search(name) or _SECRET_VALUE.search(value)
        if secret and not _VARIABLE.search(value):
            raise RecipeError(  # the value is not repeated here
                f"headers: '{name}' looks like a secret, which would land in files; export it and "
                f"write the variable's name: {name}: $NAME"
            )
    check_extra(service.extra)


def check_extra(extra: Mapping[str, Any]) -> None:
    """Raises: RecipeError for fields that no request can have, or that look like a secret."""
    for name, value in extra.items():
        if not is_finite(value):
            raise RecipeError(f"extra.{name}: must be a finite number")
        if found := _secret_in(name, value):
            raise RecipeError(  # the value is not repeated here
                f"extra: '{found}' looks like a secret, which would land in files; name the "
                "variable that holds the key in key_env"
            )


def _secret_in(name: str, value: Any) -> str:
    """The name of the first field in `value`, at any depth, that looks like a secret."""
    if isinstance(value, Mapping):
        return next(filter(None, (_secret_in(str(k), v) for k, v in value.items())), "")
    if isinstance(value, list | tuple):
        return next(filter(None, (_secret_in(name, one) for one in value)), "")
    secret = isinstance(value, str) and (_SECRET_FIELD.search(name) or _KEY.search(value))
    return name if secret else ""


def check_url(url: str) -> None:
    """Raises: RecipeError for a base_url that holds secrets or cannot be called."""
    if re.search(r"[?#]|//[^/]*@", url):
        raise RecipeError(  # not repeated here: what it holds may be a password
            "base_url must have no query, fragment, user or password, which would land in "
            "files; name the variable that holds the key in key_env"
        )
    if not _is_url(url):
        raise RecipeError(
            f"base_url '{url}' must begin with http:// or https:// and name a host, "
            "for example http://127.0.0.1:8000/v1"
        )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # read for what it raises
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def read_headers(service: Service) -> tuple[dict[str, str], list[str]]:
    """The headers to send, names in lower case, and what in them came from the environment.

    Raises: RecipeError for a variable that is not set.
    """
    secrets: list[str] = []

    def read(match: re.Match[str]) -> str:
        variable = match[1] or match[2]
        value = os.environ.get(variable, "").strip()
        if not value:
            raise RecipeError(f"headers need the variable {variable}; export it")
        if not (value.isascii() and value.isprintable()):
            raise RecipeError(f"what {variable} holds cannot be sent in a header; set it again")
        secrets.append(value)
        return value

    found = {name.lower(): _VARIABLE.sub(read, value) for name, value in service.headers.items()}
    return found, secrets


@cache
def shipped() -> dict[str, Service]:
    """The services karat knows."""
    tree = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    return {name: parse_service(name, value) for name, value in tree.items()}


def config_file() -> Path:
    """~/.config/karat/config.toml, or where XDG_CONFIG_HOME says."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "karat" / "config.toml"


def own_services(file: Path | None = None) -> dict[str, Service]:
    """The services of the user's config.toml. Raises: RecipeError."""
    path = file or config_file()
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    found = tree.pop("providers", {})
    if tree or not isinstance(found, dict):
        raise RecipeError(
            f"{path}: holds '{next(iter(tree), 'providers')}'; write [providers.NAME] tables"
        )
    try:
        return {name: parse_service(name, value) for name, value in found.items()}
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
