"""One table of all that was measured, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

HEAD = ("work", "tool", "CPU s", "× karat", "wall s", "in flight", "MB", "what came of it")


def table(records: list[dict[str, Any]]) -> str:
    """The records as a Markdown table, a line each, in the order given."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(_cells(record)) + " |" for record in records]
    return "\n".join(lines) + "\n"


def _cells(record: dict[str, Any]) -> list[str]:
    name = " ".join(filter(None, (record["tool"], record.get("version"))))
    setting = record.get("setting")
    said = [record.get("result"), f"**{record['failure']}**" if record["failure"] else None]
    return [
        record["work"],
        f"{name}, {setting}" if setting else name,
        _figure(record, "cpu_s", _three_digits),
        _ratio(record.get("over_karat") or []),
        _figure(record, "wall_s", _three_digits),
        _figure(record, "peak", "{:.0f}".format),
        _figure(record, "mb", "{:,.0f}".format),
        "; ".join(filter(None, said)).replace("|", "/"),
    ]


def _figure(record: dict[str, Any], key: str, form: Callable[[float], str]) -> str:
    return form(record[key]) if record.get(key) is not None and not record["failure"] else "–"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _ratio(over: list[float]) -> str:
    if not over:
        return "–"
    middle = _three_digits(statistics.median(over))
    return middle if len(over) == 1 else f"{middle} ({min(over):.2f}–{max(over):.2f})"
