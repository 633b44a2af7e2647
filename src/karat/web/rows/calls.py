"""Every call that made one row: what was asked of whom, how it went, and what it cost.

A row names the calls that wrote it by their keys. Those that judged it, failed or were tried again
name the row, and a journal of millions has no index for that; calls of one row are close in time,
so they are looked for from its first one on, for a bounded time, and a page says if it ran out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec
import orjson

from karat.errors import RunError
from karat.journal import LOOK_S, Address, LateError, Look, looking, told
from karat.ledger import NANO

AT_ONCE = 500  # keys of one query
MOST_BODY = 20_000  # characters of a request or an answer that are read
MOST_CALLS = 2000
_CALLS = (
    f"SELECT key, attempt, sample, substr(content, 1, {MOST_BODY}), finish_reason, "
    "prompt_tokens, completion_tokens, cost_nano, kind, model, step, row, started, rowid FROM calls"
)
_ATTEMPTS = (
    "SELECT id, kind, role, model, served, step, row, started, try_number, samples, queue_ms, "
    "ttft_ms, latency_ms, status, outcome, error, message, prompt_tokens, cached_tokens, "
    f"completion_tokens, reasoning_tokens, tokens_from, cost_nano, price, "
    f"substr(body, 1, {MOST_BODY}), length(body) FROM attempts"
)


class Answer(msgspec.Struct):
    """One answer and its share of the request's tokens and cost. `wrote`: what of the row it is."""

    key: str
    sample: int
    content: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    wrote: str = ""


class Call(msgspec.Struct):
    """One request on the wire, with those of its answers that are of the row. `row` is the id it
    was asked for: a parent's where the row was made of another one. `seed` is the one that was
    sent; samples count upwards from it. `turns` are (role, text) of what was asked, `body` the
    rest of the request, or all of one that is too long to be read here, cut."""

    id: int
    kind: str
    role: str
    model: str
    served: str
    step: str
    row: str
    started: float
    try_number: int = 0
    samples: int = 1
    queue_ms: float = 0.0
    ttft_ms: float | None = None
    latency_ms: float = 0.0
    status: int = 200
    outcome: str = "answered"
    error: str = ""
    message: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    tokens_from: str = ""
    cost_usd: float | None = 0.0
    price: str = ""
    body: str = ""
    turns: list[tuple[str, str]] = []
    seed: int | None = None
    answers: list[Answer] = []


class Ledger(msgspec.Struct):
    """The calls of one row, in time. `whole`: no more calls can name it; `missing` keys are in no
    journal here; `why` says why the journal could not be read."""

    calls: list[Call] = []
    whole: bool = True
    missing: int = 0
    why: str = ""

    @property
    def cost_usd(self) -> float | None:
        """What all of it cost, the row's share of each request; None where a price is unknown."""
        costs = [a.cost_usd for call in self.calls for a in call.answers]
        costs += [call.cost_usd for call in self.calls if call.outcome != "answered"]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None


def ledger(journal: Address, wrote: dict[str, str], row: str, look_s: float) -> Ledger:
    """The calls of a row. `wrote`: what each key of it made, such as `prompt` or `response 2`;
    `look_s`: how long to look for those that name the row."""
    try:
        with looking(journal) as look:
            if look is not None:
                return _read(look, wrote, row, look_s)
    except RunError as error:
        # Where the folder lies is nobody's business who only sees pages.
        said = told(error, journal, getattr(journal, "name", "the run"))
        return Ledger(missing=len(wrote), why=f"The journal cannot be read: {said}")
    return Ledger(missing=len(wrote), why="The run has no journal beside it" if wrote else "")


