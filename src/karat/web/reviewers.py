"""What the page Review sends and takes: a row to judge, what was said of it, how far one has got.

A row is sent blind. Who wrote an answer and how it was graded is told only after its reviewer has
judged it, and only where he asks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from statistics import median
from typing import Annotated, Any, Literal

import msgspec
from starlette.exceptions import HTTPException

from karat.errors import RecipeError
from karat.reviewing import lines
from karat.reviewing.agreement import Line, between, with_reward
from karat.reviewing.bench import SEED, Bench
from karat.reviewing.queue import Item, Mode, Name, Queue, seen_by
from karat.reviewing.store import Said, withdrawal
from karat.rewards.review_lines import COMPARISON, EDIT, RATING, SKIP
from karat.row import Response
from karat.rundir import Run

MOST_SHOWN = 100_000  # characters of one text: what is cut cannot be edited
MOST_BENCHES = 8
PACE_ROWS = 20
FEWEST = 5  # answers rated, from which on figures are shown
Answers = Annotated[int, msgspec.Meta(ge=1, le=8)]


class Session(msgspec.Struct, kw_only=True):
    """Who reviews, what, and in which order."""

    reviewer: str
    mode: Mode = "rate"
    queue: Name = "uncertainty"
    answers: Answers = 2


class Word(Session):
    """One thing a reviewer says. `keys` name the answers, in the order in which they stood."""

    kind: Literal["rating", "comparison", "skip"]
    row: str
    keys: list[str] = []
    values: dict[str, int] = {}
    strength: int = 0
    both_bad: bool = False
    comment: str = ""
    edited: str | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    reveal: bool = False


class Benches:
    """The runs that are being reviewed, a few at a time."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Bench] = OrderedDict()

    def of(self, run: Run) -> Bench:
        """A run's bench."""
        name = str(run.path)
        bench = self._held.pop(name, None) or Bench(run)
        self._held[name] = bench
        while len(self._held) > MOST_BENCHES:
            self._held.popitem(last=False)
        return bench


def upcoming(bench: Bench, session: Session, want: str = "", key: str = "") -> dict[str, Any]:
    """The next row of a reviewer as the page shows it, and how far he has got.

    `want` is a row to come back to, `key` the answer of it. Raises: RecipeError.
    """
    bench.reviews.refresh()
    queue = _queue(bench, session)
    said = bench.reviews.all()
    item = queue.next(session.reviewer, said, want)
    progress = _progress(said, session.reviewer, len(queue))
    return {"item": None if item is None else shown(item, key), "progress": progress}


def _queue(bench: Bench, session: Session) -> Queue:
    return bench.queue(session.queue, session.mode, session.answers)


def shown(item: Item, key: str = "") -> dict[str, Any]:
    """A row without a word on who wrote its answers, or how good they are thought to be."""
    answers = [item.row.responses[place] for place in item.shown]
    keys = [lines.key_of(item.row, answer) for answer in answers]
    done = {lines.key_of(item.row, item.row.responses[place]) for place in item.done}
    open_ = [place for place, one in enumerate(keys) if one not in done]
    at = keys.index(key) if key in keys else (open_ or [0])[0]
    return {
        "row": item.row.id,
        "prompt": [{"role": one.role, **_cut(one.content)} for one in item.row.messages],
        "answers": [{"key": k, **_cut(one.content)} for k, one in zip(keys, answers, strict=True)],
        "at": at,
    }


def _cut(text: str) -> dict[str, Any]:
    return {"text": text[:MOST_SHOWN], "cut": max(0, len(text) - MOST_SHOWN)}


def _progress(said: Sequence[Said], rater: str, total: int) -> dict[str, Any]:
    """Rows done and passed over, and the seconds that one of the last rows took."""
    seen = seen_by(rater, said)
    spent: dict[str, float] = {}
    for one in said:
        if one.rater == rater and one.kind in (RATING, COMPARISON):
            spent[one.row] = spent.pop(one.row, 0.0) + one.seconds
    last = [seconds for seconds in list(spent.values())[-PACE_ROWS:] if seconds > 0]
    done = sum(count >= of for count, of in seen.mine.values())
    return {
        "done": done, "skipped": len(seen.skipped), "total": total,
        "pace_s": round(median(last), 1) if last else None,
    }  # fmt: skip


