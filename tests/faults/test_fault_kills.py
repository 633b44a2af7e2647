"""Runs that are killed: again and again, at random points, and always the same end.

Each seed is one run: which recipe, how many calls at once, which signal, and when. The signal comes
when so many requests were seen, after so many seconds, or inside the run at its k-th event, which
the seeds spread over all that a run does to its directory: sealing, results, export and report,
too. KARAT_FAULTS=all makes a hundred and fifty kills and more.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from conftest import wait_for
from fault_run import ALL, RECIPES, Case, Child, Ended, Forks, bought_twice, fresh, undisturbed
from fault_run import forks as forks
from fault_run import teacher as teacher
from server import Server

KILLS = 4  # in a row, before a run may go to its end
SEEDS = range(72 if ALL else 6)
LEAST = 150 if ALL else 16  # of all the seeds together; a run may end before its signal comes
WIDTHS = (1, 4, 16)
STEP = 0.6180339887  # of the golden ratio: the first kills fall evenly over the events of a run


@dataclass
class Figures:
    """What all seeds came to."""

    chains: int = 0
    signals: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    twice: int = 0
    allowed: int = 0
    most: float = 0.0  # repaid calls of one chain as a share of those in flight at its kills


@pytest.fixture(scope="module")
def cases(forks: Forks, teacher: Server, tmp_path_factory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("kills")
    return {kind: undisturbed(forks, folder, kind, teacher) for kind in RECIPES}


@pytest.fixture(scope="module")
def figures() -> Figures:
    return Figures()


class Plan:
    """One kill, drawn by the chain's own generator."""

    def __init__(self, draw: random.Random, case: Case, seed: int, number: int) -> None:
        self.width = draw.choice(WIDTHS)
        names = ["SIGKILL", "SIGKILL", "SIGKILL", "SIGINT", "SIGTERM"]
        self.signal = signal.Signals[draw.choice(names)]
        self.way = draw.choice(["event", "event", "event", "requests", "seconds"])
        place = (seed * STEP) % 1 if number == 0 else draw.random() / (1.5 + number)
        self.event = 1 + int(place * len(case.events))
        self.after = draw.choice([0, 0, draw.random() / 200]) if self.sudden else 0
        self.requests = draw.randrange(1, case.asked)
        self.seconds = draw.random() * case.seconds / 4  # the undisturbed one had all to import

    @property
    def sudden(self) -> bool:
        """Whether the process has no time to end in order."""
        return self.signal == signal.SIGKILL

    def carry_out(self, forks: Forks, case: Case, out, server: Server) -> Ended:
        order = {"at": self.event, "signal": int(self.signal), "after": self.after}
        armed = order if self.way == "event" else {}
        child = forks.start(case.recipe, out, self.width, **armed)
        if self.way == "seconds":
            time.sleep(self.seconds)
            child.kill(self.signal)
        elif self.way == "requests":
            self._after_requests(child, server)
        return child.wait()

    def _after_requests(self, child: Child, server: Server) -> None:
        """A run that goes on may need fewer; then it is killed a while after the last."""
        wanted, until = len(server.requests) + self.requests, time.monotonic() + self.seconds
        wait_for(lambda: len(server.requests) >= wanted or time.monotonic() > until)
        child.kill(self.signal)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_that_is_killed_ends_as_if_nothing_had_happened(
    forks, teacher, cases, figures, tmp_path, seed
):
    draw = random.Random(seed)
    case, out, allowed = cases[draw.choice(sorted(cases))], tmp_path / "out", 0
    with fresh(teacher):
        for number in range(KILLS):
            plan = Plan(draw, case, seed, number)
            ended = plan.carry_out(forks, case, out, teacher)
            ended.assert_calm()
            if ended.status == 0:
                break  # its signal would have come too late
            allowed += check_end(plan, ended)
            figures.signals[plan.signal.name] += 1
            figures.ways[plan.way] += 1
            if plan.way == "event":
                figures.events[case.events[plan.event - 1]] += 1
        last = forks.run(case.recipe, out, draw.choice(WIDTHS))
        assert last.status == 0, last.text
        last.assert_calm()
        case.assert_same(out)
        twice = bought_twice(teacher)
        assert twice <= allowed
        assert len(teacher.requests) == case.asked + twice
    figures.chains += 1
    figures.twice, figures.allowed = figures.twice + twice, figures.allowed + allowed
    figures.most = max(figures.most, twice / allowed if allowed else 0.0)
    assert not list(out.rglob("*.tmp"))


def check_end(plan: Plan, ended: Ended) -> int:
    """How many calls may be paid for again: those in flight, where nobody could wait for them."""
    if plan.sudden:
        assert ended.status in (-signal.SIGKILL, -signal.SIGALRM), ended.text
        return plan.width
    # Before karat listens SIGTERM ends it as it ends any process; nothing is in flight by then.
    assert ended.status in (130, -signal.SIGTERM), ended.text
    if ended.status == 130:
        assert "the same command goes on." in ended.text, ended.text
    return 0


def test_so_many_kills_were_made_at_so_many_places(figures):
    """Printed with `-s`: what the seeds above came to."""
    if figures.chains < len(SEEDS):
        pytest.skip("only some of the seeds were run")
    kills = figures.signals.total()
    print(f"\n{kills} kills in {figures.chains} runs: {dict(figures.signals)}")
    print(f"when: {dict(figures.ways)}; at {len(figures.events)} different events")
    print(f"among them: {', '.join(sorted(figures.events))}")
    print(f"bought twice: {figures.twice} calls of at most {figures.allowed} in flight, "
          f"in one run at most {figures.most:.0%} of them")  # fmt: skip
    assert kills >= LEAST
    assert min(figures.signals[name] for name in ("SIGKILL", "SIGINT", "SIGTERM")) > 0
