"""The models that can be reached from this machine, and which of them somebody may have meant.

They are looked up at most once a minute: servers here are asked, hosted ones are not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from karat import reachable
from karat.errors import did_you_mean

KEPT_S = 60.0
MOST = 8  # names that an error lists; with a service's key there are thousands


class Listing:
    """The models that can be reached, remembered for a while."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._at: float | None = None
        self._looking = asyncio.Lock()

    async def names(self) -> list[str]:
        """Names as provider/name. Raises: RecipeError for a config.toml that cannot be read."""
        async with self._looking:
            now = time.monotonic()
            if self._at is None or now - self._at > KEPT_S:
                self._found = await asyncio.to_thread(_reached)
                self._at = now
            return self._found


def _reached() -> list[str]:
    """Raises: RecipeError."""
    services = [one for one in reachable.reach() if one.ready]
    return [known.model for known in reachable.find_models("", services) if known.ready]


def instead(name: str, known: Sequence[str]) -> str:
    """What to write in place of a name that is none of these: the end of an error message."""
    parts = sorted((one for one in known if name and name.lower() in one.lower()), key=len)
    if parts:
        return f"did you mean '{parts[0]}'?"
    said = did_you_mean(name, known)
    if len(known) > MOST and said.startswith("there is"):
        some = ", ".join(known[:MOST])
        return f"there is: {some} and {len(known) - MOST:,} more, which /v1/models lists"
    return said if known else "there are none that you may use"
