"""Several calls at once, none left behind.

A call under way is paid for. asyncio.gather raises at the first error while the others go on
unwatched; here the others may finish, so that what they cost is in the journal before the row is
dropped or the run stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from karat.errors import ProviderError, RowError, RunError

T = TypeVar("T")


async def all_of(calls: Iterable[Awaitable[T]]) -> list[T]:
    """What each call gives, in order; when some raise, the gravest error once all have ended.

    What stops the run is graver than what drops a row.
    """
    calls = list(calls)
    if len(calls) == 1:  # a task of its own would tell of a failure a few calls later
        return [await calls[0]]
    done = await asyncio.gather(*calls, return_exceptions=True)
    errors = [outcome for outcome in done if isinstance(outcome, BaseException)]
    if errors:
        raise min(errors, key=_rank)
    return [outcome for outcome in done if not isinstance(outcome, BaseException)]


def _rank(error: BaseException) -> int:
    if isinstance(error, RunError):
        return 0
    return 2 if isinstance(error, RowError | ProviderError) else 1
