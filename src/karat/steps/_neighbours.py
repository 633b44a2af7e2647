"""Neighbouring records of a file that answer one prompt: told apart from accident, and joined."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

from karat.context import Context
from karat.row import Row
from karat.steps._shapes import Parts

NEIGHBOURS = 0.25  # of records that share the prompt of the one before: no accident


def alike(found: Iterator[Parts | Row], ctx: Context) -> Generator[Parts | Row]:
    """The same, with a warning where many records answer the prompt of the one before: what
    compares answers to one prompt would find one in each row, and keep them all."""
    count = twins = 0
    before: Parts | None = None
    try:
        for parts in found:
            if isinstance(parts, Parts):
                twin = before is not None and parts.responses and before.messages == parts.messages
                twins += bool(twin)
                count += 1
                before = parts
            yield parts
    finally:
        if count and twins >= NEIGHBOURS * count:
            ctx.warn(
                f"{twins:,} of {count:,} rows answer the prompt of the row before; `group: true` "
                "puts the answers to one prompt in one row"
            )


def grouped(found: Iterator[Parts | Row], made: Callable[[Parts], Row]) -> Iterator[Row]:
    """Neighbours with the same prompt as one row. A broken line between them does not part them."""
    held: list[Parts] = []
    for parts in found:
        if isinstance(parts, Row):
            yield parts
        elif held and held[0].messages == parts.messages:
            held.append(parts)
        else:
            if held:
                yield made(_merged(held))
            held = [parts]
    if held:
        yield made(_merged(held))


def _merged(held: list[Parts]) -> Parts:
    if len(held) == 1:
        return held[0]
    responses = [response for parts in held for response in parts.responses]
    for index, response in enumerate(responses):
        response.index = index
    meta: dict[str, Any] = {}
    for key in dict.fromkeys(key for parts in held for key in parts.meta):
        values = [parts.meta.get(key) for parts in held]
        meta[key] = values[0] if all(value == values[0] for value in values) else values
    return Parts(held[0].messages, responses, meta, held[0].source)
