"""What collapse.py shows: perplexity and tail by round, how well the guard tells, SVG and CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from karat.curation.collapse import MARGINS
from karat.intervals import Interval, share
from karat.report.axes import fit
from karat.report.svg import Panel, figure

if TYPE_CHECKING:
    from collapse import Round

BARS = (1.0, 1.05, 1.1, 1.2)
BAR = 1.05  # the lower end of the interval of perplexity over round 0's, for damage
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57}  # two-sided 95%, by number of seeds
LINES = (
    ("k-gold-line", ""), ("k-gold-line", "6 3"), ("k-gold-line", "2 3"), ("k-grey-line", "6 3"),
    ("k-grey-line", ""), ("k-axis", "2 3"),
)  # fmt: skip


def damaged(one: Round, bar: float = BAR) -> bool:
    return one.damage.low > bar


def _over(values: Sequence[float]) -> Interval:
    """A mean over seeds with its 95% interval."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, mean, mean)
    reach = STUDENT.get(len(values), 2.4) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - reach, mean + reach)


def _grouped(found: Iterable[Round], by: Callable[[Round], Any]) -> dict[Any, list[Round]]:
    groups: dict[Any, list[Round]] = {}
    for one in found:
        groups.setdefault(by(one), []).append(one)
    return groups


def show(found: list[Round]) -> None:
    """The tables."""
    for corpus, rows in _grouped(found, lambda one: one.corpus).items():
        last = max(one.number for one in rows)
        print(
            f"\n{corpus}: perplexity over round 0's; the guard in round 1 to {last}, a letter each:"
        )
        print("F fired at damage, . silent without, m missed damage, ! fired without; seed by seed")
        print(
            f"{'arm':22}{'of':>3}" + "".join(f"{f'round {n}':>9}" for n in (1, 2, 4, last)), end=""
        )
        print(f"{'own score':>18}{'rare words':>18}  guard")
        for (best_of, arm), some in _grouped(rows, lambda one: (one.best_of, one.arm)).items():
            at = _grouped(some, lambda one: one.number)
            line = f"{arm:22}{best_of:3}"
            line += "".join(f"{fmean(o.damage.value for o in at[n]):9.2f}" for n in (1, 2, 4, last))
            for value in (lambda o: o.score, lambda o: o.tail):
                ends = (fmean(value(o) for o in at[n]) for n in (1, last))
                line += f"{'{:.2f} → {:.2f}'.format(*ends):>18}"
            letters = [
                "".join(_letter(o) for o in own)
                for own in _grouped(some, lambda one: one.seed).values()
            ]
            print(line + "  " + " ".join(letters))
    _recall(found)


def _letter(one: Round) -> str:
    return ("F" if damaged(one) else "!") if one.fired else ("m" if damaged(one) else ".")


def _recall(found: list[Round]) -> None:
    print("\nThe guard over corpora × arms × rounds × seeds, by what counts as damage")
    print(f"{'lower end above':>24}{'damaged':>9}  {'precision':26}{'recall':26}false alarms")
    for bar in BARS:
        print(
            f"{bar:24.2f}" + _told(found, lambda o: bool(o.fired), lambda o, b=bar: damaged(o, b))
        )
    print(f"\nAt {BAR:.2f}, one figure alone, and what was made against the round before")
    for name in MARGINS:
        print(f"{name:>24}" + _told(found, lambda o, n=name: n in o.fired, damaged))
    later = [one for one in found if one.number > 1]
    print(f"{'round before':>24}" + _told(later, lambda o: bool(o.fell), damaged))
    for corpus, rows in _grouped(found, lambda one: one.corpus).items():
        print(f"{corpus:>24}" + _told(rows, lambda o: bool(o.fired), damaged))