def _read(look: Look, wrote: dict[str, str], row: str, look_s: float) -> Ledger:
    keys = [key for key in wrote if _is_key(key)][:MOST_CALLS]
    records = _in(look, f"{_CALLS} WHERE key IN", [bytes.fromhex(key) for key in keys])
    attempts = {a[0]: a for a in _in(look, f"{_ATTEMPTS} WHERE id IN", {r[1] for r in records})}
    until = time.monotonic() + look_s
    first_id, first_row = (min((r[at] for r in records), default=0) for at in (1, -1))
    more, whole_attempts = _naming(look, _ATTEMPTS, "id", row, first_id, until)
    others, whole_calls = _naming(look, _CALLS, "rowid", row, first_row, until)
    attempts |= {a[0]: a for a in more}
    known = {r[0] for r in records}
    records += [r for r in others if r[0] not in known]
    lost = {r[1] for r in records} - set(attempts)
    attempts |= {a[0]: a for a in _in(look, f"{_ATTEMPTS} WHERE id IN", lost)}
    found = _joined(records, attempts, {key.lower(): what for key, what in wrote.items()})
    return Ledger(found, whole_attempts and whole_calls, len(wrote) - len(known))


def _is_key(key: str) -> bool:
    try:
        return bool(bytes.fromhex(key))
    except ValueError:
        return False


def _in(look: Look, sql: str, values: Iterable[Any]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    wanted = iter(values)
    while some := list(islice(wanted, AT_ONCE)):
        found += look.rows(f"{sql} ({', '.join('?' * len(some))})", *some)
    return found


def _naming(
    look: Look, sql: str, order: str, row: str, first: int, until: float
) -> tuple[list[tuple[Any, ...]], bool]:
    """What names the row, from `first` on and then before it, and whether all was looked at."""
    found: list[tuple[Any, ...]] = []
    look.end_at(until)
    try:
        for way in (">=", "<"):
            asked = look.rows(f"{sql} WHERE row = ? AND {order} {way} ?", row, first)
            for line in asked:
                found.append(line)
                if len(found) >= MOST_CALLS:
                    return found, False
    except LateError:
        return found, False
    finally:
        look.end_at(time.monotonic() + LOOK_S)
    return found, True


def _joined(
    records: Sequence[tuple[Any, ...]], attempts: dict[int, tuple[Any, ...]], wrote: dict[str, str]
) -> list[Call]:
    """Requests with their answers. An answer whose request is not there stands as one itself."""
    calls = {number: _call(line) for number, line in attempts.items()}
    for key, attempt, sample, content, finish, ins, outs, nano, *rest, _ in records:
        kind, model, step, row, started = rest
        answer = Answer(
            key.hex(), sample, _text(content), finish, ins, outs,
            None if nano is None else nano / NANO, wrote.get(key.hex(), ""),
        )  # fmt: skip
        if attempt not in calls:
            calls[attempt] = Call(attempt, kind, "", model, "", step, row, started, answers=[])
        calls[attempt].answers.append(answer)
    for call in calls.values():
        call.answers.sort(key=lambda answer: answer.sample)
    return sorted(calls.values(), key=lambda call: (call.started, call.id))


def _call(line: tuple[Any, ...]) -> Call:
    *facts, nano, price, body, length = line
    seed, turns, rest = _asked(body or "", length or 0)
    known: dict[str, Any] = dict(zip(Call.__struct_fields__, facts, strict=False))
    cost = None if nano is None else nano / NANO
    return Call(
        **known, cost_usd=cost, price=price or "", body=rest, turns=turns, seed=seed, answers=[]
    )


def _asked(body: str, length: int) -> tuple[int | None, list[tuple[str, str]], str]:
    """(seed, turns, the rest) of a request."""
    try:
        tree = orjson.loads(body) if length <= MOST_BODY else None
    except ValueError:
        tree = None
    if not isinstance(tree, dict):
        return None, [], body
    listed = tree.pop("messages", [])
    turns = [
        (str(turn.get("role", "")), _words(turn.get("content")))
        for turn in (listed if isinstance(listed, list) else [])
        if isinstance(turn, dict)
    ]
    seed = tree.get("seed")
    return seed if isinstance(seed, int) else None, turns, orjson.dumps(tree).decode()


def _words(content: Any) -> str:
    return content if isinstance(content, str) else orjson.dumps(content).decode()


def _text(content: str | bytes) -> str:
    """An answer as text; embeddings are bytes, and say nothing to a person."""
    if isinstance(content, str):
        return content
    return f"{len(content):,} bytes"
