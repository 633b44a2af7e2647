"""The budget: money is reserved before a call and settled after it, so it cannot be overdrawn.

A reservation is the worst case (all of max_tokens for every sample); while many calls are under
way, karat may therefore stop a little early, never late.
"""

from __future__ import annotations

from karat.errors import RunError

NANO = 1_000_000_000


class Budget:
    """What a run has spent, in billionths of a dollar, and what it may spend (None: no limit)."""

    def __init__(self, limit_usd: float | None, spent_nano: int = 0) -> None:
        self.limit_nano = None if limit_usd is None else round(limit_usd * NANO)
        self.spent_nano = spent_nano
        self._reserved = 0

    def reserve(self, worst_nano: int) -> None:
        """Raises: RunError when the call could cross the limit."""
        if self.limit_nano is not None:
            if self.spent_nano + self._reserved + worst_nano > self.limit_nano:
                raise RunError(
                    f"the budget of ${self.limit_nano / NANO:g} would be crossed: "
                    f"${self.spent_nano / NANO:.4f} spent, ${self._reserved / NANO:.4f} under way. "
                    "Everything paid for is kept; raise budget_usd and run again to go on"
                )
            self._reserved += worst_nano

    def settle(self, reserved_nano: int, cost_nano: int) -> None:
        """Gives back a reservation and books what the call really cost."""
        if self.limit_nano is not None:
            self._reserved -= reserved_nano
        self.spent_nano += cost_nano
