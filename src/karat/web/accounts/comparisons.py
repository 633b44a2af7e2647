"""What `karat compare` has found, wherever below the folder of runs: its charts and its page.

A comparison is a file that may have been moved, edited or written by another karat; one that cannot
be read is left out rather than breaking the page of costs.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from karat.comparison.candidates import Comparison
from karat.journal.finding import DEPTH
from karat.report.frontier import NARROW, WIDE, charts, in_words
from karat.report.run_charts import Pair, drawn
from karat.visible import visible
from karat.web.accounts.ledgers import Ledgers
from karat.web.runs.files import is_inside
from karat.web.shelf import as_slug, name_of

FILE, PAGE = "compare.json", "compare.html"
INTERVALS = (
    "accepted_share", "quality", "quality_all", "cost_per_prompt", "cost_per_accepted", "seconds",
)  # fmt: skip
MOST = 20  # shown, the newest
MOST_BYTES = 8 * 2**20


class Compared(NamedTuple):
    """One comparison as the page shows it; `charts` are each of a wide and of a narrow window."""

    slug: str
    name: str
    page: Path
    file: Path
    when: float
    said: str
    charts: list[Pair]


def comparisons(books: Ledgers, root: Path) -> list[Compared]:
    """Those that can be read, the newest first."""
    found = []
    for slug, folder in sorted(_folders(root).items(), key=_when, reverse=True)[:MOST]:
        with suppress(OSError, ValueError, msgspec.MsgspecError, ArithmeticError, KeyError):
            file = folder / FILE
            said, pictures = books.kept(file, ("comparison", slug), partial(_drawn, slug, file))
            name = name_of(folder, root)
            when = file.stat().st_mtime
            found.append(
                Compared(slug, visible(name, 200), folder / PAGE, file, when, said, pictures)
            )
    return found


def _when(found: tuple[str, Path]) -> float:
    with suppress(OSError):
        return (found[1] / FILE).stat().st_mtime
    return 0.0


def _folders(root: Path) -> dict[str, Path]:
    """By slug. A link is followed nowhere: what a page hands out lies below the root."""
    found: dict[str, Path] = {}
    for depth in range(DEPTH + 1):
        for path in sorted(root.glob("/".join(["*"] * depth + [FILE]))):
            if is_inside(path, root):
                found[as_slug(name_of(path.parent, root), found)] = path.parent
    return found


def folder_of(root: Path, slug: str) -> Path | None:
    """The folder of a comparison that was found, None where there is none of that name."""
    return _folders(root).get(slug)


def _drawn(slug: str, file: Path) -> tuple[str, list[Pair]]:
    """What it recommends, and its charts against cost and time."""
    # Names are other people's, and a chart escapes them but shows what turns a line around.
    found = msgspec.convert(_cleaned(msgspec.to_builtins(read(file))), Comparison)
    told = in_words(found)
    wide, narrow = charts(found, WIDE), charts(found, NARROW)
    pictures = [
        (
            drawn(one, one.title, told, f"{slug}-wide{place}"),
            drawn(other, other.title, told, f"{slug}-narrow{place}"),
        )
        for place, (one, other) in enumerate(zip(wide, narrow, strict=True))
    ]
    return found.recommendation, pictures


def read(file: Path) -> Comparison:
    """compare.json as it was written. Raises: OSError, ValueError, msgspec.ValidationError."""
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"{file.name} is no comparison")
    return msgspec.convert(_open_ends(orjson.loads(file.read_bytes())), Comparison)


def lines(found: Comparison) -> list[dict[str, Any]]:
    """A line for each candidate, best first; an interval as three columns."""
    made = []
    for place, one in enumerate(found.candidates, 1):
        row: dict[str, Any] = {"comparison": found.name, "by": found.by, "place": place}
        for name, value in msgspec.to_builtins(one).items():
            if name in INTERVALS:
                ends = value or {}
                row |= {f"{name}{end and '_'}{end}": _number(ends.get(end or "value"))
                        for end in ("", "low", "high")}  # fmt: skip
            else:
                row[name] = value
        made.append(row)
    return made


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _open_ends(value: Any) -> Any:
    """JSON has no infinity: an end of an interval that is null is open."""
    if isinstance(value, list):
        return [_open_ends(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"value", "low", "high"}:
        ends = {"value": math.inf, "low": -math.inf, "high": math.inf}
        return {key: ends[key] if end is None else end for key, end in value.items()}
    return {key: _open_ends(one) for key, one in value.items()}


def _cleaned(value: Any) -> Any:
    """The same with texts that can be looked at."""
    if isinstance(value, str):
        return visible(value, 1000)
    if isinstance(value, list | tuple):
        return [_cleaned(one) for one in value]
    return {k: _cleaned(v) for k, v in value.items()} if isinstance(value, dict) else value
