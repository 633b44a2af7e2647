"""What is known of a model before it is asked: its limits, what it takes, what a token costs.

The facts are one file, compiled by tools/catalogue.py from two public collections and
data/overrides.toml, so that nothing is fetched at run time and a change of a price is a line of a
diff. A name that is not known stays unknown: a near miss would put one model's price on another.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import msgspec

FILE = Path(__file__).parent / "data" / "catalogue.json"
# What may follow a known name without naming another model: dates, revisions, stages of release.
TAIL = r"(?:[-@:](?:\d{2,}|latest|preview|exp|experimental|beta|default|v\d+(?::\d)?))*"
COMPACT = re.compile(r"-(20\d\d)([01]\d)([0-3]\d)$")
DATE = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d$")

Amount = float | tuple[float, ...]


class Period(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Prices that hold from a date (UTC) on, or at a time of day: US dollars per million tokens.

    An amount is a number, or (price, above this many input tokens, price, …): the whole request
    then costs the higher tier's price. None: as `input`, or as `output` for `reasoning`.
    `request` is in dollars per request. `since` is YYYY-MM-DD, `utc` is HH:MM-HH:MM.
    """

    input: Amount
    output: Amount
    cached: Amount | None = None
    cache_write: Amount | None = None
    reasoning: Amount | None = None
    request: float = 0.0
    since: str = ""
    utc: str = ""


class Card(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a model can do. None: nobody says.

    `context` and `max_output` are in tokens, `temperature` is whether it takes one, `released` is
    a date.
    """

    context: int | None = None
    max_output: int | None = None
    reasoning: bool | None = None
    temperature: bool | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    open_weights: bool | None = None
    released: str = ""


class Entry(Card, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """A line of the file.

    `also`: other names. `match`: regular expressions of further ones, `~` standing for TAIL. `of`:
    the entry whose price holds. `batch`: prices of a batch where they are not the service's usual
    share. `source`: who says the price, empty for the first source.
    """

    also: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    of: str = ""
    price: tuple[Period, ...] = ()
    batch: tuple[Period, ...] = ()
    source: str = ""


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. `services` is decoded one service at a time: most runs need one of twenty.

    `strip`, `add`: what a service's users write or leave out before a name. `fallback`: services
    whose models it serves at the same price; `borrow`: whose cards hold for it, but not prices.
    `unpriced`: why a service has no price here. `batch`: share of the usual price, 0.5 if absent.
    """

    about: str
    built: str
    sources: dict[str, str]
    disagreements: int
    strip: dict[str, tuple[str, ...]]
    add: dict[str, tuple[str, ...]]
    fallback: dict[str, tuple[str, ...]]
    borrow: dict[str, tuple[str, ...]]
    batch: dict[str, float]
    unpriced: dict[str, str]
    services: dict[str, msgspec.Raw]


class Listed(msgspec.Struct, frozen=True):
    """A price as listed: what holds for one answer, for a batch (empty: share), and who says so."""

    price: tuple[Period, ...]
    batch: tuple[Period, ...]
    share: float
    version: str


class Shelf:
    """The models of one service, found by name."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
        self._names = {also.lower(): entry for entry in entries.values() for also in entry.also}
        self._names |= {name.lower(): entry for name, entry in entries.items()}
        self._patterns: list[tuple[re.Pattern[str], Entry]] | None = None

    def exact(self, name: str) -> Entry | None:
        """The entry of that name, the same but for capitals."""
        return self._names.get(name)

    def near(self, name: str) -> Entry | None:
        """The entry one of whose expressions describes the whole name."""
        if self._patterns is None:
            self._patterns = [
                (re.compile(text.replace("~", TAIL)), entry)
                for entry in self.entries.values()
                for text in entry.match
            ]
        return next((e for pattern, e in self._patterns if pattern.fullmatch(name)), None)

    def find(self, name: str) -> Entry | None:
        """Exact names before patterns, and a date is dropped only where nobody lists it."""
        dashed = COMPACT.sub(r"-\1-\2-\3", name)
        undated = DATE.sub("", name)
        return (
            self.exact(name)
            or self.exact(dashed)
            or self.near(name)
            or self.near(dashed)
            or (self.exact(undated) if undated != name else None)
        )


@cache
def head() -> Head:
    """The file, its services not decoded yet."""
    return msgspec.json.decode(FILE.read_bytes(), type=Head)


@cache
def shelf(service: str) -> Shelf:
    """The models of a service; none for a service nobody lists."""
    raw = head().services.get(service)
    return Shelf(msgspec.json.decode(raw, type=dict[str, Entry]) if raw is not None else {})


@cache
def card(service: str, name: str) -> Card | None:
    """What is known of a model there, or None."""
    service, name = _route(service, name)
    plain = name.partition(":")[0]  # org/model:variant can do what org/model can
    lenders = (*head().fallback.get(service, ()), *head().borrow.get(service, ()))
    for place, called in (
        (service, name),
        (service, plain),
        *((other, plain) for other in lenders),
    ):
        if (found := _find(place, called)) is not None:
            known = Card(**{field: getattr(found, field) for field in Card.__struct_fields__})
            if known != Card():
                return known
    return None


@cache
def listed(service: str, name: str) -> Listed | None:
    """The price in the shipped map, or None where it is not known."""
    service, name = _route(service, name)
    for place in (service, *head().fallback.get(service, ())):
        found = _find(place, name)
        if found is not None and found.of:
            found = shelf(place).entries[found.of]
        if found is not None and found.price:
            return Listed(found.price, found.batch, batch_share(place), _version(found.source))
    return None


def batch_share(service: str) -> float:
    """What a batch costs there, as a share of the usual price."""
    return head().batch.get(service, 0.5)


def unpriced(service: str) -> str:
    """Why a service's prices are not known, for a person; empty where there is no such reason."""
    return head().unpriced.get(service, "")


def _version(source: str) -> str:
    sources = head().sources
    source = source or next(iter(sources))
    return f"{source} {sources[source]}"


def _route(service: str, name: str) -> tuple[str, str]:
    """A gateway's `service/name` is that service's model; names are compared in small letters."""
    name = name.strip().lower()
    if service == "anyllm":
        first, slash, rest = name.partition("/")
        if slash and first in head().services:
            return first, rest
    return service, name


def _find(service: str, name: str) -> Entry | None:
    models = shelf(service)
    if (found := models.find(name)) is not None:
        return found
    for prefix in head().strip.get(service, ()):
        if name.startswith(prefix):
            return models.find(name.removeprefix(prefix))
    for prefix in head().add.get(service, ()):
        if (found := models.exact(prefix + name)) is not None:
            return found
    return models.exact("*")
