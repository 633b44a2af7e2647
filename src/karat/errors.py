"""The whole error tree on one page.

    KaratError
    ├── RecipeError      the recipe, a file or an option is wrong; nothing was spent yet
    │   └── KeyMissingError  a key is not set, which nothing but a call needs
    ├── RowError         one row cannot go on; it is dropped with this reason, tried again next run
    ├── ProviderError    one call to a model failed; carries the HTTP status
    └── RunError         the run stops; running the same command again resumes it

Raised where the fault is seen, caught in two places only: the executor (RowError, ProviderError)
and the command line (all). All of them pickle, so that a worker on another machine can raise them,
and every message says what to do.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class KaratError(Exception):
    """Anything karat raises on purpose."""


class RecipeError(KaratError):
    """The recipe cannot run as written. Raised before anything is spent."""


class KeyMissingError(RecipeError):
    """The key of a model's service is not set: it can be planned with, and not be called."""


class RowError(KaratError):
    """One row cannot go on. The row is dropped with this reason and tried again on the next run."""


class RunError(KaratError):
    """The run cannot go on. What was paid for is kept; running again resumes."""


class ProviderError(KaratError):
    """One call failed.

    `kind` sorts it, once, where the provider's own words are read: `wait` (too many requests),
    `retry` (it may pass), `timeout`, `connection` (likewise; `unreachable` where nobody took it),
    `unreadable` (paid for, no answer in it), `broken` (off in the middle, with pieces of it already
    given out), `row` (this request is refused), `context` (it is too long), `content` (its content
    is refused), `model` (no request of ours will be answered: bad key, no credit, no such model).
    `status` is the HTTP status, 0 when no answer came.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        *,
        kind: str = "retry",
        unreachable: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.unreachable = unreachable
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        facts = (self.status, self.kind, self.unreachable, self.retry_after_s)
        return _provider_error, (str(self), *facts)


def _provider_error(
    message: str, status: int, kind: str, unreachable: bool, retry_after_s: float | None
) -> ProviderError:
    return ProviderError(
        message, status, kind=kind, unreachable=unreachable, retry_after_s=retry_after_s
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest right spelling, or the list of what exists."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"there is: {', '.join(names)}" if names else "there are none"
