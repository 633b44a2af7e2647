"""The funnel of a run as a flow: from step to step, with a branch leaving for every reason.

A table of a funnel has to be added up by the reader; here what is wide is many. Rows run downwards,
so that the names of steps and reasons lie as texts lie, however many steps there are and however
narrow the window is. Every branch is as thick as its rows are many, on one scale down the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from karat.report.axes import SMALL
from karat.report.labels import BOLD, elide, width_of
from karat.report.run_charts import linked
from karat.report.svg import number, words

WIDE, NARROW = 1156.0, 344.0
MOST = 5  # branches of one step; of more reasons, the rarest leave together
BAR = 6.0  # height of a step's bar
BEND = 11.0  # inner radius where a branch turns
LINE = 19.0  # between the middles of two branches' texts
LEAST = 1.4  # pixels of a branch of few rows
NAME, COUNTS, REASON = 13.5, SMALL + 1, 12.5  # sizes of letters
ROUND = 40.0  # pixels: the stream keeps its width while figures grow by a digit

# (step, reason) as a link to the rows behind it: of a step where the reason is None, of the
# accepted where both are.
Link = Callable[[str | None, str | None], str]


class FlowStep(NamedTuple):
    """A step and the rows at it. `current` while it is at work, `begun` once a row came to it."""

    label: str
    rows_in: int
    rows_out: int
    dropped: Mapping[str, int]
    in_flight: int = 0
    current: bool = False

    @property
    def lost(self) -> int:
        return sum(self.dropped.values())

    @property
    def body(self) -> int:
        """Rows at its bar: those that came, or those it made of them where these are more."""
        return max(self.rows_in, self.rows_out + self.lost)


def steps_of(funnel: Iterable[Mapping[str, Any]]) -> list[FlowStep]:
    """The steps of a report's funnel, or of the live state of a run."""
    return [
        FlowStep(
            str(one["label"]), one["rows_in"], one["rows_out"], one["dropped"],
            one.get("in_flight", 0), bool(one.get("current")),
        )
        for one in funnel
    ]  # fmt: skip


def told(steps: Iterable[FlowStep]) -> str:
    """The flow in words, for who cannot see it."""
    return "; ".join(
        f"{one.label}: {_counts(one)}"
        + "".join(f", {count:,} dropped: {reason}" for reason, count in _branches(one))
        for one in steps
    )


