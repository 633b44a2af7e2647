"""Awaiting several things so that none is left behind.

asyncio.gather raises at the first error while the others go on unwatched; what they buy would be
paid for and never recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from karat.errors import RunError

T = TypeVar("T")


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order, once all have ended. Raises the first error, a RunError before others.

    A single one is awaited in place, which spares a task for each row.
    """
    if len(work) == 1:
        return [await work[0]]
    done = await asyncio.gather(*work, return_exceptions=True)
    errors = [d for d in done if isinstance(d, BaseException)]
    if errors:
        raise next((e for e in errors if isinstance(e, RunError)), errors[0])
    return [d for d in done if not isinstance(d, BaseException)]
