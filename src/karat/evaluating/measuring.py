"""From scores to figures: a set's table, its calibration, its lean to length, its attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from karat.evaluating.asking import Answers
from karat.evaluating.benchmarks import MATH_PRM, PEOPLE, RULES, SECTIONS, TITLES
from karat.evaluating.figures import (
    Attribute,
    Compared,
    Length,
    RatioBin,
    Row,
    SetFigures,
    Share,
)
from karat.evaluating.items import EvalSet, Floats, Ints
from karat.evaluating.protocols import Line, lines
from karat.evaluating.units import Units, by_chance, comparisons, units
from karat.intervals import Interval, Resamples
from karat.rewards.base import Reward
from karat.rewards.head import ATTRIBUTES, SCALE
from karat.row import digest
from karat.scoring.agreement import cohen_kappa, on_scale
from karat.scoring.correlation import pearson, spearman
from karat.scoring.leanings import length_slope
from karat.scoring.length_lean import by_ratio, length_lean
from karat.scoring.paired import difference, discordance
from karat.scoring.reliability import reliability
from karat.scoring.sections import mean_credit
from karat.scoring.tallies import Tally
from karat.scoring.tie_aware import tie_aware_credit

EDGES = np.array([-2.0, -1.0, -0.5, -0.15, 0.15, 0.5, 1.0, 2.0])  # of log2(better / worse)
LEVELS = 5  # of 0–4
GRIDS = ("rmbench",)  # whose units are shares of many comparisons
FEWEST = 10  # pairs of a bin that is shown


class Measured:
    """One set and one reward's scores of it, from which all its figures come."""

    def __init__(self, found: EvalSet, answers: Answers, by: str, draws: Resamples) -> None:
        self.found, self.answers, self.by, self.draws = found, answers, by, draws
        self.scores = answers.of(by)
        self.prompt_I, self.prompts = found.prompts()
        self.pairs = comparisons(found)
        self.gap_C = np.array([self.scores[i][a] - self.scores[i][b] for i, a, b, _ in self.pairs])

    def table(self, scores: Sequence[Floats]) -> list[Line]:
        """The lines of these scores, those with ties last."""
        made = lines(self.found.kind, units(self.found, scores))
        return [*made, *self._with_ties(scores)]

    def rows(self) -> list[Row]:
        """The table, and what baselines get on the same items."""
        lengths = [np.array([float(len(t)) for t in item.responses]) for item in self.found.items]
        masked = [
            np.full(length.shape, np.nan) if np.isnan(scores).any() else length
            for scores, length in zip(self.scores, lengths, strict=True)
        ]
        longer, shorter = self.table(masked), self.table([-length for length in masked])
        return [
            Row(
                line.label, line.level, line.n, line.tally.interval(self.draws),
                random.tally.value, long.tally.value, short.tally.value,
            )
            for line, random, long, short in zip(
                self.table(self.scores), self._chance(), longer, shorter, strict=True
            )
        ]  # fmt: skip

    def _chance(self) -> list[Line]:
        """The table of random scores on what was scored."""
        found: Units = by_chance(self.found)
        known: Floats = units(self.found, self.scores).credit_UK
        blank_U1 = np.isnan(known).any(axis=1, keepdims=True)
        credit_UK = np.where(blank_U1, np.nan, found.credit_UK)
        made = lines(self.found.kind, found._replace(credit_UK=credit_UK))
        if self._has_ties():
            missing_I = [bool(np.isnan(scores).any()) for scores in self.scores]
            made.append(self._verdict_line(np.where(missing_I, np.nan, 1 / 3)))
        return made

    def _has_ties(self) -> bool:
        """Whether verdicts of three kinds are asked for; where all are ties they say nothing."""
        return 0 < sum(item.tie for item in self.found.items) < len(self.found.items)

    def _with_ties(self, scores: Sequence[Floats]) -> list[Line]:
        """Verdicts of three kinds, where people found some pairs equal."""
        if not self._has_ties():
            return []
        # The sides are told apart by their texts, so that nothing follows from who is first.
        sign_I = np.array([1 if item.order()[0] == 0 else -1 for item in self.found.items])
        gap_I = np.array([s[0] - s[1] for s in scores]) * sign_I
        people_I = np.where([item.tie for item in self.found.items], 0, sign_I)
        return [self._verdict_line(tie_aware_credit(gap_I, people_I, self._folds()))]

    def _verdict_line(self, credit_I: Floats) -> Line:
        tally = mean_credit(credit_I, self.prompt_I, self.prompts)
        return Line("with ties, three verdicts", 1, tally, credit_I)

    def _folds(self) -> Ints:
        """A number of each item's prompt that has nothing to do with its place in the file."""
        groups = [item.group for item in self.found.items]
        marks = {name: int.from_bytes(digest(name, size=4), "little") for name in set(groups)}
        return np.array([marks[name] for name in groups], np.int64)

    def unit_prompts(self) -> Ints:
        """The prompt of each unit of the table's first line."""
        return units(self.found, self.scores).prompt_U

    # --- beside the table ----------------------------------------------------------------------

    def _known(self) -> tuple[Floats, Floats, Floats, Ints]:
        """(gap_C, better_C, worse_C in characters, prompt_C) of the comparisons with a score."""
        known = ~np.isnan(self.gap_C)
        texts = [self.found.items[i].responses for i, *_ in self.pairs]
        better_C = np.array([float(len(t[p[1]])) for t, p in zip(texts, self.pairs, strict=True)])
        worse_C = np.array([float(len(t[p[2]])) for t, p in zip(texts, self.pairs, strict=True)])
        prompt_C = self.prompt_I[[i for i, *_ in self.pairs]] if self.pairs else np.zeros(0, int)
        return self.gap_C[known], better_C[known], worse_C[known], prompt_C[known]

    def length(self) -> Length | None:
        """None where nothing is compared."""
        gap_C, better_C, worse_C, prompt_C = self._known()
        if not len(gap_C):
            return None
        lean = length_lean(gap_C, better_C, worse_C, prompt_C, self.prompts)
        apart = better_C != worse_C
        right_C = np.where(gap_C == 0, 0.5, gap_C > 0)
        bin_C = by_ratio(better_C, worse_C, EDGES)
        ends = [None, *EDGES.tolist(), None]
        bins = []
        for place in range(len(EDGES) + 1):
            credit_C = np.where(bin_C == place, right_C, np.nan)
            n = int((bin_C == place).sum())
            tally = mean_credit(credit_C, prompt_C, self.prompts)
            accuracy = tally.interval(self.draws) if n >= FEWEST else None
            bins.append(RatioBin(ends[place], ends[place + 1], accuracy, n))
        people = float((better_C > worse_C)[apart].mean()) if apart.any() else None
        return Length(
            self._share(lean.picks_longer), people, self._share(lean.picks_longer_worse),
            self._share(lean.right_when_longer), self._share(lean.right_matched), self._slope(),
            bins,
        )  # fmt: skip

    def _share(self, tally: Tally) -> Share:
        return Share(tally.interval(self.draws), int(tally.sums[:, 1].sum()))

    def _slope(self) -> Interval | None:
        item_R = [i for i, item in enumerate(self.found.items) for _ in item.responses]
        scores_R = np.concatenate(self.scores)
        lengths_R = np.array([len(t) for item in self.found.items for t in item.responses], float)
        prompt_R = self.prompt_I[item_R]
        return length_slope(scores_R, lengths_R, prompt_R, self.prompts).interval(self.draws)

    def attributes(self, reward: Reward) -> list[Attribute]:
        """Of each attribute that people rated too; without any, of the one that ranks against
        helpfulness."""
        if self.found.kind != "ratings":
            return []
        named = [name for name in ATTRIBUTES if name in self.answers.attributes]
        both = [(name, name) for name in named] or [(self.by, ATTRIBUTES[0])]
        return [self._attribute(mine, theirs, reward) for mine, theirs in both]

    def _attribute(self, mine: str, theirs: str, reward: Reward) -> Attribute:
        column = ATTRIBUTES.index(theirs)
        item_R = [i for i, item in enumerate(self.found.items) for _ in item.responses]
        prompt_R = self.prompt_I[item_R]
        people_R = np.array([r[column] for item in self.found.items for r in item.ratings])
        scores_R = np.concatenate(self.answers.of(mine))
        n = int((~(np.isnan(people_R) | np.isnan(scores_R))).sum())
        kappa = None
        if reward.attributes[mine] == SCALE:
            said, rated = (on_scale(values, *SCALE, LEVELS) for values in (scores_R, people_R))
            tally = cohen_kappa(said, rated, LEVELS, prompt_R, self.prompts)
            kappa = tally.interval(self.draws)
        return Attribute(
            mine, theirs, n,
            pearson(scores_R, people_R, prompt_R, self.prompts).interval(self.draws),
            spearman(scores_R, people_R, prompt_R, self.prompts).interval(self.draws),
            kappa, PEOPLE[theirs] if kappa else None,
        )  # fmt: skip

    def figures(self, reward: Reward) -> SetFigures:
        """Everything that is said of one reward on this set."""
        gap_C, _, _, prompt_C = self._known()
        found, kind = self.found, self.found.kind
        failed = sum(bool(np.isnan(scores).any()) for scores in self.scores)
        return SetFigures(
            found.name, kind, TITLES[kind], RULES[kind], found.files, len(found.items),
            self.prompts, found.responses, failed, self.answers.refused, found.left_out,
            len(gap_C), int((gap_C == 0).sum()), self.rows(),
            reliability(gap_C, prompt_C, self.prompts, self.draws), self.length(),
            self.attributes(reward), [], self._notes(),
        )  # fmt: skip

    def _notes(self) -> list[str]:
        found = []
        tied = sum(item.tie for item in self.found.items)
        if tied:
            share = tied / len(self.found.items)
            found.append(f"people found {tied:,} pairs equal, {share:.0%} of all")
        if tied == len(self.found.items):
            found.append("no vote is decided: there is no accuracy to tell")
        counts = Counter(item.subset for item in self.found.items)
        if self.found.kind == "rewardbench" and not _is_whole(counts):
            found.append(
                "a sample of the benchmark: subsets count as published, not as they are here"
            )
        return found


def _is_whole(counts: Counter[str]) -> bool:
    """Whether every subset of RewardBench is there with all its examples."""
    sizes = {name: n for section in SECTIONS.values() for name, n in section.items()}
    return all(counts[name] >= (MATH_PRM if name == "math-prm" else n) for name, n in sizes.items())


# --- two rewards ---------------------------------------------------------------------------------


def compare(first: Measured, second: Measured) -> list[Compared]:
    """Line by line, on the items that both scored."""
    both = [
        ~(np.isnan(a).any() | np.isnan(b).any())
        for a, b in zip(first.scores, second.scores, strict=True)
    ]
    tables = [
        one.table([np.where(there, s, np.nan) for there, s in zip(both, one.scores, strict=True)])
        for one in (first, second)
    ]
    return [
        Compared(
            these.label, these.level, these.n, these.tally.value, those.tally.value,
            difference(these.tally, those.tally).interval(first.draws),
            None if first.found.kind in GRIDS else discordance(these.credit_U, those.credit_U),
        )
        for these, those in zip(*tables, strict=True)
    ]  # fmt: skip
