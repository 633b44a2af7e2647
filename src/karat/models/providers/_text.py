"""What every wire format's reader asks of a value that must be text."""

from __future__ import annotations


def text(value: object) -> str:
    """Raises: TypeError for anything but text."""
    if not isinstance(value, str):
        raise TypeError("not text")
    return value