def say(bench: Bench, word: Word) -> dict[str, Any] | None:
    """Writes down what a reviewer said; with `reveal`, who wrote what he judged.

    Raises: RecipeError, RunError; HTTPException 409 where the row is not what he saw.
    """
    item = _queue(bench, word).at(word.row)
    if item is None:
        raise HTTPException(409, "This row is no longer in the run; reload the page")
    how = lines.How(
        word.reviewer, item.drawn, len(item.shown) if word.kind == RATING else 1, word.seconds,
        word.comment.strip(),
    )  # fmt: skip
    if word.kind == SKIP:
        bench.reviews.append([lines.skip(item.row, how)])
        return None
    answers = _named(item, word.keys, 2 if word.kind == COMPARISON else 1)
    if word.kind == COMPARISON:
        strength, bad = word.strength, word.both_bad
        records = [lines.comparison(item.row, answers[0], answers[1], strength, bad, how)]
    else:
        records = _rating(item, answers[0], word, how)
    bench.reviews.append(records)
    return _behind(answers) if word.reveal else None


def _rating(item: Item, answer: Response, word: Word, how: lines.How) -> list[dict[str, Any]]:
    records = []
    if word.edited is not None and word.edited != answer.content:
        if len(answer.content) > MOST_SHOWN:
            raise RecipeError("this answer is too long to be edited here: not all of it was shown")
        plain = lines.How(how.rater, how.drawn, how.of)
        records.append(lines.edit(item.row, answer, word.edited, item.licences, plain))
    if not (word.values or how.comment or records):
        raise RecipeError("rate an attribute, edit the answer or say something, or skip the row")
    return [*records, lines.rating(item.row, answer, word.values, how)]


def _named(item: Item, keys: Sequence[str], count: int) -> list[Response]:
    held = {lines.key_of(item.row, one): one for one in item.row.responses}
    if len(keys) != count or len(set(keys)) != count or not set(keys) <= held.keys():
        raise HTTPException(409, "These are not the answers of this row any more; reload the page")
    return [held[key] for key in keys]


def _behind(answers: Sequence[Response]) -> dict[str, Any]:
    return {
        "answers": [
            {"model": one.model or "a person, or unknown", "scores": one.scores} for one in answers
        ]
    }


def take_back(bench: Bench, session: Session) -> dict[str, Any]:
    """Takes back what a reviewer said last, and shows it again as he had it.

    Raises: HTTPException 409 where there is nothing.
    """
    bench.reviews.refresh()
    last = bench.reviews.last_of(session.reviewer)
    if last is None:
        raise HTTPException(409, "There is nothing to take back")
    with_it = [
        one for one in bench.reviews.all()
        if one.rater == last.rater and one.kind == EDIT and one.keys == last.keys
    ]  # fmt: skip
    bench.reviews.append(
        [withdrawal(one) for one in {one.mark: one for one in (last, *with_it)}.values()]
    )
    key = last.keys[0] if last.keys else ""
    form = {
        "kind": last.kind, "keys": last.keys, "values": last.values, "comment": last.comment,
        "strength": last.strength, "both_bad": last.both_bad,
        "edited": next((one.edited for one in with_it), None), "seconds": last.seconds,
    }  # fmt: skip
    return {**upcoming(bench, session, last.row, key), "form": form}


def agreement(bench: Bench, rater: str) -> dict[str, Any]:
    """A reviewer beside the others, and beside the run's reward; empty until he has said enough."""
    bench.reviews.refresh()
    said = bench.reviews.all()
    answered = sum(one.rater == rater and one.kind in (RATING, COMPARISON) for one in said)
    found: dict[str, Any] = {"said": answered, "from": FEWEST, "broken": bench.reviews.broken}
    found |= {"with": [], "reward": None}
    if answered < FEWEST:
        return found
    for other in bench.reviews.reviewers():
        if other != rater:
            rows = _told(between(said, rater, other, SEED))
            found["with"].append({"name": other, "lines": rows})
    if (reward := bench.reward()) is not None:
        rows = _told(with_reward(said, rater, bench.scores(), reward, SEED))
        found["reward"] = {"name": reward, "lines": rows}
    return found


def _told(rows: Sequence[Line]) -> list[Any]:
    """Those that anything was measured for."""
    return [msgspec.to_builtins(line) for line in rows if line.all.n]
