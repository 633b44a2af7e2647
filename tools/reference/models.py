"""The page of models: keys of a model, a price and a service, and the services karat knows."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import yaml

from karat.models.embedded import MODELS
from karat.models.prices import Price
from karat.models.services import Service, shipped
from karat.models.spec import ModelSpec, wires
from karat.wording import described
from reference import markdown as md

HEAD = (
    "`provider/name` in a recipe's `models:`, or a mapping with `model: provider/name` and these "
    "keys, or a list of either: the first answers, the others while it is down. "
    "[Models](../models.md) tells how to use them."
)
OWN = (
    "A service of your own is written under `providers:` in a recipe, or as `[providers.NAME]` in "
    "`~/.config/karat/config.toml`, with these keys:"
)


def page() -> str:
    embedded = ", ".join(f"`embedded/{name}`" for name in MODELS)
    return md.page(
        "# Models",
        HEAD,
        "## Keys of a model",
        fields(ModelSpec),
        md.prose(inspect.getdoc(ModelSpec) or ""),
        "## Keys of a price",
        fields(Price),
        md.prose(inspect.getdoc(Price) or ""),
        "## Services",
        "An address that is not given is for you to say in `base_url`.",
        md.table(("provider", "service", "address", "key", "wire"), map(_service, _named())),
        f"Models inside this process: {embedded}, or a GGUF file of yours, `embedded/./mine.gguf`. "
        f"Wires: {', '.join(f'`{wire}`' for wire in wires())}.",
        "## Keys of a service",
        OWN,
        fields(Service),
        md.prose(inspect.getdoc(Service) or ""),
    )


def fields(struct: type[msgspec.Struct]) -> str:
    """A table of a struct's fields: what each takes, and what it is where nobody says."""
    rows = []
    for field in msgspec.structs.fields(struct):
        default = "needed" if field.required else _written(field)
        rows.append((field.name, described(msgspec.inspect.type_info(field.type)), default))
    return md.parameters(rows, "key")


def _written(field: Any) -> str:
    """A default as YAML."""
    plain = field.default
    if plain is msgspec.NODEFAULT:
        plain = field.default_factory()
    tree = msgspec.to_builtins(plain)
    text: str = yaml.safe_dump(tree, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _named() -> list[tuple[str, Service]]:
    return sorted(shipped().items())


def _service(named: tuple[str, Service]) -> tuple[str, ...]:
    name, service = named
    keys = " or ".join(md.code(variable) for variable in service.key_env)
    return (
        md.code(f"{name}/…"),
        md.inline(service.title),
        md.code(service.base_url or ""),
        keys or "none",
        md.code(service.wire),
    )
