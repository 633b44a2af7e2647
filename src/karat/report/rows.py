"""One row as a person reads it on a terminal: its turns, every response and where it came from.

What the text cannot show is said beside it: an edit names the answer it was made of, and an answer
that was written together with its question says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from karat.report.cells import LINE, clean
from karat.row import Response, Row

SHORT = 60  # characters of a fact that is shown; longer ones are texts
# Facts told first: what the row is about, who asks, where it was found.
FIRST = (
    "topic", "macro_topic", "task", "persona", "difficulty", "file", "heading", "page", "question",
)  # fmt: skip
TOLD = ("review",)  # told with who graded the row
_MARKS = {True: ("kept", "bold green"), False: ("not kept", "dim"), None: ("", "")}


def row_panel(row: Row) -> RenderableType:
    """A row: its messages, its responses with their scores, why it was dropped, short facts."""
    parts: list[RenderableType] = []
    for message in row.messages:
        parts += [clean(message.role, LINE, "bold cyan"), clean(message.content), Text()]
    for place, response in enumerate(row.responses):
        parts += [_head(row, place, response), clean(response.content), Text()]
    if row.dropped:
        parts.append(Text.assemble(("dropped: ", "bold red"), clean(row.dropped)))
    if facts := _facts(row.meta):
        parts.append(clean(facts, 10 * LINE, "dim"))
    parts += [clean(line, 4 * LINE, "dim") for line in _grading(row.meta)]
    return Panel(Group(*parts), title=clean(f"row {row.id}", LINE), title_align="left")


def _head(row: Row, place: int, response: Response) -> Text:
    number = f" {place + 1}" if len(row.responses) > 1 else ""
    author = clean(f"response{number} by {response.model or 'the file'}", LINE, "bold")
    origin = _edit(row, place) or _written(row, response)
    cut = "cut off" if response.finish_reason == "length" else ""
    scores = "  ".join(
        f"{name} {value:.2f}"
        for name, value in zip(_names(response.scores), response.scores.values(), strict=True)
    )
    said = [_MARKS[response.kept], (origin, "dim"), (cut, "yellow")]
    shown = [clean(text, LINE, style) for text, style in said if text]
    return Text("  ").join([author, *shown, clean(scores)])


def _names(scores: Iterable[str]) -> list[str]:
    """What scores are called: by their attribute, where they are all of one reward."""
    parts = [key.rpartition(".") for key in scores]
    several = len({reward for reward, _, _ in parts}) > 1
    return ["".join(part) if several else part[2] for part in parts]


def _edit(row: Row, place: int) -> str:
    """That a response is an edit by `revise`, of which one, and what it did to the score."""
    # Indices that `revise` gives are free; a step after it may give one again.
    index = row.responses[place].index
    if any(earlier.index == index for earlier in row.responses[:place]):
        return ""
    for note in _dicts(row.meta.get("revised")):
        if note.get("index") == index:
            number = next(
                (number for number, one in enumerate(row.responses, 1)
                 if (one.index, one.model) == (note.get("from"), note.get("from_model"))), None,
            )  # fmt: skip
            of = f"edit of {number}" if number else "edit"
            before, after = note.get("before"), note.get("after")
            if isinstance(before, int | float) and isinstance(after, int | float):
                return f"{of}, {before:.2f} → {after:.2f}"
            return of
    return ""


def _written(row: Row, response: Response) -> str:
    """That the call which wrote a response is one of those that made the prompt: `closed_qa`."""
    together = response.call and response.call in row.calls
    return "written with the question" if together and "question" in row.meta else ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _grading(meta: dict[str, Any]) -> Iterator[str]:
    """Who graded a row, what a person is to look at, and why responses failed checks."""
    told = []
    graded = meta.get("graded")
    if isinstance(graded, dict) and isinstance(graded.get("by"), str):
        sure = graded.get("confidence")
        figure = f" ({sure:.2f})" if isinstance(sure, int | float) else ""
        told.append(f"graded by {graded['by']}{figure}")
    if isinstance(meta.get("review"), str):
        told.append(f"review: {meta['review']}")
    if told:
        yield " · ".join(told)
    for one in _dicts(meta.get("failed_checks")):
        place, reason = one.get("response"), one.get("reason")
        if isinstance(place, int) and isinstance(reason, str):
            yield f"response {place + 1} fails {one.get('check')}: {' '.join(reason.split())}"


def _facts(meta: dict[str, Any]) -> str:
    """The short facts of a row's meta, the most telling first."""
    told = []
    for key in [*(key for key in FIRST if key in meta), *(key for key in meta if key not in FIRST)]:
        value = meta[key]
        if key in TOLD:
            continue
        if isinstance(value, str | int | float):
            text = str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
            told += [f"{key}: {text}"] if len(text) <= SHORT else []
    return " · ".join(told)
