"""Whether a model's answers may train another model, as far as its terms are known.

Both the model's licence and the terms of the service that serves it count, and the stricter wins:
the same weights are free on a machine of one's own and forbidden on a trial endpoint. The table is
data/rights.toml, written by hand with dates. It is not legal advice, and what it does not know it
calls unknown.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

FILE = Path(__file__).parent / "data" / "rights.toml"
Training = Literal["yes", "conditions", "unknown", "no"]
STRICTNESS: tuple[Training, ...] = ("yes", "conditions", "unknown", "no")


class Rights(msgspec.Struct, frozen=True):
    """What the terms say. `note` is what to do, `source` the document and its date."""

    licence: str
    training: Training
    note: str
    source: str


class ModelRule(Rights, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Terms of a family of models: see data/rights.toml. `examples` are names it is tested with."""

    match: str
    by: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


class ServiceRule(Rights, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Terms that services add to the model's, or, `alone`, put in their place."""

    names: tuple[str, ...]
    alone: bool = False


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    repackers: tuple[str, ...]
    model: tuple[ModelRule, ...]
    service: tuple[ServiceRule, ...]


UNKNOWN_MODEL = Rights(
    licence="unknown",
    training="unknown",
    note="No rule knows this model: read its licence before training on what it writes.",
    source="",
)
UNKNOWN_SERVICE = Rights(
    licence="",
    training="unknown",
    note="No rule knows this service: read its terms before training on what it serves.",
    source="",
)
FLAGGED = "OpenRouter's is_trainable_text, as good as OpenRouter could tell"


@cache
def table() -> Table:
    """The rules."""
    return msgspec.convert(tomllib.loads(FILE.read_text(encoding="utf-8")), Table)


@cache
def rights_of(service: str, name: str, flagged: Rights | None = None) -> Rights:
    """What the terms of this route say: the stricter of the model's and the service's.

    `flagged` is what the service's own list says of the model (see `from_openrouter`): it counts
    as the model's licence where no rule knows one, and beside it where one does.
    """
    if service == "anyllm":
        first, slash, rest = name.partition("/")
        if slash and _service(first) is not None:
            return rights_of(first, rest)
    terms = _service(service)
    if terms is not None and terms.alone:
        return _plain(terms)
    rule = find_rule(name)
    model = (flagged or UNKNOWN_MODEL) if rule is None else _plain(rule)
    return stricter(stricter(model, flagged) if flagged else model, _plain(terms))


def find_rule(name: str) -> ModelRule | None:
    """The rule for a model of that name, whoever serves it."""
    organisation, own = _parts(name)
    for rule in table().model:
        if not re.search(rule.match, own):
            continue
        known = not organisation or organisation in (*rule.by, *table().repackers)
        if not rule.by or (known and re.match(rule.match, own)):
            return rule
    return None


def stricter(model: Rights, service: Rights) -> Rights:
    """Both at once: the licence of the model, what to do under the stricter of the two."""
    if service.training == "yes" or service == model:
        return model
    ranks = [STRICTNESS.index(rights.training) for rights in (model, service)]
    licence = " + ".join(part for part in (model.licence, service.licence) if part)
    first, second = (model, service) if ranks[0] >= ranks[1] else (service, model)
    both = ranks[0] == ranks[1]
    return Rights(
        licence=licence,
        training=first.training,
        note=f"{first.note} {second.note}" if both else first.note,
        source="; ".join(part for part in (first.source, second.source) if part),
    )


def from_openrouter(entry: dict[str, Any]) -> Rights | None:
    """What an entry of OpenRouter's list of models says, or None where it says nothing.

    Source: openrouter.ai/docs, Distillation: `is_trainable_text` is true where the author has
    explicitly allowed it; some lists put the model inside `endpoint`.
    """
    places = [entry, entry.get("model"), entry.get("endpoint")]
    if isinstance(places[-1], dict):
        places.append(places[-1].get("model"))
    flags = [place.get("is_trainable_text") for place in places if isinstance(place, dict)]
    if False in flags:
        note = "OpenRouter lists this model as not to be trained on; use another teacher."
        return Rights("unknown", "no", note, FLAGGED)
    if True in flags:
        note = "The author allows training on its text, as OpenRouter lists it; read the licence."
        return Rights("unknown", "yes", note, FLAGGED)
    return None


@cache
def _service(name: str) -> ServiceRule | None:
    return next((rule for rule in table().service if name in rule.names), None)


def _plain(rule: ModelRule | ServiceRule | None) -> Rights:
    if rule is None:
        return UNKNOWN_SERVICE
    return Rights(rule.licence, rule.training, rule.note, rule.source)


def _parts(name: str) -> tuple[str, str]:
    """(organisation, own name): `accounts/…/models/llama-v3p1-8b` is ('', 'llama-3.1-8b')."""
    path, _, own = name.strip().lower().rpartition("/")
    hosted = re.fullmatch(r"accounts/fireworks/(?:models|routers)|models", path)
    own = re.sub(r"(?<=\d)[p_](?=\d)", ".", own)  # 3p1 and 3_1 are hosts' ways to write 3.1
    own = re.sub(r"-v(?=[234]\.\d-\d+b)", "-", own) if own.startswith("llama") else own
    own = re.sub(r"^(meta|qwen)-(?=llama|qwq)", "", own)
    own = re.sub(r"(?<=\d):", "-", own).replace(":", "-")
    return "" if hosted else path, own
