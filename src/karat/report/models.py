"""Services, models and one real call, as a person reads them.

A key is a variable's name here, never its value. What nobody knows is —, never 0 or empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from karat.ledger import Attempt
from karat.models.catalogue import Card
from karat.models.prices import Price
from karat.models.services import config_file
from karat.ping import PROMPT, Pinged
from karat.reachable import Known, Reach
from karat.report.cells import LINE, clean, money

SHOWN = 40  # models of one listing
NAMED = 5  # models of a server, named
UNKNOWN = "—"


def _table(*headings: tuple[str, int | None]) -> Table:
    """Columns by heading and greatest width; a width of None folds, the others are cut."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading, width in headings:
        if width is None:
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, max_width=width, no_wrap=True, overflow="ellipsis")
    return table


def service_table(services: Sequence[Reach]) -> RenderableType:
    """One line a service, those that can be called first; then what servers here serve."""
    table = _table(
        ("service", 14), ("what", 20), ("wire", 9), ("state", None), ("address", None),
        ("priced", 6),
    )  # fmt: skip
    table.columns[-1].justify = "right"
    for one in sorted(services, key=lambda one: not one.ready):
        table.add_row(
            clean(one.name, LINE),
            clean(one.service.title or UNKNOWN, LINE),
            clean(one.service.wire, LINE),
            clean(one.said, LINE),
            clean(one.address.removeprefix("https://") or UNKNOWN, LINE),
            f"{one.priced:,}" if one.priced else UNKNOWN,
            style="" if one.ready else "dim",
        )
    parts: list[RenderableType] = [table, Text()]
    parts += [_serves(one) for one in services if one.offers is not None]
    if any(one.own for one in services):
        parts.append(clean(f"yours: {_named([s.name for s in services if s.own], 20)} "
                           f"({config_file()})", 10 * LINE))  # fmt: skip
    parts += [
        Text("priced: models whose price is known. karat models TEXT lists models, as llama-3.3;"),
        Text(
            "--ask asks the services that have a key what it can use; karat models ping calls one"
        ),
    ]
    return Group(*parts)


def _serves(one: Reach) -> Text:
    names = [offer.name for offer in one.offers or []]
    count = f"{len(names):,} model{'' if len(names) == 1 else 's'}"
    return clean(f"{one.name}: {count}: {_named(names, NAMED)}" if names else
                 f"{one.name}: {count}", 10 * LINE)  # fmt: skip


def _named(names: Sequence[str], most: int) -> str:
    more = f", {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def model_table(models: Sequence[Known], text: str = "", *, everything: bool = False) -> (
    RenderableType
):  # fmt: skip
    """What is known of each model; the first SHOWN of them unless `everything` is wanted."""
    if not models:
        return Text(
            f"no known model is called '{shorten(text, 60)}'. One that nobody lists can be called "
            "all the same: karat models ping provider/name"
        )
    shown = list(models if everything else models[:SHOWN])
    in_recipe = any(one.label for one in shown)
    table = _table(
        *([("name", 16)] if in_recipe else []), ("model", None), ("$/M in", 8), ("cached", 8),
        ("out", 8), ("context", 7), ("takes", 19), ("training", 10), ("licence", 18), ("call", 4),
    )  # fmt: skip
    for one in shown:
        table.add_row(
            *([clean(one.label, LINE)] if in_recipe else []),
            clean(f"{one.model} {one.address}".strip(), LINE),
            *_prices(one.price),
            _context(one.card.context),
            takes(one.card),
            one.rights.training,
            clean(one.rights.licence, LINE),
            "yes" if one.ready else "no",
            style="" if one.ready else "dim",
        )
    parts: list[RenderableType] = [table, Text()]
    if len(shown) < len(models):
        parts.append(Text(f"{len(models) - len(shown):,} more: --all shows them"))
    parts += _notes(shown)
    return Group(*parts)


def _notes(models: Sequence[Known]) -> list[RenderableType]:
    """Why some cannot be called, and who says the prices."""
    why = dict.fromkeys(
        (one.label or one.model.partition("/")[0], one.note) for one in models if one.note
    )
    notes: list[RenderableType] = [
        clean(f"{name}: {note}", 10 * LINE, "yellow") for name, note in why
    ]
    known = dict.fromkeys(one.price_from for one in models if one.price is not None)
    if known:
        notes.append(clean(f"prices in dollars per million tokens: {'; '.join(known)}", 10 * LINE))
    unknown = dict.fromkeys(one.price_from for one in models if one.price is None)
    if unknown:
        told = "; ".join(filter(None, unknown)) or "add price: {input: …, output: …} to the model"
        notes.append(clean(f"{UNKNOWN}: not known; {told}", 10 * LINE))
    notes.append(Text("training: whether its answers may train another model; read the terms too"))
    return notes


