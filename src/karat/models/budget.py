"""The budget: money is reserved before a call and settled after it, so it cannot be overdrawn.

A reservation is the worst case (all of max_tokens for every sample). Where worst cases under way
would cross the limit, a call waits for them to settle; only one that could cross it alone stops the
run.
"""

from __future__ import annotations

import asyncio

from karat.errors import RunError
from karat.ledger import NANO


class BudgetError(RunError):
    """The next call could cross the limit."""


class Budget:
    """What was spent, in billionths of a dollar, and what may be (None: no limit)."""

    def __init__(
        self, limit_usd: float | None, spent_nano: int = 0, name: str = "the budget"
    ) -> None:
        self.limit_nano = None if limit_usd is None else round(limit_usd * NANO)
        self.spent_nano = spent_nano
        self.name = name
        self._reserved = 0
        self._settled = asyncio.Event()

    async def reserve(self, worst_nano: int) -> None:
        """Waits until the call cannot cross the limit. Raises: BudgetError when it always could."""
        if self.limit_nano is None:
            return
        while self.spent_nano + self._reserved + worst_nano > self.limit_nano:
            if self._reserved == 0:
                raise crossed(self.name, self.limit_nano, self.spent_nano, worst_nano)
            self._settled.clear()
            await self._settled.wait()
        self._reserved += worst_nano

    def settle(self, reserved_nano: int, cost_nano: int) -> None:
        """Gives back a reservation and books what the call really cost."""
        if self.limit_nano is not None:
            self._reserved -= reserved_nano
            self._settled.set()
        self.spent_nano += cost_nano


def crossed(name: str, limit_nano: int, spent_nano: int, worst_nano: int) -> BudgetError:
    """What is raised where a call could cross a limit whatever comes back."""
    return BudgetError(
        f"{name} of ${limit_nano / NANO:g} would be crossed: ${spent_nano / NANO:.4f} spent, and "
        f"the next call could cost ${worst_nano / NANO:.4f}. Everything paid for is kept; raise "
        "budget_usd and run again to go on"
    )
