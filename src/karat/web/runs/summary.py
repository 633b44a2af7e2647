"""One line about each run: how it stands, what it made, what it cost.

From live.json while a run works and report.json after, never from its rows. A file is read again
only when it has changed, so that a folder of 500 runs is a thousand looks at the file system, and a
page of them costs milliseconds. A run that cannot be read is a line that says so.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from karat import live
from karat.errors import KaratError, RecipeError, RunError
from karat.live import State, StepState
from karat.report.crew import crew_in
from karat.report.run_ledger import paid_usd
from karat.rundir import Run
from karat.web.shelf import Place, has_rows

MOVED = 0.02  # of a run's work that is no call
MOST = 1e15  # rows, dollars or seconds that a file can mean
LATEST = 2.0**35  # Unix seconds: a thousand years on
PILLS = {  # states, in the order of their urgency, and how they look
    "running": "pill-live", "failed": "pill-bad", "damaged": "pill-bad", "stopped": "pill-soft",
    "finished": "pill-good",
}  # fmt: skip
STATES = tuple(PILLS)


class Line(msgspec.Struct):
    """A run. Shares and `progress` are from 0 to 1; what is not known is None.

    `accepted` of a running run are the rows that came out of its last step so far. `mean_reward` is
    that of the accepted rows' kept responses, on the scale of `reward`. `cost_usd` is all that its
    folder has paid for; with `unpriced` some of it has no known price. `when` is Unix seconds of
    the last change, `rate` rows a second, `said` an error or a note. `executor` is where a run's
    rows walk, `workers` how many processes do that now, on a cluster.
    """

    slug: str
    name: str
    status: str
    said: str = ""
    progress: float | None = None
    rows_in: int | None = None
    accepted: int | None = None
    kept_share: float | None = None
    reward: str | None = None
    mean_reward: float | None = None
    cost_usd: float | None = None
    unpriced: bool = False
    projected_usd: float | None = None
    budget_usd: float | None = None
    rate: float | None = None
    eta_s: float | None = None
    when: float = 0.0
    executor: str | None = None
    workers: int | None = None


class _Rows(msgspec.Struct):
    accepted: int
    dropped: int
    in_: int = msgspec.field(name="in")


class _Moments(msgspec.Struct):
    mean: float | None = None


class _Score(msgspec.Struct):
    accepted: _Moments | None = None


class _Model(msgspec.Struct):
    cost_usd: float | None = None
    calls: int = 0


class _Report(msgspec.Struct):
    """What a line needs of report.json."""

    rows: _Rows
    cost_usd: float | None
    ranking: str | None = None
    scores: dict[str, _Score] = {}
    models: list[_Model] = []


_REPORT = msgspec.json.Decoder(_Report)
_Stamp = tuple[tuple[int, int] | None, ...]


class Summaries:
    """The lines of a server's runs, kept until a file of theirs changes."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[_Stamp, Line]] = {}

    def of(self, place: Place) -> Line:
        """One run's line."""
        run = place.run
        stamp = tuple(map(_stamp, (run.live_file, run.report_file, *_here(run))))
        kept = self._kept.get(run.path)
        # That a process is gone changes no file.
        if kept is not None and kept[0] == stamp and kept[1].status != "running":
            return kept[1] if kept[1].slug == place.slug else msgspec.structs.replace(
                kept[1], slug=place.slug, name=place.name
            )  # fmt: skip
        try:
            made = _sound(_line(place))
        except RecipeError as error:  # nobody can tell where its rows are
            made = Line(place.slug, place.name, "damaged", str(error), when=_changed(run))
        except (ArithmeticError, RecursionError, TypeError, ValueError):
            made = Line(place.slug, place.name, "stopped", when=_changed(run))
            made = _damaged(made, "its files hold what karat does not write")
        self._kept[run.path] = (stamp, made)
        return made

    def forget(self, places: list[Place]) -> None:
        """Of all runs but these."""
        here = {place.run.path for place in places}
        for path in [path for path in self._kept if path not in here]:
            del self._kept[path]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _here(run: Run) -> list[Path]:
    """The journal and the rows, where they are on this machine."""
    try:
        own: list[Any] = [run.journal, run.accepted_file]
    except KaratError:
        return [run.places_file]
    return [path for path in own if isinstance(path, Path)]


