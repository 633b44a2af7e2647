"""`provider/model` and its overrides: how a recipe names a model.

The identity, not the name a recipe gave it, goes into journal keys: renaming `teacher` re-buys
nothing, and pointing it at another server never passes off one model's answers as another's.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from karat.errors import KeyMissingError, RecipeError, did_you_mean
from karat.models.prices import Price, Rates, check_price, find_rates
from karat.models.rights import Rights, rights_of
from karat.models.services import (
    COMPATIBLE,
    Service,
    check_extra,
    check_service,
    check_url,
    own_services,
    shipped,
)
from karat.row import canonical, is_finite
from karat.wording import explain

Positive = Annotated[int, msgspec.Meta(ge=1)]
DAY_S = 86_400
BATCH_WIDTH = 10_000  # requests that wait for batches at once, where nobody says
AZURE = ".openai.azure.com"  # every customer has a host of their own below it
EMBEDDED = "embedded"  # the wire of models in this process, whose files have paths
OWN_SERVER = "vllm"  # stands for any server that a user runs
# What every request says for itself; in `extra` it would win over that or lose to it, unseen.
SAID = ("model", "messages", "n", "stream", "seed", "stop", "temperature", "top_p", "max_tokens")
# Sampling values a model may have of its own: they apply where a step leaves them open.
DEFAULTS = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "presence_penalty",
    "frequency_penalty", "reasoning",
)  # fmt: skip


class ModelSpec(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One model of a recipe.

    `adapter` is the path of a LoRA adapter on an embedded model: a folder that PEFT wrote, or a
    GGUF file. `weights` names what a server of one's own serves now, where it may serve others
    later: the identity then holds this name in place of the address. `extra` is merged into every
    request body. `timeout_s` and `attempts` are per request. `rpm` and `tpm` are requests and
    tokens a minute that the service allows. `stream` reads answers as they are written, which
    measures the time to the first token. `batch` buys chat through the service's batch API: half
    the price (`price` stays that of a direct call), up to a day of waiting; `concurrency` is then
    how many requests wait at once. `wire` is the format, where a service speaks several. The names
    of DEFAULTS apply where a step leaves them open. `fallbacks` answer, in their order, while the
    ones before are down: in a recipe, `[first, second]`.
    """

    model: str
    adapter: str | None = None
    weights: str | None = None
    base_url: str | None = None
    key_env: str | None = None
    wire: str | None = None
    service: Service | None = None
    concurrency: Positive | None = None
    rpm: Positive | None = None
    tpm: Positive | None = None
    price: Price | None = None
    role: Literal["teacher", "judge", "reward", "student"] | None = None
    budget_usd: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=DAY_S)] = 180.0
    attempts: Positive = 8
    stream: bool = False
    batch: bool = False
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Positive | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_tokens: Positive | None = None
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    reasoning: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    extra: dict[str, Any] = {}
    fallbacks: tuple[ModelSpec, ...] = ()

    @property
    def provider(self) -> str:
        return self.model.partition("/")[0]

    @property
    def name(self) -> str:
        """The model's name as its service knows it."""
        return self.model.partition("/")[2]

    def offered_by(self) -> Service:
        """The service behind the provider's name: the spec's own, or one karat ships.

        `openai/NAME` with a base_url is any compatible server, with none of OpenAI's own quirks.
        """
        if self.service is None and self.provider == "openai" and self.base_url is not None:
            return COMPATIBLE
        return self.service or shipped()[self.provider]

    @property
    def format(self) -> str:
        """The wire format: the name of a module in models/providers."""
        return self.wire or self.offered_by().wire

    def route(self) -> tuple[ModelSpec, ...]:
        """The model and its fallbacks, in the order they are asked."""
        return (self, *self.fallbacks)

    def check(self, lacking: list[str] | None = None) -> None:
        """Raises: RecipeError when the model, or a fallback, could not be called.

        For want of a key only, that is added to `lacking`, where there is such a list.
        """
        self.check_written()
        for spec in self.route():
            try:
                spec._check_here()
            except KeyMissingError as error:
                if lacking is None:
                    raise
                lacking.append(str(error))

    def _check_here(self) -> None:
        if self.key_env is not None and not os.environ.get(self.key_env):
            raise KeyMissingError(
                f"the key variable {self.key_env} is not set; export it, or name another in key_env"
            )
        load_wire(self.format).check(self)

    def check_written(self) -> None:
        """Raises: RecipeError for what is wrong wherever it runs, whatever keys are set."""
        for spec in self.route():
            spec._check_alone()

    def _check_alone(self) -> None:
        if (self.service is None and self.provider not in shipped()) or not self.name:
            known = [f"{name}/…" for name in shipped()]
            raise RecipeError(f"no model '{self.model}'; {did_you_mean(self.model, known)}")
        if self.format not in wires():
            raise RecipeError(f"no wire '{self.format}'; {did_you_mean(self.format, wires())}")
        if self.adapter is not None and self.format != EMBEDDED:
            raise RecipeError(
                f"model '{self.model}': only an embedded model takes an adapter; start your server "
                "with it instead"
            )
        if self.weights is not None and self.base_url is None:
            raise RecipeError("weights tells apart what a server of your own serves; give base_url")
        if self.base_url is not None:
            check_url(self.base_url)
        if self.key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", self.key_env):
            raise RecipeError(  # not repeated here: it may be the key
                "key_env is the name of the variable that holds the key, such as MY_SERVER_KEY, "
                "never the key"
            )
        if self.service is not None:
            check_service(self.service)
        check_extra(self.extra)
        for key in SAID:
            if key in self.extra:
                raise RecipeError(
                    f"extra must not hold '{key}'; say it as the model's or the step's own "
                    "parameter"
                )
        if self.price is not None:
            check_price(self.price)
        if self.batch:
            self._check_batch()

    def _check_batch(self) -> None:
        batches = self.offered_by().batches
        if not batches or self.format != batches:
            whose = "your own server" if self.offered_by() is COMPATIBLE else self.provider
            how = f" over the {self.format} wire" if batches else ""
            raise RecipeError(
                f"model '{self.model}': {whose} offers no batch API that karat can reach{how}; "
                "leave batch out"
            )
        if self.stream:
            raise RecipeError(
                f"model '{self.model}': a batch is no stream; leave out stream or batch"
            )

    @property
    def seller(self) -> str:
        """Whose prices and terms apply: a server of one's own has none but the model's licence.

        An address says more than a name: `openai/…` at a service's own address is that service's.
        """
        service = self.offered_by()
        at = _host(self.base_url or service.base_url)
        if at in hosts():
            return hosts()[at]
        if service is COMPATIBLE or (self.service is not None and service.local):
            return OWN_SERVER
        # A user's own service may be called as one that karat ships, and sells nothing of it.
        other = self.service is not None and self.provider in shipped() and bool(at)
        return f"{self.provider} at {at}" if other else self.provider

    def rights(self) -> Rights:
        """Whether its answers may train another model."""
        return rights_of(self.seller, self.name)

    def defaults(self) -> dict[str, Any]:
        """The sampling values the model has of its own."""
        found = {name: getattr(self, name) for name in DEFAULTS}
        return {name: value for name, value in found.items() if value is not None}

    def rates(self) -> Rates | None:
        """The price of a token here: the recipe's, else the shipped map's; None: unknown."""
        return find_rates(self.seller, self.name, self.price)

    def planned_rates(self) -> Rates | None:
        """The price that is expected to be paid: that of a batch, where there are to be any."""
        found = self.rates()
        return found.halved() if found and self.batch else found

    def identity(self) -> str:
        """What the answers depend on beside the request: goes into journal keys."""
        wire = load_wire(self.format)
        served = wire.identity(self) if hasattr(wire, "identity") else self._address()
        extra = canonical(self.extra).decode() if self.extra else ""
        return " ".join(part for part in (served, extra) if part)

    def meaning(self) -> str:
        """Whatever decides its answers where a step leaves the rest open: identity and defaults,
        its own and those of its fallbacks."""
        found = [[s.identity(), *(getattr(s, field) for field in DEFAULTS)] for s in self.route()]
        return canonical(found).decode()

    def _address(self) -> str:
        """The model and the server that answers for it, where that is not the service's own."""
        if self.weights is not None:
            return f"{self.model}@{self.weights}"
        where = self.base_url or (self.service.base_url if self.service else None)
        return self.model if where is None else f"{self.model} {where.rstrip('/')}"

    def plain(self) -> Any:
        """The model as a recipe writes it."""
        if self.fallbacks:
            first = msgspec.structs.replace(self, fallbacks=())
            return [one.plain() for one in (first, *self.fallbacks)]
        tree = msgspec.to_builtins(self)
        return tree["model"] if list(tree) == ["model"] else tree

    def width(self, n: int) -> int:
        """How many requests of n samples are under way at once."""
        if self.batch:
            return self.concurrency or BATCH_WIDTH
        wire = load_wire(self.format)
        found: int = (
            wire.width(self, n)
            if hasattr(wire, "width")
            else self.concurrency or self.offered_by().concurrency
        )
        return found


