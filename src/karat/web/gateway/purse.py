"""A purse: a budget of the gateway's, which says whose it is when it is empty.

A run's budget tells the person who set it what to raise. Whoever asks through a gateway did not set
it, and must not learn what others have spent. A purse's limit may change while calls are under way,
so what they reserve is counted whether there is a limit or not. Where several gateways spend from
it, each is told what the others did, and asks for it where little is left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from karat.ledger import NANO
from karat.models.budget import Budget, BudgetError

NO_LIMIT = 2**62  # billionths of a dollar
NEAR = 0.05  # of a limit


class QuotaError(BudgetError):
    """The call could cost more than what is left."""


class Purse(Budget):
    """`owner` is `the server`, or `key 'NAME'`. `look` has it told what others have spent by now,
    through `hear`; None where nobody else spends from it."""

    def __init__(self, limit_usd: float | None, spent_nano: int, owner: str) -> None:
        super().__init__(None, spent_nano, f"the budget of {owner}")
        self.limited = False
        self.look: Callable[[], Awaitable[None]] | None = None
        self._others: int | None = None  # what they have spent, once it was told
        self.limit(limit_usd)

    def limit(self, limit_usd: float | None) -> None:
        """Sets what may be spent in all; None: no limit."""
        self.limited = limit_usd is not None
        self.limit_nano = NO_LIMIT if limit_usd is None else round(limit_usd * NANO)
        self._settled.set()  # who waits looks again

    def hear(self, every: int, others: int) -> None:
        """What the ledger holds by now: spent by all, and by all but this process, which counts its
        own as it goes."""
        if self._others is None:
            self.spent_nano = max(self.spent_nano, every)
        else:
            self.spent_nano += max(0, others - self._others)
        self._others = others

    async def reserve(self, worst_nano: int) -> None:
        """Waits as a budget does. Raises: QuotaError; RunError where others spend from it, too, and
        what they did cannot be looked up."""
        if not self.limited:
            self._reserved += worst_nano
            return
        if self.look is not None and (self._others is None or self._is_near(worst_nano)):
            await self.look()
        try:
            await super().reserve(worst_nano)
        except BudgetError:
            raise QuotaError(
                f"{self.name} does not cover what this request could cost; ask for fewer tokens "
                "(max_tokens), or have the budget raised"
            ) from None

    def _is_near(self, worst_nano: int) -> bool:
        """Whether so little is left that the last second matters; not where it is over anyway."""
        limit = self.limit_nano or 0
        if self.spent_nano + worst_nano > limit:
            return False
        return limit - self.spent_nano - self._reserved - worst_nano < NEAR * limit
