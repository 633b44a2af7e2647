"""What can be asked from here: services and their keys, servers that run, models and their terms.

Nothing is bought, and nobody far away is asked unless told to: keys are looked for in the
environment, models in the shipped catalogue. Servers on this machine are asked, all at once and
briefly, because only they know what they serve. Keys are named by their variable, never shown.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from karat.errors import ProviderError, RecipeError, did_you_mean
from karat.models import catalogue
from karat.models.catalogue import Card
from karat.models.embedded import MODELS as EMBEDDED
from karat.models.embedded import available
from karat.models.embedded_table import NAME as TABLE
from karat.models.offers import Offer, read_list
from karat.models.prices import Price
from karat.models.rights import Rights, rights_of
from karat.models.services import Service, own_services, parse_service, shipped
from karat.models.spec import ModelSpec, load_wire, parse_model, wires
from karat.models.transport import read_all
from karat.models.weights import path_of
from karat.overrides import overridden
from karat.recipefile import at, called, parse_step

LOCAL_S = 0.5  # for a server on this machine
HOSTED_S = 15.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# How to get the whole list in one page. Source: Anthropic's API reference, "List Models"; Google's,
# "models.list".
WHOLE = {"anthropic": "?limit=1000", "gemini": "?pageSize=1000"}


class Reach(msgspec.Struct):
    """A service as seen from here.

    `own`: from the user's config.toml. `key`: the variable that holds the key, empty where none is
    set. `priced`: how many models have a known price. `offers`: its own list, None where it was not
    asked or did not answer. `said`: its state, in words.
    """

    name: str
    service: Service
    own: bool
    key: str
    priced: int
    ready: bool = False
    offers: list[Offer] | None = None
    said: str = ""

    @property
    def near(self) -> bool:
        """Whether it is a server on this machine."""
        return urlsplit(self.service.base_url or "").hostname in LOOPBACK

    @property
    def address(self) -> str:
        """Where it is, without what may be a password."""
        return shown_url(self.service.base_url)


class Known(msgspec.Struct):
    """What is known of a model. `label` is its name in a recipe. `price_from`: who says the price.

    `ready`: whether it can be called from here, `note` why not.
    """

    model: str
    price: Price | None
    price_from: str
    card: Card
    rights: Rights
    ready: bool
    label: str = ""
    address: str = ""
    note: str = ""


def shown_url(url: str | None) -> str:
    """A URL without user, password and query."""
    if not url:
        return ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def reach(*, ask: bool = False) -> list[Reach]:
    """Every service, the user's own first. `ask`: hosted ones with a key are asked for their list.

    Raises: RecipeError for a config.toml that cannot be read.
    """
    own = own_services()
    both = {**own, **{name: s for name, s in shipped().items() if name not in own}}
    found = [_stand(name, service, name in own) for name, service in both.items()]
    asyncio.run(_ask_all([one for one in found if one.near or (ask and _askable(one))]))
    return found


def _stand(name: str, service: Service, own: bool) -> Reach:
    """A service before anybody is asked."""
    key = next((env for env in service.key_env if os.environ.get(env, "").strip()), "")
    entries = catalogue.shelf(name).entries.values()
    priced = sum(1 for entry in entries if entry.price or entry.of)
    found = Reach(name, service, own, key, priced)
    if service.wire not in wires():
        found.said = f"no wire '{service.wire}'"
    elif service.wire == "embedded":
        found.ready, found.said = _embedded()
    elif service.wire == "anyllm":
        found.ready = importlib.util.find_spec("any_llm") is not None
        found.said = "installed" if found.ready else "pip install 'karat[anyllm]'"
    elif not service.key_env:
        found.ready, found.said = not found.near, "not asked"
    else:
        found.ready = bool(key)
        found.said = f"key in {key}" if key else f"no key: {' or '.join(service.key_env)}"
    return found


def _embedded() -> tuple[bool, str]:
    if available() is not None:
        return True, f"{TABLE}; for more, pip install 'karat[embedded]'"
    missing = [w.size for w in EMBEDDED.values() if not path_of(w).is_file()]
    return True, f"first use fetches {sum(missing) / 1e6:.0f} MB" if missing else "installed"


def _askable(one: Reach) -> bool:
    return bool(one.service.base_url) and one.ready


async def _ask_all(some: Iterable[Reach]) -> None:
    await asyncio.gather(*map(_ask, some))


async def _ask(one: Reach) -> None:
    """Asks for the list of models, and notes what came of it."""
    limit_s = LOCAL_S if one.near else HOSTED_S
    try:
        async with asyncio.timeout(limit_s):
            one.offers = await _list(one, limit_s)
    except ProviderError as error:
        one.ready = False
        one.said = "not running" if one.near and error.unreachable else str(error)
    except TimeoutError:
        one.ready, one.said = False, f"no answer within {limit_s:g} s"
    except RecipeError as error:  # a key with characters that no key has
        one.ready, one.said = False, str(error)
    else:
        one.ready = True
        held = f", key in {one.key}" if one.key else ""
        one.said = f"{'running' if one.near else 'answers'}{held}"


async def _list(one: Reach, limit_s: float) -> list[Offer]:
    """Raises: ProviderError, RecipeError."""
    spec = ModelSpec(f"{one.name}/models", service=one.service)
    provider = load_wire(one.service.wire).connect(spec)
    url = f"{provider.address}/models{WHOLE.get(one.service.wire, '')}"
    try:
        async with provider.transport.stream("GET", url, b"", provider.headers, limit_s) as stream:
            reply = await read_all(stream)
        if reply.status != 200:
            raise provider.fault(reply)
        return read_list(reply)
    finally:
        await provider.close()


# --- models ------------------------------------------------------------------------------------


def find_models(text: str, services: Iterable[Reach]) -> list[Known]:
    """The models of which `text` is a part of provider/name, those that can be called first, newest
    first. A service's name alone means all of its models; empty text means every model."""
    wanted = text.strip().lower()
    some = list(services)
    named = [one for one in some if one.name == wanted]
    found = [
        _known(one, offer)
        for one in named or some
        for offer in _offers(one)
        if named or _matches(wanted, one.name, offer.name)
    ]
    found.sort(key=lambda known: known.model)
    found.sort(key=lambda known: known.card.released, reverse=True)
    place = {one.name: number for number, one in enumerate(some)}
    found.sort(key=lambda known: (not known.ready, place[known.model.partition("/")[0]]))
    return found


