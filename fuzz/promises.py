"""What every target checks: types as they are stated, numbers as JSON has them, errors by name.

A parser's answer is handed on as its type says, so a value of another type is a crash put off: it
comes where the row is written, far from the bytes that brought it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import msgspec

from karat.errors import ProviderError

T = TypeVar("T")
KINDS = frozenset(
    ("wait", "retry", "timeout", "connection", "unreadable", "broken", "row", "context", "content",
     "model")
)  # fmt: skip


class BrokenPromiseError(AssertionError):
    """What a target raises where it has found something."""


def promise(kept: bool, words: str) -> None:
    """Raises: BrokenPromiseError; unlike `assert`, under `python -O` too."""
    if not kept:
        raise BrokenPromiseError(words)


def named(call: Callable[[], T], *errors: type[Exception]) -> T | None:
    """What the call gives; None where it raises one of the errors its docstring names."""
    try:
        return call()
    except errors as error:
        if isinstance(error, ProviderError):
            promise(error.kind in KINDS, f"an error of kind {error.kind!r}")
        return None


def typed(value: T, kind: Any) -> T:
    """The value, whose fields all hold what their types say."""
    try:
        msgspec.convert(msgspec.to_builtins(value), kind)
    except (msgspec.ValidationError, TypeError, OverflowError) as error:
        raise BrokenPromiseError(f"{type(value).__name__} of the wrong type: {error}") from None
    return value


def finite(value: Any) -> None:
    """No NaN and no infinity in it, at any depth: JSON has neither."""
    if isinstance(value, float):
        promise(math.isfinite(value), f"a number that JSON has not: {value}")
    elif isinstance(value, dict):
        for item in value.values():
            finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            finite(item)


def done(waiting: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing: what it asks is answered at once."""
    try:
        waiting.send(None)
    except StopIteration as ended:
        found: T = ended.value
        return found
    waiting.close()
    raise BrokenPromiseError("it waits for something")


def each(found: AsyncIterator[T]) -> Iterator[T]:
    """The items of an asynchronous iterator that waits for nothing."""
    while True:
        try:
            yield done(found.__anext__())  # type: ignore[arg-type]
        except StopAsyncIteration:
            return


def text_of(data: bytes) -> str:
    """Bytes as a text a model may have written: half a surrogate pair can be in it."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")