def _line(place: Place) -> Line:
    run, state = place.run, live.read(place.run)
    run.elsewhere  # noqa: B018  it is read, or raises
    line = Line(place.slug, place.name, "stopped", when=_changed(run))
    if state is not None:
        _from_state(line, state)
    if line.status == "running":
        return line
    try:
        report = _REPORT.decode(run.report_file.read_bytes())
    except FileNotFoundError:
        if line.status == "finished":
            return _damaged(line, "report.json is not there")
        return _unfinished(line, run, state)
    except (OSError, ValueError) as error:
        return _damaged(line, f"report.json cannot be read: {error}")
    _from_report(line, report)
    if state is None:
        line.status = "finished"
    if line.status == "finished" and not has_rows(run):
        return _damaged(line, "accepted.parquet is not there")
    return line


def _sound(line: Line) -> Line:
    """The line, if a page and a file can show its figures: one run must not take all from view.

    Raises: ValueError.
    """
    figures = (v for v in msgspec.structs.astuple(line) if isinstance(v, int | float))
    if not all(abs(figure) <= MOST for figure in figures) or not 0 <= line.when <= LATEST:
        raise ValueError("no figure")
    return line


def _from_state(line: Line, state: State) -> None:
    line.status = state.state if state.state in STATES else "stopped"
    line.when = state.updated or line.when
    line.said = state.error or (state.note if line.status == "running" else "")
    line.cost_usd, line.unpriced = state.cost_usd, state.unpriced
    line.budget_usd, line.executor = state.budget_usd, state.executor
    crew = crew_in(state) if line.status == "running" else None
    line.workers = None if crew is None else crew.here
    if not state.steps:
        line.progress = 0.0 if line.status == "running" else None
        return
    line.rows_in = state.steps[0].rows_in or state.expected
    line.accepted = state.steps[-1].rows_out
    dropped = sum(sum(step.dropped.values()) for step in state.steps)
    line.kept_share = line.accepted / (line.accepted + dropped) if line.accepted else None
    if line.status == "finished":
        return
    line.progress = progress(state.steps, state.expected)
    line.projected_usd = state.projected_usd
    if line.status == "running":
        at_work = [step for step in state.steps if step.current]
        line.rate = at_work[-1].rate if at_work else None
        etas = [step.eta_s for step in at_work if step.eta_s is not None]
        line.eta_s = max(etas) if etas else None


def progress(steps: list[StepState], expected: int | None) -> float | None:
    """The share of the work that is done: of steps at work, the share of the rows that will come
    to them. A step weighs as much as its calls were reckoned to take. None where no step is known
    yet."""
    if not steps:
        return None
    weights = _weights(steps)
    at_work = [place for place, step in enumerate(steps) if step.current]
    if not at_work:
        ended = (step.sealed or step.rows_out > 0 for step in steps)
        return min(1.0, sum(weight for weight, over in zip(weights, ended, strict=True) if over))
    done, coming = sum(weights[: at_work[0]]), expected or 0
    for place in at_work:
        lost = sum(steps[place].dropped.values())
        gone = steps[place].rows_out + lost
        done += weights[place] * (min(1.0, gone / coming) if coming > 0 else 0.0)
        coming -= lost
    return min(1.0, done)


def _weights(steps: list[StepState]) -> list[float]:
    """Of 1 in all. Rows that are only moved take a little too; where no call was reckoned with,
    every step is as long as any other."""
    planned = [max(0.0, step.planned_s or 0.0) for step in steps]
    total, even = sum(planned), 1 / len(steps)
    if not 0 < total <= MOST:
        return [even] * len(steps)
    return [MOVED * even + (1 - MOVED) * one / total for one in planned]


def _from_report(line: Line, report: _Report) -> None:
    """What an earlier turn of a run came to stays true until the next one ends."""
    rows = report.rows
    line.rows_in, line.accepted = rows.in_, rows.accepted
    every = rows.accepted + rows.dropped
    line.kept_share = rows.accepted / every if every else None
    line.cost_usd = max(report.cost_usd or 0.0, line.cost_usd or 0.0)
    line.unpriced = any(one.calls and one.cost_usd is None for one in report.models)
    score = report.scores.get(report.ranking or "")
    if score is not None and score.accepted is not None:
        line.reward, line.mean_reward = report.ranking, score.accepted.mean


def _unfinished(line: Line, run: Run, state: State | None) -> Line:
    """Of a run that has not come to its end; one of an older karat wrote no live.json."""
    if state is None:
        with suppress(RunError):
            journal = run.journal
            if not isinstance(journal, Path) or journal.is_file():
                line.cost_usd, line.unpriced = paid_usd(run.journal)
    return line


def _damaged(line: Line, said: str) -> Line:
    line.status, line.said = "damaged", f"{said}; run the recipe again into this folder"
    return line


def _changed(run: Run) -> float:
    for path in (run.report_file, *_here(run), run.recipe):
        with suppress(OSError):
            return path.stat().st_mtime
    return 0.0