def _offers(one: Reach) -> list[Offer]:
    """What the service lists, else what the catalogue lists of it."""
    if one.offers is not None:
        return one.offers
    embedded = one.service.wire == "embedded"
    names = [*EMBEDDED, TABLE] if embedded else catalogue.shelf(one.name).entries
    return [Offer(name) for name in names if name != "*"]


def _matches(wanted: str, service: str, name: str) -> bool:
    if wanted in f"{service}/{name}".lower():
        return True
    entry = catalogue.shelf(service).entries.get(name)
    return entry is not None and any(wanted in f"{service}/{also}".lower() for also in entry.also)


def _known(one: Reach, offer: Offer) -> Known:
    spec = ModelSpec(f"{one.name}/{offer.name}", service=one.service if one.own else None)
    price, source = offer.price, f"{one.name}'s own list"
    if price is None:
        price, source = _listed(spec)
    card = catalogue.card(spec.seller, spec.name) or Card()
    if offer.context is not None:
        card = msgspec.structs.replace(card, context=offer.context)
    rights = rights_of(spec.seller, spec.name, offer.flagged)
    note = "" if one.ready else one.said
    if one.service.wire == "embedded":  # each model for itself: only some need llama.cpp
        note = _problem(spec)
    return Known(spec.model, price, source, card, rights, not note, note=note)


def _problem(spec: ModelSpec) -> str:
    """Why a model cannot be called from here; empty when it can."""
    try:
        msgspec.structs.replace(spec, fallbacks=()).check()
    except RecipeError as error:
        return str(error)
    return ""


def _listed(spec: ModelSpec) -> tuple[Price | None, str]:
    rates = spec.rates()
    if rates is None:
        return None, catalogue.unpriced(spec.provider)
    return spec.price or rates.shown(time.time()), rates.version


def resolve(models: Mapping[str, ModelSpec]) -> list[Known]:
    """The models of a recipe, each followed by its fallbacks as name+1, name+2."""
    found = []
    for label, spec in models.items():
        for number, one in enumerate(spec.route()):
            price, source = _listed(one)
            note = _problem(one)
            found.append(
                Known(
                    one.model, price, source, catalogue.card(one.seller, one.name) or Card(),
                    one.rights(), not note,
                    label=f"{label}+{number}" if number else label,
                    address=shown_url(one.base_url), note=note,
                )
            )  # fmt: skip
    return found


def recipe_models(source: str | Path, overrides: Sequence[str] = ()) -> dict[str, ModelSpec]:
    """The models of a recipe file and those its steps name, whether or not they can be called.

    Raises: RecipeError for what is wrong in the file itself.
    """
    path, tree = overridden(source, overrides)
    where = called(path)
    found: dict[str, ModelSpec] = {}
    with at(where):
        own = {k: parse_service(k, v) for k, v in tree.get("providers", {}).items()}
    for name, value in tree.get("models", {}).items():
        with at(f"{where}, model '{name}'"):
            found[str(name)] = parse_model(value, own)
            found[str(name)].check_written()
    folder = path.absolute().parent / tree.get("folder", ".")
    for number, item in enumerate(tree["steps"], 1):
        step = f"{where}, step {number}"
        for parameter, name in parse_step(item, step, folder).named("model"):
            if name not in found:
                with at(step):
                    if "/" not in name:
                        known = did_you_mean(name, found)
                        raise RecipeError(f"{parameter}: no model '{name}' in models; {known}")
                    found[name] = parse_model(name, own)
                    found[name].check_written()
    return found