def _told(found: list[Round], fires: Callable[[Round], bool], hurt: Callable[[Round], bool]) -> str:
    fired = [one for one in found if fires(one)]
    bad = [one for one in found if hurt(one)]
    both = sum(1 for one in fired if hurt(one))
    well = len(found) - len(bad)
    alarms = f"{len(fired) - both} of {well}"
    share_of = f"{_said(both, len(fired)):26}{_said(both, len(bad)):26}"
    return f"{len(bad):5}/{len(found):<4} {share_of}{alarms}"


def _said(count: int, rows: int) -> str:
    if not rows:
        return "none"
    found = share(count, rows)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


# --- a picture and a table -----------------------------------------------------------------------


def write(found: list[Round], out: Path) -> None:
    panels = []
    for (corpus, best_of), rows in _grouped(
        [one for one in found if one.arm != "only people write"],
        lambda one: (one.corpus, one.best_of),
    ).items():
        chosen = "" if best_of == 1 else f", best of {best_of}"
        panels += [
            _panel(
                f"{corpus}{chosen}", "perplexity over round 0's", rows, lambda o: o.damage.value
            ),
            _panel(f"{corpus}{chosen}", "rare human words still there", rows, lambda o: o.tail),
        ]
    told = (
        "Perplexity of held-out human text and the share of rare human words in the training set, "
        "by round and arm, means over seeds with 95% intervals. A gold dot: the guard fired for "
        "most seeds; a grey one: it did not."
    )
    text = figure(panels, "A model retrained on its own output", told, columns=2, margin=16)
    (out / "collapse.svg").write_text(text, "utf-8")
    with (out / "collapse.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([
            "corpus", "seed", "arm", "best_of", "round", "perplexity", "damage", "low", "high",
            "own_score", "rare_words_there", "fired", "against_last",
            *(f"{name}{end}" for name in found[0].found.figures for end in ("", "_low", "_high")),
        ])  # fmt: skip
        for o in found:
            ratios = [f.ratio for f in o.found.figures.values()]
            ends = [f"{x:.4f}" for r in ratios for x in (r.value, r.low, r.high)]
            table.writerow([
                o.corpus, o.seed, o.arm, o.best_of, o.number, f"{o.perplexity:.2f}",
                f"{o.damage.value:.4f}", f"{o.damage.low:.4f}", f"{o.damage.high:.4f}",
                f"{o.score:.4f}", f"{o.tail:.4f}", " ".join(o.fired), " ".join(o.fell), *ends,
            ])  # fmt: skip


def _panel(title: str, label: str, rows: list[Round], value: Callable[[Round], float]) -> Panel:
    arms = _grouped(rows, lambda one: one.arm)
    ends = {
        arm: [(n, _over([value(o) for o in at]), at) for n, at in _grouped(some, _number).items()]
        for arm, some in arms.items()
    }
    middle = [one.value for points in ends.values() for _, one, _ in points]
    least, most = min(middle) / 1.5, max(middle) * 1.3  # longer error bars go on beyond the plot
    every = [
        min(max(x, least), most)
        for points in ends.values()
        for _, one, _ in points
        for x in (one.low, one.high)
    ]
    last = max(one.number for one in rows)
    upright = fit(every, label, lambda x: f"{x:g}", log=max(middle) > 8)
    plot = Panel(
        title, fit([1, last + 0.5], "round", log=False), upright, 520, 320,
        [("good", "the guard fired"), ("plain", "it did not")],
    )  # fmt: skip
    for (arm, points), (kind, dashes) in zip(ends.items(), LINES, strict=False):
        plot.line([(n, one.value) for n, one, _ in points], kind, dashes)
        for n, one, at in points:
            low, high = max(one.low, upright.low), min(one.high, upright.high)
            plot.spread((n, low), (n, high), kind, 0.5)
            fired = sum(bool(o.fired) for o in at)
            kind_of = "good" if 2 * fired > len(at) else "plain"
            plot.dot(
                n, one.value, kind_of, f"{arm}, round {n}: {one.value:.2f}; fired {fired}/{len(at)}"
            )
        n, one, _ = points[-1]
        plot.name(n, one.value, arm)
    return plot


def _number(one: Round) -> int:
    return one.number
