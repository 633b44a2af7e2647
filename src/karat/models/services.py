"""Services: who is meant by the first half of `provider/model`, and how they differ.

A service is data, not code: an address, the variable that holds its key, the wire format it speaks
(a file in models/providers) and its quirks. karat's own are in data/services.toml; a user adds more
in the same words, under `providers:` in a recipe or `[providers.NAME]` in config.toml.
"""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.models.chat import ChatRequest

SHIPPED = Path(__file__).parent / "data" / "services.toml"
Count = Annotated[int, msgspec.Meta(ge=1)]
# What `refuses` may name: fields of a chat request, and of the other requests.
REFUSABLE = (*ChatRequest.__struct_fields__, "encoding_format", "return_documents", "dimensions")


class Service(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One service.

    `wire`: the file in models/providers. `key_env`: variables that may hold the key, the first that
    is set counts; none for a server of one's own. `refuses`: fields of a request it does not take;
    `thinking_refuses`: those it ignores while it thinks. `max_n`, `max_stop`, `max_logprobs`,
    `max_temperature`: the most it takes of each. `rename`: fields it calls otherwise. `schema`: how
    it takes a JSON schema; `prompt`: not at all, so it is written into the prompt. `reasoning`: how
    it takes an effort: a field of its own, in an object, a switch beside it, or an argument of the
    model's chat template. `logprobs`: whether they are asked for by a switch or by their number.
    `stream_usage`: whether a stream says its usage only where asked to. `batches`, `embeddings`,
    `rerank`, `decisions`: the path of each below base_url, empty where it has none. `cost`: the
    field of its usage that holds the price of a call in dollars; `cost_ticks`: in ten-billionths of
    one. `extra`: fields of every request.
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
    rename: dict[str, str] = {}
    schema: Literal["json_schema", "json_object", "prompt"] = "json_schema"
    reasoning: Literal["effort", "nested", "thinking", "template", "none"] = "effort"
    logprobs: Literal["switch", "number"] = "switch"
    stream_usage: bool = True
    embeddings: str = "/embeddings"
    rerank: str = ""
    decisions: str = ""
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
COMPATIBLE = Service(title="compatible server", rerank="/rerank")


def parse_service(name: str, value: Any) -> Service:
    """A service as a recipe or config.toml writes it. Raises: RecipeError."""
    if not isinstance(value, dict):
        raise RecipeError(f"provider '{name}': write its base_url and key_env as a mapping")
    fields = Service.__struct_fields__
    for key in value:
        if key not in fields:
            raise RecipeError(f"provider '{name}': no key '{key}'; {did_you_mean(key, fields)}")
    if isinstance(value.get("key_env"), str):
        value = {**value, "key_env": (value["key_env"],)}
    try:
        service = msgspec.convert(value, Service)
    except msgspec.ValidationError as error:
        raise RecipeError(f"provider '{name}': {error}") from None
    for field in (*service.refuses, *service.thinking_refuses):
        if field not in REFUSABLE:
            raise RecipeError(
                f"provider '{name}': refuses '{field}', which no request has; "
                f"{did_you_mean(field, REFUSABLE)}"
            )
    return service


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
