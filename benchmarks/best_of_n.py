"""Best-of-n: what n more samples add, as predicted and as found, and what stopping early saves.

    python benchmarks/best_of_n.py [--data ../shared/data] [--out runs/best-of-n]
        [--prompts 140] [--instructions 90] [--samples 16]

1. Humans: HelpSteer2's two rated answers a prompt, the better one by the humans' own ratings and
   by a reward head that was trained on other prompts, against what is predicted for k = 2. (From
   two answers a reward's own prediction is its curve by construction; the held-out one is not.)
2. Urns (synthetic): each of those prompts goes on from its two human ratings as a Pólya urn over
   all ratings, so that scores are as discrete, as skewed and as different from prompt to prompt as
   humans' are. Adaptive n against a fixed 8.
3. A model: SmolLM2-135M answers single-turn prompts `--samples` times, graded by the embedded
   reward: the same. The answers are bought once and lie in `--out`: about 25 CPU minutes.
4. Verifiers: the same model answers IFEval prompts, `--instructions` of them, graded by the share
   of instructions that an answer follows, and by whether it follows all (0 or 1). Prompts are
   chosen by their instructions alone: those that 80 tokens can follow and can break, see
   best_of_n_instructions.py. Lies in `--out` too: about 20 CPU minutes; 0 leaves it out.
5. The meter: the answers of 3 picked at random, by length, and by heads trained on few human
   ratings, all valued by a head trained on others'. All heads see the same features, so what they
   have in common does not show: a real held-out score turns down sooner.

Adaptive n is cross-fitted: prior and cost come from four fifths of the prompts, calls and reward
are counted on the last fifth. The prior has seen `PILOT` draws of each prompt, and the cost is the
one at which the same rule, replayed on these prompts, gave the reward of a fixed 8. Each prompt's
draws are replayed in the order they were recorded, up to 16, and in 100 others.
"Of the calls" compares with the fixed n of the same reward, read off the unbiased curve. The bound
is a rule that knows each prompt's own mean and spread beforehand, which none can. With 0 and 1
failures are all alike, so a rule that learns from scores stops at the first success or after so
many draws: a line says what that saves at exactly the reward of a fixed 8. It hangs on the writer,
not on the rule, and is little where most prompts are beyond it.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from best_of_n_pools import MODEL, REWARD, Row, generate, rated, urns, verified
from best_of_n_shown import Study, over_optimisation, said, show_curve, write
from numpy.typing import NDArray

from karat.intervals import Interval, Resamples
from karat.scoring.best_of import curves
from karat.scoring.overoptimisation import meter
from karat.scoring.stopping import Prior, Rule, cost_for_budget, falling_gains
from karat.scoring.student import improvement

Floats = NDArray[np.float64]
Scale = tuple[float, float]

FIXED, PILOT, LEAST, MOST, FOLDS, ORDERS = 8, 4, 2, 16, 5, 100
BUDGETS = (2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
CURVE = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
HUMAN, SHARE = (0.0, 4.0), (0.0, 1.0)  # scales


# --- adaptive against fixed --------------------------------------------------------------------


class Outcome(NamedTuple):
    """Mean calls and best reward of each prompt, over the orders its draws were replayed in."""

    calls_P: Floats
    reward_P: Floats


def orders(scores_PN: Floats, seed: int) -> Floats:
    """score_ON: up to `MOST` draws of every prompt, in `ORDERS` orders, one after another."""
    random = np.random.default_rng(seed)
    drawn = [random.permuted(scores_PN, axis=1)[:, :MOST] for _ in range(ORDERS)]
    return np.concatenate(drawn)


def replay(rule: Rule, prior: Prior, scores_PN: Floats, drawn_ON: Floats) -> Outcome:
    lengths_O = rule.lengths(drawn_ON, prior)
    best_ON = np.maximum.accumulate(drawn_ON, axis=1)
    reward_O = best_ON[np.arange(len(drawn_ON)), lengths_O - 1]
    shape = (-1, len(scores_PN))
    return Outcome(lengths_O.reshape(shape).mean(0), reward_O.reshape(shape).mean(0))


def cost_for_reward(reward: float, falling_ON: Floats, drawn_ON: Floats) -> float:
    """The highest cost at which the replayed draws reach a mean reward."""
    best_ON, rows = np.maximum.accumulate(drawn_ON, axis=1), np.arange(len(drawn_ON))
    low, high = 0.0, float(falling_ON.max())
    for _ in range(40):
        cost = (low + high) / 2
        taken_O = LEAST + (falling_ON > cost).sum(axis=1)
        enough = best_ON[rows, taken_O - 1].mean() >= reward
        low, high = (cost, high) if enough else (low, cost)
    return low


Costing = Callable[[Prior, Floats], float]


def reward_of_fixed(prior: Prior, pools_PN: Floats) -> float:
    """The cost that gives other prompts the reward of a fixed 8."""
    drawn_ON = orders(pools_PN, 1)
    falling_ON = falling_gains(drawn_ON, prior, LEAST)
    return cost_for_reward(float(curve(pools_PN)[:, FIXED - 1].mean()), falling_ON, drawn_ON)


def budget_of(calls: float) -> Costing:
    """The cost that `cost_for_budget` finds from the pilot alone."""

    def costing(prior: Prior, pools_PN: Floats) -> float:
        pilot_PN = pools_PN[:, :PILOT]
        counts_P = np.full(len(pilot_PN), PILOT)
        return cost_for_budget(
            prior, counts_P, pilot_PN.ravel(), calls, least=LEAST, most=MOST, seed=7
        )

    return costing


def cross_fitted(
    scores_PN: Floats, scale: Scale, costing: Costing, recorded: bool = False
) -> Outcome:
    """Every prompt by a rule that was made from the prompts of other folds."""
    fold_P = np.random.default_rng(3).permutation(len(scores_PN)) % FOLDS
    calls_P, reward_P = np.empty(len(scores_PN)), np.empty(len(scores_PN))
    for fold in range(FOLDS):
        others_PN, held_PN = scores_PN[fold_P != fold], scores_PN[fold_P == fold]
        pilot_PN = others_PN[:, :PILOT]
        prior = Prior.from_pilot(np.full(len(pilot_PN), PILOT), pilot_PN.ravel(), scale)
        rule = Rule(costing(prior, others_PN), LEAST, MOST)
        found = replay(rule, prior, held_PN, held_PN if recorded else orders(held_PN, 2))
        calls_P[fold_P == fold], reward_P[fold_P == fold] = found
    return Outcome(calls_P, reward_P)


def bound(scores_PN: Floats, scale: Scale) -> Outcome:
    """Weitzman's rule with each pool's own mean and spread known before the first draw."""
    drawn_ON = orders(scores_PN, 2)
    mean_O, sd_O = (
        np.tile(values_P, ORDERS)[:, None]
        for values_P in (scores_PN.mean(axis=1), scores_PN.std(axis=1, ddof=1) + 1e-12)
    )
    best_ON = np.maximum.accumulate(drawn_ON, axis=1)
    gain_ON = sd_O * improvement((best_ON - mean_O) / sd_O, 1e4)
    gain_ON[best_ON >= scale[1]] = 0
    falling_ON = np.minimum.accumulate(gain_ON, axis=1)[:, LEAST - 1 : -1]
    target = float(curve(scores_PN)[:, FIXED - 1].mean())
    cost = cost_for_reward(target, falling_ON, drawn_ON)
    taken_O = LEAST + (falling_ON > cost).sum(axis=1)
    shape = (ORDERS, len(scores_PN))
    reward_O = best_ON[np.arange(len(best_ON)), taken_O - 1]
    return Outcome(taken_O.reshape(shape).mean(0), reward_O.reshape(shape).mean(0))


def to_first_success(curve_PK: Floats) -> Outcome:
    """Of 0 and 1: drawn on to the first 1, `FIXED` times at most, all expected without replay.

    Failures are all alike, so whatever is learned from other prompts, a rule can only say how many
    of them it stands: none saves more at this reward but by what it knows of the prompt itself.
    """
    calls_P = 1 + (1 - curve_PK[:, : FIXED - 1]).sum(axis=1)
    return Outcome(calls_P, curve_PK[:, FIXED - 1])


def curve(scores_PN: Floats) -> Floats:
    """The unbiased best-of-k curve of each prompt."""
    return curves(np.full(len(scores_PN), scores_PN.shape[1]), scores_PN.ravel())


def share_of_calls(found: Outcome, curve_PK: Floats, resamples: Resamples) -> Interval:
    """Calls over those of the fixed n (a mix of two neighbours) that gives the same reward."""
    k_K = np.arange(1.0, curve_PK.shape[1] + 1)

    def quotient(sums: Floats) -> Floats:
        same = [np.interp(line[1], line[3:], k_K) for line in sums]
        return sums[:, 0] / sums[:, 2] / np.array(same)

    columns = [found.calls_P, found.reward_P, np.ones(len(curve_PK)), *curve_PK.T]
    return resamples.interval(columns, quotient)


# --- what is shown -----------------------------------------------------------------------------


def instructed(rows: list[Row]) -> list[Study]:
    """The same for answers that were checked: by the share of instructions they follow, and by
    whether they follow all."""
    studies = []
    for key, name in (
        ("verifier.instructions_share", "share of instructions"),
        ("verifier.instructions", "all instructions"),
    ):
        scores_PN = np.array([[r.scores[key] for r in row.responses] for row in rows])
        counts_P = np.full(len(rows), scores_PN.shape[1])
        print(f"   by {key}")
        show_curve(meter(counts_P, scores_PN.ravel()), CURVE)
        studies.append(compare(f"SmolLM2-135M, {name}", scores_PN, SHARE))
    return studies


def compare(name: str, scores_PN: Floats, scale: Scale) -> Study:
    """Prints adaptive n against fixed n."""
    curve_PK, resamples = curve(scores_PN), Resamples(len(scores_PN), 7)
    target_P = curve_PK[:, FIXED - 1]
    print(f"{name}: {len(scores_PN)} prompts × {scores_PN.shape[1]} draws")
    print(f"{'':34}{'calls':24}{'of the calls of the same reward':34}reward less fixed {FIXED}'s")

    def line(what: str, found: Outcome) -> Interval:
        share = share_of_calls(found, curve_PK, resamples)
        gap = resamples.mean(found.reward_P - target_P)
        print(f"  {what:32}{said(resamples.mean(found.calls_P), 2):24}{said(share):34}{said(gap)}")
        return share

    adaptive = cross_fitted(scores_PN, scale, reward_of_fixed)
    share = line(f"reward of fixed {FIXED}", adaptive)
    line("  in the order recorded", cross_fitted(scores_PN, scale, reward_of_fixed, recorded=True))
    points = []
    for budget in BUDGETS:
        found = cross_fitted(scores_PN, scale, budget_of(budget))
        points.append((float(found.calls_P.mean()), float(found.reward_P.mean())))
        line(f"budget of {budget:g} calls", found)
    line("bound: mean and spread known", bound(scores_PN, scale))
    if len(np.unique(scores_PN)) == 2:
        line(f"first success, {FIXED} at most", to_first_success(curve_PK))
    top_P = scores_PN.max(axis=1) >= scale[1]
    if top_P.any() and not top_P.all():
        met, never = (adaptive.calls_P[mask_P].mean() for mask_P in (top_P, ~top_P))
        print(
            f"  calls at the reward of fixed {FIXED}: {met:.2f} for {top_P.sum()} prompts with a "
            f"top score in {scores_PN.shape[1]} draws, {never:.2f} for the other {(~top_P).sum()}"
        )
    verdict = (
        "reached"
        if share.high <= 0.6
        else "reached on average"
        if share.value <= 0.6
        else "NOT reached"
    )
    print(f"  ≤ 60% of the calls of a fixed {FIXED}: {verdict}\n")
    return Study(name, curve_PK.mean(axis=0), points, share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("runs/best-of-n"))
    parser.add_argument("--prompts", type=int, default=140)
    parser.add_argument("--instructions", type=int, default=90)
    parser.add_argument("--samples", type=int, default=MOST)
    asked = parser.parse_args()
    version = importlib.metadata.version("karat")
    print(
        f"{datetime.date.today()}, karat {version}, Python {platform.python_version()}, numpy "
        f"{np.__version__}; 95% BCa intervals over prompts\n"
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    table, human_PN, head_PN = rated(asked.data)
    counts_P = np.full(len(human_PN), 2)
    print(f"1. HelpSteer2, {len(human_PN)} prompts, the better of two by the humans' own rating")
    show_curve(meter(counts_P, human_PN.ravel()), (1, 2))
    print("   by a head trained on other prompts, held-out: the humans' rating")
    found = meter(counts_P, head_PN.ravel(), human_PN.ravel())
    show_curve(found, (1, 2))
    print(f"   correlation within prompts {found.correlation:.3f}\n")

    print("2. ", end="")
    urn = compare("Urns of human ratings (synthetic)", urns(human_PN, MOST - 2), HUMAN)

    rows = generate(asked.data, asked.out, asked.prompts, asked.samples)
    key = f"{REWARD}.reward"
    scores_PN = np.array([[r.scores[key] for r in row.responses] for row in rows])
    counts_P = np.full(len(rows), asked.samples)
    print(f"3. {MODEL} graded by {key}, {len(rows)} prompts")
    show_curve(meter(counts_P, scores_PN.ravel()), CURVE)
    model = compare("SmolLM2-135M, embedded reward", scores_PN, HUMAN)

    studies = [urn, model]
    if asked.instructions:
        place = asked.out / "instructions"
        checked = verified(asked.data, place, asked.instructions, asked.samples)
        print(f"4. {MODEL} on {len(checked)} prompts of IFEval, checked")
        studies += instructed(checked)
    write(studies, asked.out)

    print("5. Over-optimisation: the answers of 3, held-out: a head trained on 250 other prompts")
    over_optimisation(table, rows)
    print(f"\nwritten: {asked.out / 'best_of_n.svg'}, {asked.out / 'best_of_n.csv'}")
    line = {s.name: {"share_of_calls": [s.share.value, s.share.low, s.share.high]} for s in studies}
    print(json.dumps({"benchmark": "best_of_n", **line}, ensure_ascii=False))


if __name__ == "__main__":
    main()
