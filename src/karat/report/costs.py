"""The table of `karat cost`: what was asked, what came of it, what it cost."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.costs import Costs, Line, time_zone
from karat.ledger import NANO
from karat.report.cells import LINE, clean, money

EXACT_BELOW = 100_000
UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "K"))
HEADINGS = (
    "calls", "failed\nattempts", "answers", "replayed\n(gateway)", "tokens in\n(cached)",
    "out\n(reasoning)", "cost", "share", "p50 s\n(first)", "p95", "p99",
)  # fmt: skip


def cost_table(found: Costs) -> RenderableType:
    """All lines, the total, and a word on what the figures leave out."""
    parts: list[RenderableType] = []
    if found.lines:
        parts += [_table(found), Text()]
    else:
        parts.append(Text("no call was made" + _since(found)))
    runs = len(found.runs)
    parts.append(Text(f"{runs} run{'' if runs == 1 else 's'}{_since(found)}"))
    if found.by == "day" or found.since is not None:
        parts.append(Text(f"days begin at midnight, {time_zone()}"))
    total = found.total
    if total.replayed:
        parts.append(Text("replayed: answers found in the journal, not bought again"))
    if total.cache_hits:
        parts.append(Text("(gateway): of these, by the gateway's cache"))
    if total.firsts:
        parts.append(Text("(first): seconds until the first token, where the service streams"))
    if total.unpriced:
        parts.append(
            Text(
                f"unknown: {total.unpriced:,} calls of models without a price; add "
                "price: {input: …, output: …} to the model"
            )
        )
    if total.estimated:
        parts.append(Text("~: the service did not report all tokens; they are estimated"))
    parts += [clean(f"warning: {warning}", 10 * LINE, "yellow") for warning in found.warnings]
    return Group(*parts)


def _since(found: Costs) -> str:
    return "" if found.since is None else f" since {found.since.isoformat()}"


def _table(found: Costs) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(found.by, overflow="fold", vertical="top")
    for heading in HEADINGS:
        # A figure broken over two lines reads as another figure.
        table.add_column(heading, justify="right", no_wrap=True, overflow="crop")
    for line in found.lines:
        table.add_row(clean(line.name or "(none)", LINE), *_cells(line, found.total))
    if len(found.lines) > 1:
        table.add_section()
        table.add_row("total", *_cells(found.total, found.total), style="bold")
    return table


def _cells(line: Line, total: Line) -> list[str]:
    about = "~" if line.estimated else ""
    return [
        short(line.calls),
        short(line.failed),
        short(line.answers),
        _of("", line.replayed, line.cache_hits, "\n"),
        _of(about, line.prompt_tokens, line.cached_tokens),
        _of(about, line.completion_tokens, line.reasoning_tokens),
        cost_text(line),
        f"{line.cost_nano / total.cost_nano:.0%}" if total.cost_nano else "–",
        *(_times(line, share) for share in (0.5, 0.95, 0.99)),
    ]


def cost_text(line: Line) -> str:
    """Dollars; what nobody knows the price of is said, never counted as 0."""
    if not line.unpriced:
        return money(line.cost_nano / NANO)
    return f"{money(line.cost_nano / NANO)} + unknown" if line.cost_nano else "unknown"


def short(count: int) -> str:
    """A count in three digits where it is long: 99,999, then 100K, 1.23M."""
    if count < EXACT_BELOW:
        return f"{count:,}"
    for size, unit in UNITS:
        rounded = float(f"{count:.3g}") / size
        if rounded >= 1:
            return f"{rounded:.{2 if rounded < 10 else 1 if rounded < 100 else 0}f}{unit}"
    raise AssertionError(count)


def _of(about: str, whole: int, part: int, between: str = " ") -> str:
    return f"{about}{short(whole)}" + (f"{between}({short(part)})" if part else "")


def _times(line: Line, share: float) -> str:
    """A quantile of the whole answer, and below it of the first token."""
    first = line.ttft_ms(share)
    return _seconds(line.latency_ms(share)) + ("" if first is None else f"\n({_seconds(first)})")


def _seconds(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "–"
    seconds = milliseconds / 1000
    digits = ",.0f" if seconds >= 10 else ".1f" if seconds >= 1 else ".2g"
    return f"{seconds:{digits}}"
