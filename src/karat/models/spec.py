"""`provider/model` and its overrides: how a recipe names a model.

The identity, not the name a recipe gave it, goes into journal keys: renaming `teacher` re-buys
nothing, and pointing it at another server never passes off one model's answers as another's.
"""

from __future__ import annotations

import importlib
import os
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.row import canonical, is_finite
from karat.step import explain

Positive = Annotated[int, msgspec.Meta(ge=1)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1e6)]  # a dollar a token: above is a slip
DAY_S = 86_400
# What every request says for itself; in `extra` it would win over that or lose to it, unseen.
SAID = ("model", "messages", "n", "stream", "seed", "stop", "temperature", "top_p", "max_tokens")


class Price(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """US dollars per million tokens."""

    input: Rate
    output: Rate

    def cost_nano(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What a call costs, in billionths of a dollar."""
        return round((self.input * prompt_tokens + self.output * completion_tokens) * 1000)


class ModelSpec(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One model of a recipe.

    `extra` is merged into every request body. `timeout_s` and `attempts` are per request.
    `temperature`, `top_p` and `max_tokens` apply where a step leaves them open.
    """

    model: str
    base_url: str | None = None
    key_env: str | None = None
    concurrency: Positive | None = None
    price: Price | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=DAY_S)] = 180.0
    attempts: Positive = 8
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    max_tokens: Positive | None = None
    extra: dict[str, Any] = {}

    @property
    def provider(self) -> str:
        return self.model.partition("/")[0]

    @property
    def name(self) -> str:
        """The model's name as its service knows it."""
        return self.model.partition("/")[2]

    def check(self) -> None:
        """Raises: RecipeError when the model could not be called."""
        self.check_written()
        if self.key_env is not None and not os.environ.get(self.key_env):
            raise RecipeError(
                f"the key variable {self.key_env} is not set; export it, or name another in key_env"
            )
        load_provider(self.provider).check(self)

    def check_written(self) -> None:
        """Raises: RecipeError for what is wrong wherever it runs, whatever keys are set."""
        if self.provider not in providers() or not self.name:
            known = [f"{name}/…" for name in providers()]
            raise RecipeError(f"no model '{self.model}'; {did_you_mean(self.model, known)}")
        if self.base_url is not None and re.search(r"[?#]|//[^/]*@", self.base_url):
            raise RecipeError(  # not repeated here: what it holds may be a password
                "base_url must have no query, fragment, user or password, which would land in "
                "files; name the variable that holds the key in key_env"
            )
        if self.base_url is not None and not _is_url(self.base_url):
            raise RecipeError(
                f"base_url '{self.base_url}' must begin with http:// or https:// and name a host, "
                "for example http://127.0.0.1:8000/v1"
            )
        for key in SAID:
            if key in self.extra:
                raise RecipeError(
                    f"extra must not hold '{key}'; say it as the model's or the step's own "
                    "parameter"
                )

    def rate(self) -> Price | None:
        """The price of a token here: the recipe's, else the provider's own (embedded is free)."""
        own: Price | None = getattr(load_provider(self.provider), "PRICE", None)
        return self.price or own

    def identity(self) -> str:
        """What the answers depend on beside the request: goes into keys and stage addresses."""
        served: str = load_provider(self.provider).identity(self)
        extra = canonical(self.extra).decode() if self.extra else ""
        return " ".join(part for part in (served, extra) if part)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # read for what it raises
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def parse_model(value: Any) -> ModelSpec:
    """A model as a recipe writes it: `provider/name`, a mapping, or a ModelSpec.

    Raises: RecipeError.
    """
    if isinstance(value, ModelSpec):
        value = msgspec.to_builtins(value)  # made in Python, where nothing checked it
    if isinstance(value, str):
        return ModelSpec(model=value)
    if not isinstance(value, dict):
        raise RecipeError(f"write provider/name, or a mapping with model: in it, not {value!r}")
    fields = ModelSpec.__struct_fields__
    for name in value:
        if name not in fields:
            raise RecipeError(f"no key '{name}'; {did_you_mean(str(name), fields)}")
    try:
        spec = msgspec.convert(value, ModelSpec)
        for name, item in spec.extra.items():
            if not is_finite(item):
                raise RecipeError(f"parameter 'extra.{name}': must be a finite number")
        canonical(spec.extra)  # part of every key
    except (msgspec.ValidationError, TypeError) as error:
        raise RecipeError(explain(str(error), value, ModelSpec, "{}")) from None
    return spec


@cache
def providers() -> tuple[str, ...]:
    """Names of the providers: one file each in models/providers."""
    folder = Path(__file__).with_name("providers")
    return tuple(sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_")))


def load_provider(name: str) -> Any:
    """The provider's module: see models/providers/__init__.py for what one holds."""
    return importlib.import_module(f"karat.models.providers.{name}")