def _prices(price: Price | None) -> tuple[str, str, str]:
    """Input, cached input, output. A machine's hour is not a price of tokens, and said as such."""
    if price is None:
        return UNKNOWN, UNKNOWN, UNKNOWN
    if price.input is None:
        return f"${price.hour:g}/h", UNKNOWN, UNKNOWN
    cached = price.input if price.cached is None else price.cached
    return f"{price.input:.4g}", f"{cached:.4g}", f"{price.output:.4g}"


def _context(tokens: int | None) -> str:
    """As vendors say it: 128K, 1M, and 131072 as 131K."""
    if tokens is None:
        return UNKNOWN
    return f"{tokens / 1e6:.3g}M" if tokens >= 1e6 else f"{tokens / 1e3:.3g}K"


def takes(card: Card) -> str:
    """Of reasoning, tools and schema, those it is known to take."""
    known = (
        ("reasoning", card.reasoning), ("tools", card.tools), ("schema", card.structured_output),
    )  # fmt: skip
    if all(value is None for _, value in known):
        return UNKNOWN
    words = {"reasoning": "reason"}
    return " ".join(words.get(name, name) for name, value in known if value) or "none"


def ping_panel(one: Pinged) -> RenderableType:
    """The answer and everything the ledger says of it, or what went wrong."""
    title = clean(one.label if one.label == one.model else f"{one.label}: {one.model}", LINE)
    parts: list[RenderableType] = []
    if one.answer is None:
        parts += [Text.assemble(("no answer: ", "bold red"), clean(one.error, 10 * LINE)), Text()]
    else:
        if one.answer.reasoning:
            parts += [Text("reasoning", "bold cyan"), clean(one.answer.reasoning), Text()]
        words = clean(one.answer.content) if one.answer.content.strip() else _silence(one)
        parts += [Text("answer", "bold cyan"), words, Text()]
    facts = [("asked", f'"{PROMPT}", max_tokens {one.max_tokens:,}')]
    if one.attempt is not None:
        facts += _facts(one, one.attempt)
    rights = one.rights
    facts.append(("training", f"{rights.training} ({rights.licence}). {rights.note}"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts:
        grid.add_row(Text(name, "bold"), clean(value, 10 * LINE))
    return Panel(Group(*parts, grid), title=title, title_align="left")


def _silence(one: Pinged) -> Text:
    if one.answer is not None and one.answer.finish_reason == "length":
        return Text(
            f"(none: all {one.max_tokens:,} tokens went into thoughts; --set max_tokens="
            f"{max(4096, 4 * one.max_tokens)})", "yellow",
        )  # fmt: skip
    return Text("(an empty text)", "yellow")


def _facts(one: Pinged, attempt: Attempt) -> list[tuple[str, str]]:
    """The ledger's row. A failed attempt has times and a status, and a cost only if charged."""
    facts = [("took", f"{attempt.latency_ms / 1000:.2f} s")]
    if attempt.ttft_ms is not None:
        facts[0] = ("took", f"{facts[0][1]}, {attempt.ttft_ms / 1000:.2f} s to the first token")
    if one.answer is None:
        facts.append(("status", str(attempt.status) if attempt.status else "none: no reply"))
    else:
        facts.append(("finished", one.answer.finish_reason or "the service does not say"))
        facts.append(("served by", attempt.served or "the service does not say"))
    if attempt.tokens_from:
        a = attempt
        parts = (("cached", a.cached_tokens), ("written to a cache", a.cache_write_tokens))
        inner = ", ".join(f"{count:,} {word}" for word, count in parts if count)
        thought = f" ({a.reasoning_tokens:,} of them thoughts)" if a.reasoning_tokens else ""
        facts.append((
            "tokens", f"{a.prompt_tokens:,} in{f' ({inner})' if inner else ''}, "
            f"{a.completion_tokens:,} out{thought}; {a.tokens_from}",
        ))  # fmt: skip
        cost = None if a.cost_nano is None else a.cost_nano / 1e9
        source = {"provider": "the service's own", "recipe": "your price"}.get(a.price, a.price)
        facts.append(("cost", money(cost) + (f" ({source})" if source else "")))
    return facts
