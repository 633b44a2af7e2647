"""Counts as one says them: one minute, two minutes."""

from __future__ import annotations


def count(number: float, noun: str) -> str:
    """`1 minute`, `2 minutes`, `1.5 epochs`."""
    said = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{said} {noun}" if number == 1 else f"{said} {noun}s"