class Flow:
    """The drawing, `width` pixels wide. Where `link` is given, branches lead to their rows."""

    def __init__(
        self, steps: list[FlowStep], width: float, link: Link | None = None, *,
        finished: bool = True,
    ) -> None:  # fmt: skip
        self.width, self._steps, self._link, self._finished = width, steps, link, finished
        self._beside = width > 700  # names to the left of the stream; else to its right
        self._x = 200.0 if self._beside else 1.0
        gap = BEND + (26 if self._beside else 14)
        room = self._room()
        self._stream = width - self._x - (gap + room if room else 1.0)
        self._text = self._x + self._stream + gap
        most = max((one.body for one in steps), default=0)
        self._scale = self._stream / most if most else 0.0
        self._bars = list(self._placed())
        self.height = self._bars[-1] + 34 if self._bars else 0.0

    def draw(self) -> str:
        """Streams first, so that bars and texts lie on them."""
        parts = [*self._streams()]
        for step, y in zip(self._steps, self._bars, strict=False):
            parts += [*self._drops(step, y), *self._bar(step, y)]
        parts += self._end()
        return "".join(parts)

    # --- where things are ------------------------------------------------------------------------

    def _room(self) -> float:
        """What the texts to the right of the stream take; the stream has all else."""
        found = [
            width_of(f"{count:,}", REASON) * BOLD + width_of(reason, REASON) + 10
            for step in self._steps
            for reason, count in _branches(step)
        ]
        if not self._beside:
            for step in self._steps:
                found.append(width_of(step.label, NAME) * BOLD + 16 * step.current)
                found.append(width_of(_counts(step), COUNTS))
            rows = self._steps[-1].rows_out if self._steps else 0
            found.append(width_of(f"{rows:,} {self._ended}", NAME) * BOLD)
        needed = math.ceil(max(found, default=0.0) / ROUND) * ROUND
        return min(needed, self.width * (0.32 if self._beside else 0.58))

    @property
    def _ended(self) -> str:
        return "accepted" if self._finished else "through so far"

    def _wide(self, rows: float) -> float:
        return max(rows * self._scale, LEAST) if rows else 0.0

    def _placed(self) -> Iterator[float]:
        """The y of each bar, and at last of the end."""
        y = 8.0
        for step in self._steps:
            yield y
            ends = [middle + thick / 2 for _, _, thick, middle in self._bands(step, y)]
            y = max([y + (50 if self._beside else 52), *(end + 22 for end in ends)])
        if self._steps:
            yield y

    def _bands(self, step: FlowStep, y: float) -> Iterator[tuple[str, int, float, float]]:
        """(reason, rows, thickness, the y of its middle) of each branch, the outermost first."""
        top = y + BAR + (BEND if self._beside else 30.0)
        before: float | None = None
        for reason, count in _branches(step):
            thick = self._wide(count)
            middle = top + thick / 2
            if before is not None:
                middle = max(middle, before + LINE)
            yield reason, count, thick, middle
            before, top = middle, middle + thick / 2 + 3

    # --- what is drawn ---------------------------------------------------------------------------

    def _streams(self) -> Iterator[str]:
        """What goes on from each step to the next."""
        after = [*(one.body for one in self._steps[1:]), self._steps[-1].rows_out] if (
            self._steps
        ) else []  # fmt: skip
        for step, to, y, end in zip(self._steps, after, self._bars, self._bars[1:], strict=False):
            if not step.rows_out:
                continue
            x, top, wide = self._x, y + BAR, self._wide(step.rows_out)
            if not to:  # none has come to the next step yet
                end, to_wide = top + 14, wide
            else:
                to_wide = self._wide(to)
            # It widens or narrows below the branches, so as not to run under them.
            start = max([top, *(m + t / 2 for _, _, t, m in self._bands(step, y))])
            start = min(start, end - 16)
            middle = (start + end) / 2
            yield (
                f'<path class="k-gold" opacity=".28" d="M{number(x)} {number(top)}'
                f"H{number(x + wide)}V{number(start)}C{number(x + wide)} {number(middle)} "
                f"{number(x + to_wide)} {number(middle)} {number(x + to_wide)} {number(end)}"
                f'H{number(x)}Z"/>'
            )

    def _bar(self, step: FlowStep, y: float) -> Iterator[str]:
        """The step's bar, its name, and its rows."""
        begun = step.body > 0
        if begun:
            yield (
                f'<rect class="k-gold" x="{number(self._x)}" y="{number(y)}" '
                f'width="{number(self._wide(step.body))}" height="{number(BAR)}" rx="1.5"/>'
            )
        else:
            yield (
                f'<path class="k-axis" stroke-width="1.5" stroke-dasharray="2 4" '
                f'd="M{number(self._x)} {number(y + BAR / 2)}h{number(self._stream * 0.3)}"/>'
            )
        x = self._x - 18 if self._beside else self._text
        aside = 0.0 if self._beside else 14.0 * step.current  # the name makes way for the dot
        room = self._x - 22 if self._beside else self.width - self._text - aside
        anchor = ' text-anchor="end"' if self._beside else ""
        counts = _counts(step) if begun else "not yet"
        yield (
            f'<text class="{"k-ink" if begun else "k-soft"}" x="{number(x + aside)}" '
            f'y="{number(y + 9)}" font-size="{NAME:g}" font-weight="600"{anchor}>'
            f"<title>{words(step.label)}</title>{words(elide(step.label, room / BOLD, NAME))}"
            "</text>"
            f'<text class="k-soft" x="{number(x)}" y="{number(y + 25)}" font-size="{COUNTS:g}"'
            f"{anchor}>{words(counts)}</text>"
        )
        if step.current:
            dot = self._x - 9 if self._beside else self._text + 4
            yield (
                f'<circle class="k-gold now" cx="{number(dot)}" cy="{number(y + 4)}" r="4">'
                "<title>at work</title></circle>"
            )

    def _drops(self, step: FlowStep, y: float) -> Iterator[str]:
        """A branch for each reason: down, a bend to the right, and its text."""
        bands = list(self._bands(step, y))
        right = self._x + self._wide(step.body)
        end = self._text - 8
        room = self.width - self._text
        for reason, count, thick, middle in bands:
            left = max(self._x, right - thick)
            top, low = middle - thick / 2, middle + thick / 2
            turn = left + thick + BEND
            path = (
                f"M{number(left + thick)} {number(y + BAR)}V{number(top - BEND)}"
                f"A{number(BEND)} {number(BEND)} 0 0 0 {number(turn)} {number(top)}"
                f"H{number(end)}V{number(low)}H{number(turn)}"
                f"A{number(BEND + thick)} {number(BEND + thick)} 0 0 1 {number(left)} "
                f"{number(top - BEND)}V{number(y + BAR)}Z"
            )
            right = left
            share = f" ({count / step.body:.1%} of {step.body:,})" if step.body else ""
            said = f"{count:,} rows dropped at {step.label}{share}: {reason}"
            figure = f"{count:,}"
            shown = elide(reason, room - width_of(figure, REASON) * BOLD - 8, REASON, 0.8)
            marks = (
                f'<path class="k-grey" opacity=".42" d="{path}"/>'
                f'<text class="k-ink" x="{number(self._text)}" y="{number(middle + 4.5)}" '
                f'font-size="{REASON:g}"><tspan font-weight="600">{figure}</tspan>'
                f'<tspan class="k-soft" dx="6">{words(shown)}</tspan></text>'
            )
            yield self._linked(marks, said, step.label, None if _is_rest(step, reason) else reason)

    def _end(self) -> Iterator[str]:
        """The rows that came through all steps."""
        if not self._steps:
            return
        y, rows = self._bars[-1], self._steps[-1].rows_out
        if rows:
            yield (
                f'<rect class="k-gold" x="{number(self._x)}" y="{number(y)}" '
                f'width="{number(self._wide(rows))}" height="{number(BAR + 2)}" rx="1.5"/>'
            )
        x = self._x - 18 if self._beside else self._text
        anchor = ' text-anchor="end"' if self._beside else ""
        what = self._ended
        marks = (
            f'<text class="k-ink" x="{number(x)}" y="{number(y + 10)}" '
            f'font-size="{NAME:g}" font-weight="600"{anchor}>{rows:,} {what}</text>'
        )
        yield self._linked(marks, f"{rows:,} rows {what}", None, None) if rows else marks

    def _linked(self, marks: str, said: str, step: str | None, reason: str | None) -> str:
        title = f"<title>{words(said)}</title>"
        if self._link is None:
            return f"<g>{title}{marks}</g>"
        return linked(f"{title}{marks}", self._link(step, reason), said)


def _branches(step: FlowStep) -> list[tuple[str, int]]:
    """Reasons by their rows, most first; the rarest of many together."""
    found = sorted(
        ((reason, count) for reason, count in step.dropped.items() if count),
        key=lambda one: (-one[1], one[0]),
    )
    if len(found) <= MOST:
        return found
    rest = found[MOST - 1 :]
    return [*found[: MOST - 1], (_rest(len(rest)), sum(count for _, count in rest))]


def _rest(reasons: int) -> str:
    return f"{reasons} other reasons"


def _is_rest(step: FlowStep, reason: str) -> bool:
    return len(step.dropped) > MOST and reason not in step.dropped


def _counts(step: FlowStep) -> str:
    flying = f", {step.in_flight:,} in flight" if step.in_flight else ""
    if not step.rows_in or step.rows_in == step.rows_out:
        return f"{step.rows_out:,} rows{flying}"
    return f"{step.rows_in:,} → {step.rows_out:,}{flying}"
