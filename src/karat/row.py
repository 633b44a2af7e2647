"""Message, Response, Row: one prompt with its n responses, the unit of everything.

A row is the unit of work, seeding, resumption and provenance. Its id comes from its content, never
from its position, so that inserting a line at the top of an input file re-seeds and re-buys nothing
below it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from types import CodeType
from typing import Any

import msgspec
import orjson

SEED_RANGE = 2**31 - 1  # what every provider's `seed` field takes
SPLITS = ("train", "validation", "test")  # what `meta.split` of a row may say


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


class Response(msgspec.Struct):
    """One candidate answer to a row's prompt.

    `scores` maps `reward.attribute` to a value on that reward's own scale. `call` is the hex key of
    the journal record that paid for the text, empty where the text was given. `kept` is None until
    a step has chosen.
    """

    content: str
    model: str = ""
    index: int = 0
    finish_reason: str = ""
    call: str = ""
    scores: dict[str, float] = {}
    kept: bool | None = None

    def __repr__(self) -> str:
        from karat.display import shown

        marks = {True: ", kept", False: ", not kept", None: ""}
        scores = "".join(f", {shown.line(k)} {shown.score(v)}" for k, v in self.scores.items())
        by = f" by {shown.line(self.model)}" if self.model else ""
        return f"<response '{shown.line(self.content)}'{by}{scores}{marks[self.kept]}>"


class Row(msgspec.Struct):
    """One prompt and its candidate responses.

    `messages` is the conversation up to the turn to be answered. `source` says who wrote the
    prompt: `synthetic`, `human`, or `given` where a file did not say. `meta` holds JSON values
    (topic, task, persona, licence, a user's own fields). `calls` are journal keys of what made the
    prompt. A dropped row keeps travelling with its reason; `failed` marks those whose calls failed,
    which the next run tries again.
    """

    id: str
    messages: list[Message] = []
    responses: list[Response] = []
    source: str = "synthetic"
    meta: dict[str, Any] = {}
    calls: list[str] = []
    dropped: str | None = None
    failed: bool = False

    @property
    def prompt(self) -> str:
        """The text of the last user turn: what the row asks."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.content
        return self.messages[-1].content if self.messages else ""

    def kept(self) -> list[Response]:
        """The responses a step chose, or all of them where none has chosen yet."""
        if all(response.kept is None for response in self.responses):
            return self.responses
        return [response for response in self.responses if response.kept]

    def __repr__(self) -> str:
        from karat.display import shown

        said = [f"'{shown.line(self.prompt)}'", shown.count(len(self.responses), "response")]
        if any(response.kept is not None for response in self.responses):
            said.append(f"{len(self.kept()):,} kept")
        if self.dropped is not None:
            said.append(f"dropped: {shown.line(self.dropped)}")
        return f"<row {shown.line(self.id)}: {', '.join(said)}>"

    def _repr_html_(self) -> str:
        from karat.display.row import row_parts  # what a notebook alone needs

        return row_parts(self)


def canonical(value: object) -> bytes:
    """The bytes that stand for a value in every key: JSON with sorted keys.

    Raises: TypeError for a value that is not JSON; ValueError for NaN or an infinity in it.
    """
    found = _json(value)
    # orjson writes them as null, so only a value that holds a null needs a second look.
    if b"null" in found and not is_finite(value):
        raise ValueError("numbers must be finite")
    return found


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def is_finite(value: object) -> bool:
    """Whether no number in it, at any depth, is NaN or infinite."""
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return all(is_finite(key) and is_finite(item) for key, item in value.items())
    return not isinstance(value, list | tuple) or all(map(is_finite, value))


def digest(*parts: bytes | str, size: int = 16) -> bytes:
    """blake2b over length-prefixed parts, so that ("ab", "c") and ("a", "bc") differ."""
    state = blake2b(digest_size=size)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.digest()


def source_digest(function: Callable[..., Any], shared: Iterable[bytes] | None = None) -> bytes:
    """A digest of what a function is written in: its file and the text of those it may share.

    Without `shared` those are the other modules in the same folder. Of a function that has no file
    (typed at a prompt or in a notebook) it is the text, or else the compiled code.
    """
    try:
        file = Path(inspect.getfile(function))
        parts = [file.read_bytes()]
    except (OSError, TypeError):
        try:
            return digest(inspect.getsource(function))
        except (OSError, TypeError):
            return _code_digest(function.__code__)
    if shared is not None:
        return digest(*parts, *shared)
    for path in sorted(file.parent.glob("*.py")):
        if path.name != file.name:
            with suppress(OSError):  # one that cannot be read cannot be imported either
                parts.append(path.read_bytes())
    return digest(*parts)


def _code_digest(value: object) -> bytes:
    """Of compiled code and its constants: the same in every process, unlike their repr."""
    if isinstance(value, CodeType):
        names = (value.co_names, value.co_varnames)
        return digest(value.co_code, repr(names), *map(_code_digest, value.co_consts))
    if isinstance(value, frozenset):
        return digest("frozenset", *sorted(map(_code_digest, value)))
    if isinstance(value, tuple):
        return digest("tuple", *map(_code_digest, value))
    return digest(repr(value))


def row_id(messages: list[Message], meta: dict[str, Any], parent: str = "", copy: int = 0) -> str:
    """A row's id: 16 hex digits of its content, its parent's id, and its number among equals."""
    # A row's meta is the user's: NaN in it is null, as in the files, and no reason to stop.
    body = _json([[(m.role, m.content) for m in messages], meta])
    return digest(body, parent, str(copy), size=8).hex()


def derive_seed(run_seed: int, step: str, row: str, index: int = 0) -> int:
    """The seed of one sample: a function of what is asked, never of when or where it runs."""
    key = digest(str(run_seed), step, row, str(index), size=8)
    return int.from_bytes(key, "little") % SEED_RANGE


class Ids:
    """Numbers equal rows, so that a repeated prompt gets an id of its own. About 70 bytes a row."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._copies: dict[int, int] = {}

    def assign(self, messages: list[Message], meta: dict[str, Any], parent: str = "") -> str:
        """The id of the next row with this content under this parent."""
        first = row_id(messages, meta, parent)
        number = int(first, 16)
        if number not in self._seen:
            self._seen.add(number)
            return first
        copy = self._copies[number] = self._copies.get(number, 0) + 1
        return row_id(messages, meta, parent, copy)
