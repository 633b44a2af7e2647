"""Grades: the scores of some responses to one prompt, and Graded: those of many prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from karat.display import shown
from karat.row import Message
from karat.rowset import needed

if TYPE_CHECKING:
    import pandas

SHOWN = 20  # prompts in a notebook


class Grades(msgspec.Struct):
    """What a reward says of the `responses` to a `prompt`.

    `scores` maps each response's attributes to a value on the reward's own scale (`scales`: low and
    high of each); it is empty for a response the reward has no score for. `by` is the attribute
    that orders; those in `within_prompt` compare responses to this prompt only. `journal` is where
    answers that were asked for are recorded, None where nobody was asked; `cost_usd` what this call
    paid, None where a price is unknown; `calls` how many it made. `error` is why there are no
    scores.
    """

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    reward: str
    by: str
    scales: dict[str, tuple[float, float]] = {}
    within_prompt: frozenset[str] = frozenset()
    journal: str | None = None
    scores: list[dict[str, float]] = []
    cost_usd: float | None = 0.0
    calls: int = 0
    error: str = ""

    def __len__(self) -> int:
        return len(self.responses)

    def __getitem__(self, place: int) -> dict[str, float]:
        """The scores of one response."""
        return self.scores[place]

    @property
    def order(self) -> list[int]:
        """Places of the responses, the best first; equal ones as they came, those without a score
        at the end."""
        values = [scores.get(self.by) for scores in self.scores]
        held = [place for place, value in enumerate(values) if value is not None]
        held.sort(key=lambda place: -(values[place] or 0.0))
        known = set(held)
        return [*held, *(place for place in range(len(self)) if place not in known)]

    @property
    def best(self) -> str | None:
        """The best response; None where none has a score."""
        return self.responses[self.order[0]] if any(self.by in s for s in self.scores) else None

    def to_arrow(self) -> pa.Table:
        """A line for each response, in the order given: response, rank from 1 (null without a
        score), and its scores."""
        return pa.table(self._columns())

    def _columns(self) -> dict[str, pa.Array]:
        scores = self.scores or [{} for _ in self.responses]
        ranks = {place: rank for rank, place in enumerate(self.order, 1)}
        placed = [ranks[n] if self.by in one else None for n, one in enumerate(scores)]
        values = {
            name: pa.array([one.get(name) for one in scores], pa.float64()) for name in self.scales
        }
        texts = pa.array([_text(text) for text in self.responses], pa.string())
        return {"response": texts, "rank": pa.array(placed, pa.int64()), **values}

    def to_pandas(self) -> pandas.DataFrame:
        """`to_arrow` as a pandas frame. Raises: RecipeError without pandas."""
        with needed("to_pandas", "pandas"):
            import pandas  # noqa: F401
        found: pandas.DataFrame = self.to_arrow().to_pandas()
        return found

    def __repr__(self) -> str:
        if self.error:
            return f"<no grades by {shown.line(self.reward)}: {shown.line(self.error, 200)}>"
        best = self.best
        said = "no scores"
        if best is not None:
            value = self.scores[self.order[0]][self.by]
            said = f"best {self.by} {value:.2f} '{shown.line(best)}'"
        graded = shown.count(len(self), "response")
        return f"<grades of {graded} by {shown.line(self.reward)}: {said}{_paid(self)}>"

    def _repr_html_(self) -> str:
        asked = self.prompt[-1].content if self.prompt else ""
        parts = [shown.paragraph(shown.bold(self.reward), shown.small(f"by {self.by}"))]
        parts += [shown.whole(asked, 600)]
        if self.error:
            parts += [shown.paragraph(shown.bold("not graded:"), self.error)]
        else:
            names = [self.by, *(name for name in self.scales if name != self.by)]
            rows = [
                [self.responses[place], *(shown.score(self.scores[place].get(n)) for n in names)]
                for place in self.order
            ]
            parts += [shown.table(["response, best first", *names], rows, "-" + "n" * len(names))]
        if self.by in self.within_prompt:
            parts += [shown.paragraph(shown.small(f"{self.by} compares within this prompt only"))]
        if said := _paid(self).lstrip("; "):
            parts += [shown.paragraph(shown.small(said))]
        return shown.fragment(*parts)


class Graded(list[Grades]):
    """Grades of many prompts, in their order; `cost_usd` and `calls` are of all together."""

    cost_usd: float | None = 0.0
    calls: int = 0

    @property
    def best(self) -> list[str | None]:
        """The best response to each prompt."""
        return [grades.best for grades in self]

    def to_arrow(self) -> pa.Table:
        """A line for each response: prompt (its place, from 0), the text of its last turn, and what
        Grades.to_arrow says."""
        parts = []
        for number, grades in enumerate(self):
            asked = _text(grades.prompt[-1].content)
            size = len(grades)
            head = {
                "prompt": pa.array([number] * size, pa.int64()),
                "text": pa.array([asked] * size, pa.string()),
            }
            parts.append(pa.table({**head, **grades._columns()}))
        return pa.concat_tables(parts) if parts else pa.table({})

    def to_pandas(self) -> pandas.DataFrame:
        """`to_arrow` as a pandas frame. Raises: RecipeError without pandas."""
        with needed("to_pandas", "pandas"):
            import pandas  # noqa: F401
        found: pandas.DataFrame = self.to_arrow().to_pandas()
        return found

    def __repr__(self) -> str:
        failed = sum(bool(grades.error) for grades in self)
        by = f" by {shown.line(self[0].reward)}" if self else ""
        lost = f", {failed:,} not graded" if failed else ""
        responses = shown.count(sum(map(len, self)), "response")
        paid = _paid(self[0], self) if self else ""
        return f"<grades of {shown.count(len(self), 'prompt')}, {responses}{by}{lost}{paid}>"

    def _repr_html_(self) -> str:
        rows: list[list[object]] = []
        for grades in self[:SHOWN]:
            asked, best = grades.prompt[-1].content, grades.best
            value = None if best is None else grades.scores[grades.order[0]][grades.by]
            rows.append([asked, grades.error or best or "", shown.score(value), len(grades)])
        head = shown.paragraph(repr(self)[1:-1])
        by = self[0].by if self else "score"
        table = shown.table(["prompt", "best response", by, "of"], rows, "--nn")
        more = len(self) - len(rows)
        rest = [shown.paragraph(shown.small(f"and {more:,} more"))] if more > 0 else []
        return shown.fragment(head, table, *rest)


def _text(text: str) -> str:
    """As Arrow can hold it: a lone surrogate becomes '?'."""
    return text.encode("utf-8", "replace").decode()


def _paid(grades: Grades, of: Any = None) -> str:
    """What was paid, and where it is written down, where somebody was asked."""
    if grades.journal is None:
        return ""
    counted = grades if of is None else of
    calls = shown.count(counted.calls, "call")
    where = shown.line(grades.journal, 200)
    return f"; {calls}, {shown.money(counted.cost_usd)}, recorded in {where}"
