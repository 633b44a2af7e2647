"""Addresses of this server's pages: how they are written, and how what stands in one is read.

Every page writes them here, so that a name with a slash or a question mark leads where it should
from each of them; and one that asks for what is not there is told so in one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, urlencode

from starlette.datastructures import QueryParams

from karat.errors import RecipeError, did_you_mean

SHOWN = 40  # characters of what an address says, in an error


def query(**asked: object) -> str:
    """`?…` of what is asked, in this order; nothing of what is None or empty."""
    given = {name: value for name, value in asked.items() if value not in (None, "")}
    return f"?{urlencode(given, errors='replace')}" if given else ""


def quoted(part: str) -> str:
    """One part of a path, whatever is in it."""
    return quote(part, safe="", errors="replace")


def run_page(slug: str, part: str = "", **asked: object) -> str:
    """A page of a run; `part` begins with a slash."""
    return f"/run/{quote(slug)}{part}{query(**asked)}"


def row_page(slug: str, identity: str, **asked: object) -> str:
    """The page of one row of a run, by the row's id."""
    return run_page(slug, f"/row/{quoted(identity)}", **asked)


def calls_page(**asked: object) -> str:
    """The list of calls with a filter; see `karat.web.accounts.calls.Asked`."""
    return f"/models/calls{query(**asked)}"


def given(params: QueryParams, known: Sequence[str]) -> dict[str, str]:
    """What an address asks, without what is empty. Raises: RecipeError for a name not `known`."""
    found = {name: value for name, value in params.items() if value}
    for name in found:
        if name not in known:
            near = did_you_mean(name[:SHOWN], known)
            raise RecipeError(f"there is no '{name[:SHOWN]}' here; {near}")
    return found


def whole(text: str, name: str, most: int) -> int:
    """A number from 1 on. Raises: RecipeError."""
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        raise RecipeError(
            f"'{name}' must be a whole number from 1 to {most:,}, not '{text[:SHOWN]}'"
        )
    return int(text)