def parse_model(value: Any, services: Mapping[str, Service] | None = None) -> ModelSpec:
    """A model as a recipe writes it: `provider/name`, a mapping, a list of these, or a ModelSpec.

    `services` are the recipe's own; those of config.toml and karat's come after them.
    Raises: RecipeError.
    """
    if isinstance(value, list):
        if not value:
            raise RecipeError("the list is empty; name a model, then those that stand in for it")
        first, *others = (parse_model(item, services) for item in value)
        if any(spec.fallbacks for spec in (first, *others)):
            raise RecipeError("a list of fallbacks holds models, not lists")
        return msgspec.structs.replace(first, fallbacks=tuple(others))
    if isinstance(value, ModelSpec):
        value = msgspec.to_builtins(value)  # made in Python, where nothing checked it
    spec = ModelSpec(model=value) if isinstance(value, str) else _from_mapping(value)
    if spec.service is None:
        own = {**own_services(), **(services or {})}
        if spec.provider in own:
            spec.service = own[spec.provider]
    if spec.fallbacks:
        known = (parse_model(item, services) for item in spec.fallbacks)
        spec.fallbacks = tuple(known)
    return spec


def _from_mapping(value: Any) -> ModelSpec:
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


def _host(url: str | None) -> str:
    """The host of a URL that was checked, or may not have been."""
    try:
        name = urlsplit(url or "").hostname or ""
    except ValueError:
        return ""
    return AZURE if name.endswith(AZURE) else name


@cache
def hosts() -> dict[str, str]:
    """Services by their host: those that are not on this machine."""
    found = {_host(s.base_url): name for name, s in shipped().items() if s.base_url and not s.local}
    return {**found, AZURE: "azure"}


@cache
def wires() -> tuple[str, ...]:
    """Names of the wire formats: one file each in models/providers."""
    folder = Path(__file__).with_name("providers")
    return tuple(sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_")))


def load_wire(name: str) -> Any:
    """The format's module: see models/providers/__init__.py for what one holds."""
    return importlib.import_module(f"karat.models.providers.{name}")
