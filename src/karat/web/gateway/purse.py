"""A purse: a budget of the gateway's, which says whose it is when it is empty.

A run's budget tells the person who set it what to raise. Whoever asks through a gateway did not set
it, and must not learn what others have spent. A purse's limit may change while calls are under way,
so what they reserve is counted whether there is a limit or not.
"""

from __future__ import annotations

from karat.ledger import NANO
from karat.models.budget import Budget, BudgetError

NO_LIMIT = 2**62  # billionths of a dollar


class QuotaError(BudgetError):
    """The call could cost more than what is left."""


class Purse(Budget):
    """`owner` is `the server`, or `key 'NAME'`."""

    def __init__(self, limit_usd: float | None, spent_nano: int, owner: str) -> None:
        super().__init__(None, spent_nano, f"the budget of {owner}")
        self.limited = False
        self.limit(limit_usd)

    def limit(self, limit_usd: float | None) -> None:
        """Sets what may be spent in all; None: no limit."""
        self.limited = limit_usd is not None
        self.limit_nano = NO_LIMIT if limit_usd is None else round(limit_usd * NANO)
        self._settled.set()  # who waits looks again

    async def reserve(self, worst_nano: int) -> None:
        """Waits as a budget does. Raises: QuotaError."""
        if not self.limited:
            self._reserved += worst_nano
            return
        try:
            await super().reserve(worst_nano)
        except BudgetError:
            raise QuotaError(
                f"{self.name} does not cover what this request could cost; ask for fewer tokens "
                "(max_tokens), or have the budget raised"
            ) from None
