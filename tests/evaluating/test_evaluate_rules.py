"""Credit and figures against the benchmarks' own rules, written out a second time."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from karat.evaluating.benchmarks import SECTIONS
from karat.evaluating.items import EvalSet, Item
from karat.evaluating.protocols import lines
from karat.evaluating.units import by_chance, units
from karat.intervals import Resamples
from karat.row import Message
from karat.scoring.correlation import mean_ranks, pearson, spearman
from karat.scoring.credit import (
    best_of_credit,
    chance_of_ties,
    grid_credit,
    pair_credit,
    standing_of,
    ties_credit,
)
from karat.scoring.length_lean import by_ratio, length_lean
from karat.scoring.paired import difference, discordance, exact_sign_test
from karat.scoring.reliability import reliability, sure
from karat.scoring.sections import mean_credit
from karat.scoring.tie_aware import best_width, tie_aware_credit, verdicts

scores = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0])


def item(responses, number=0, **more):
    texts = tuple(f"answer {place}" for place in range(responses))
    return Item((Message("user", f"question {number}"),), texts, f"question {number}", **more)


def table(kind, items, values):
    found = EvalSet("set", kind, items)
    made = lines(kind, units(found, [np.array(v, float) for v in values]))
    return {line.label: line for line in made}


def value(kind, items, values, label):
    return table(kind, items, values)[label].tally.value


# --- RewardBench ---------------------------------------------------------------------------------


def section_scores(metrics):
    """calculate_scores_per_section, as README of allenai/reward-bench tells to use it."""
    found = {}
    for section, counts in SECTIONS.items():
        present = [name for name in counts if name in metrics]
        if present:
            total = sum(counts[name] for name in present)
            found[section] = sum(metrics[name] * counts[name] for name in present) / total
    return found


subsets = st.sampled_from([name for section in SECTIONS.values() for name in section])


@given(st.lists(st.tuples(subsets, scores, scores), min_size=1, max_size=40))
def test_rewardbench_weighs_subsets_by_their_published_counts(rows):
    items = [item(2, place, subset=subset) for place, (subset, *_) in enumerate(rows)]
    found = table("rewardbench", items, [pair for _, *pair in rows])
    metrics = {}
    for subset in {row[0] for row in rows}:
        of = [1.0 if a > b else 0.5 if a == b else 0.0 for name, a, b in rows if name == subset]
        metrics[subset] = sum(of) / len(of)
    expected = section_scores(metrics)
    for name, score in {**metrics, **expected}.items():
        assert found[name].tally.value == pytest.approx(score)
    assert found["score"].tally.value == pytest.approx(sum(expected.values()) / len(expected))


def test_the_reasoning_section_gives_math_and_code_one_half_each():
    code = [name for name in SECTIONS["Reasoning"] if name != "math-prm"]
    items = [item(2, 0, subset="math-prm")] + [item(2, n, subset=s) for n, s in enumerate(code, 1)]
    values = [(1, 0), *((0, 1) for _ in code)]
    assert value("rewardbench", items, values, "Reasoning") == pytest.approx(0.5)


def test_prior_sets_count_half_a_section():
    items = [item(2, 0, subset="alpacaeval-easy"), item(2, 1, subset="shp")]
    found = table("rewardbench", items, [(1, 0), (0, 1)])
    assert found["Prior Sets"].tally.value == 0
    assert found["score"].tally.value == pytest.approx(1 / 1.5)
    assert "Safety" not in found


# --- RewardBench 2 -------------------------------------------------------------------------------


@given(st.lists(scores, min_size=2, max_size=6))
def test_best_of_n_shares_among_equals(values):
    top = max(values)
    expected = 1 / values.count(top) if values[0] == top else 0.0
    assert best_of_credit(np.array(values)) == pytest.approx(expected)


def ties_score(samples):
    """process_single_model of rewardbench/utils.py, from id → (right answers, scores)."""
    stats_of = {}
    for key, (right, values) in samples.items():
        good, bad = values[:right], values[right:]
        stats_of[key] = (min(good) > max(bad), max(good) - min(good), min(good) - max(bad))
    ref = {k.split(":")[1]: v for k, v in stats_of.items() if k.startswith("ref")}
    tied = {k.split(":")[1]: v for k, v in stats_of.items() if k.startswith("tied")}
    both = sorted(set(ref) & set(tied))
    prefers = [tied[k][2] > tied[k][1] for k in both]
    hard = [min(ref[k][2], tied[k][2]) > tied[k][1] for k in both]
    margins = []
    for k in both:
        least, spread = min(ref[k][2], tied[k][2]), tied[k][1]
        if spread == 0:
            margins.append(0.0 if least == 0 else math.copysign(1.0, least))
        else:
            margins.append(math.tanh(least / spread - 1))
    mean = lambda some: sum(some) / len(some)  # noqa: E731
    return (
        0.3 * mean([v[0] for v in tied.values()]) + 0.3 * mean([v[0] for v in ref.values()])
        + 0.2 * mean(prefers) + 0.2 * mean(hard) + 0.01 * mean(margins)
    )  # fmt: skip


@st.composite
def ties_sets(draw):
    samples = {}
    for number in range(draw(st.integers(1, 4))):
        for kind, right in (("ref", 1), ("tied", draw(st.integers(2, 4)))):
            size = right + draw(st.integers(1, 3))
            samples[f"{kind}:{number}"] = (
                right,
                draw(st.lists(scores, min_size=size, max_size=size)),
            )
    return samples


@given(ties_sets(), st.lists(st.tuples(*[scores] * 4), min_size=0, max_size=4))
def test_rewardbench_2_ties_have_the_official_score(samples, others):
    items = [
        item(len(values), place, right=right, subset="Ties", key=key)
        for place, (key, (right, values)) in enumerate(samples.items())
    ]
    items += [item(4, 100 + place, subset="Focus") for place in range(len(others))]
    found = table("rewardbench2", items, [v for _, v in samples.values()] + others)
    expected = ties_score(samples)
    assert found["Ties"].tally.value == pytest.approx(expected)
    if others:
        focus = sum(best_of_credit(np.array(v)) for v in others) / len(others)
        assert found["Focus"].tally.value == pytest.approx(focus)
        mean = (focus + expected) / 2
        assert found["mean of the subsets"].tally.value == pytest.approx(mean)


def test_what_random_scores_get_on_ties_is_what_random_scores_get():
    tied, single = (3, 6), (1, 4)
    random = np.random.default_rng(1)
    rows = [
        (standing_of(random.normal(size=4), 1), standing_of(random.normal(size=6), 3))
        for _ in range(20_000)
    ]
    seen = np.mean(
        [(o.accurate, m.accurate, *ties_credit(m, o)) for o, m in rows], axis=0
    )  # fmt: skip
    assert chance_of_ties(tied, single) == pytest.approx(seen, abs=0.03)
    items = [
        item(6, 0, right=3, subset="Ties", key="tied:0"),
        item(4, 1, right=1, subset="Ties", key="ref:0"),
        item(4, 2, subset="Focus"),
    ]
    made = lines("rewardbench2", by_chance(EvalSet("s", "rewardbench2", items)))
    found = {line.label: line for line in made}
    assert found["Focus"].tally.value == 0.25
    assert found["all right above all wrong, many right"].tally.value == pytest.approx(1 / 20)


# --- RM-Bench ------------------------------------------------------------------------------------


def compute_accuracy(rows):
    """compute_accuracy of RM-Bench scripts/utils.py: rows of (domain, 3 right, 3 wrong)."""
    parts = {}
    for domain in ("chat", "math", "code", "safety"):
        of = [(good, bad) for name, good, bad in rows if name.startswith(domain)]
        if of:
            matrix = [[sum(g[i] > b[j] for g, b in of) / len(of) for j in range(3)]
                      for i in range(3)]  # fmt: skip
            parts[domain] = {
                "hard": (matrix[0][1] + matrix[0][2] + matrix[1][2]) / 3,
                "normal": (matrix[0][0] + matrix[1][1] + matrix[2][2]) / 3,
                "easy": (matrix[1][0] + matrix[2][0] + matrix[2][1]) / 3,
            }
    found = {
        kind: float(np.mean([p[kind] for p in parts.values()]))
        for kind in ("hard", "normal", "easy")
    }
    found |= {domain: float(np.mean(list(p.values()))) for domain, p in parts.items()}
    found["mean of the domains"] = float(
        np.mean([np.mean(list(p.values())) for p in parts.values()])
    )
    return found


three = st.tuples(scores, scores, scores)
grids = st.tuples(
    st.sampled_from(["chat", "math", "code", "safety-refuse", "safety-response"]), three, three
)


@given(st.lists(grids, min_size=1, max_size=12))
def test_rm_bench_has_the_official_grid(rows):
    items = [item(6, place, right=3, subset=domain) for place, (domain, *_) in enumerate(rows)]
    found = table("rmbench", items, [(*good, *bad) for _, good, bad in rows])
    for label, expected in compute_accuracy(rows).items():
        assert found[label].tally.value == pytest.approx(expected), label
    assert found["mean of the domains"].n == len(rows)


def test_a_grid_counts_equal_scores_as_wrong():
    grid = grid_credit(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0]))
    assert grid.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 1]]


# --- JudgeBench and LLMBar -----------------------------------------------------------------------


def test_judgebench_counts_a_draw_as_wrong_and_llmbar_as_half():
    items = [item(2, place, subset="Math") for place in range(4)]
    values = [(1, 0), (0.5, 0.5), (0, 1), (0.5, 0.5)]
    assert value("judgebench", items, values, "all") == 0.25
    found = table("llmbar", items, values)
    assert {label: line.tally.value for label, line in found.items()} == {"Math": 0.5}


def test_llmbar_averages_its_parts():
    names = ["Natural", "Neighbor", "Neighbor", "GPTInst", "Manual"]
    items = [item(2, place, subset=name) for place, name in enumerate(names)]
    found = table("llmbar", items, [(1, 0), (1, 0), (0, 1), (0, 1), (1, 0)])
    assert found["adversarial"].tally.value == pytest.approx((0.5 + 0 + 1) / 3)
    assert found["mean of the parts"].tally.value == pytest.approx((1 + 0.5 + 0 + 1) / 4)


# --- ratings -------------------------------------------------------------------------------------


def test_ratings_make_pairs_of_what_people_rated_apart():
    rated = ((4, 4, 4, 2, 2), (4, 4, 4, 2, 2), (1, 1, 2, 1, 1))
    found = table("ratings", [item(3, ratings=rated)], [(2.0, 0.5, 1.0)])
    assert found["all"].n == 2
    assert found["all"].tally.value == 0.5  # of the first against the third, of the second not
    assert found["2 points apart or more"].n == 2


# --- statistics ----------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(better, worse):
    p = exact_sign_test(better, worse)
    if better + worse:
        assert p == pytest.approx(stats.binomtest(better, better + worse).pvalue, abs=1e-9)
    first = np.array([1.0] * better + [0.0] * worse + [1.0, np.nan])
    second = np.array([0.0] * better + [1.0] * worse + [1.0, 1.0])
    found = discordance(first, second)
    assert (found.first, found.second) == (better, worse)


@given(st.lists(st.tuples(scores, scores), min_size=3, max_size=30))
def test_correlations_are_scipys(pairs):
    x, y = np.array(pairs).T
    prompts = np.arange(len(x))
    assert mean_ranks(x).tolist() == stats.rankdata(x).tolist()
    if len(set(x)) > 1 and len(set(y)) > 1:
        missing = np.append(x, np.nan), np.append(y, 1.0), np.append(prompts, 0)
        for ours, theirs in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
            found = ours(*missing, len(x)).value
            assert found == pytest.approx(theirs(x, y)[0], abs=1e-9)
    else:
        assert pearson(x, y, prompts, len(x)).value is None


@given(st.lists(st.tuples(scores, st.sampled_from([-1, 0, 1])), min_size=1, max_size=30))
def test_the_width_of_a_tie_is_the_best_of_all(pairs):
    gap, people = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    right = {w: int((verdicts(gap, w) == people).sum()) for w in [0.0, *np.abs(gap)]}
    assert right[best_width(gap, people)] == max(right.values())


def test_a_tie_is_learned_on_other_prompts():
    gap = np.array([0.1, -0.1, 2.0, -2.0] * 10)
    people = np.array([0, 0, 1, -1] * 10)
    prompts = np.arange(40)
    assert np.nanmean(tie_aware_credit(gap, people, prompts)) == 1.0
    gap[0] = np.nan
    assert np.isnan(tie_aware_credit(gap, people, prompts)[0])


def test_a_calibrated_reward_has_no_more_error_than_chance():
    random = np.random.default_rng(3)
    size = np.abs(random.normal(scale=2, size=1_000))
    right = random.random(1_000) < 1 / (1 + np.exp(-size))
    prompts = np.arange(1_000)
    found = reliability(np.where(right, size, -size), prompts, 1_000, Resamples(1_000, 1, 400))
    assert found.error.value < 2 * found.by_chance
    assert found.slope == pytest.approx(1.0, abs=0.15)
    assert all(a.predicted < b.predicted for a, b in pairwise(found.bins))
    assert sum(one.n for one in found.bins) == 1_000
    blind = reliability(random.normal(size=1_000) + 0.01, prompts, 1_000, Resamples(1_000, 1, 400))
    assert max(one.predicted for one in blind.bins) < 0.6


def test_confidence_does_not_see_its_own_prompt():
    gap = np.array([1.0, 1.0, 1.0, 1.0, -1.0] * 6)
    alone = np.where(np.arange(30) < 5, gap, gap)
    prompts = np.repeat(np.arange(6), 5)
    before = sure(gap, prompts)
    alone[prompts == 0] *= -1  # what one prompt says changes others' confidence, not its own
    after = sure(alone, prompts)
    assert np.array_equal(before[prompts == 0], after[prompts == 0])
    assert not np.array_equal(before[prompts == 1], after[prompts == 1])
    assert np.array_equal(before[prompts == 5], sure(gap, prompts)[prompts == 5])


def test_what_length_is_worth():
    gap = np.array([1.0, 1.0, -1.0, 0.0])
    better, worse = np.array([200.0, 50.0, 100.0, 100.0]), np.array([100.0, 100.0, 400.0, 100.0])
    lean = length_lean(gap, better, worse, np.arange(4), 4)
    assert lean.picks_longer.value == pytest.approx(2 / 3)
    assert lean.picks_longer_worse.value == pytest.approx(1 / 2)
    assert lean.right_when_longer.value == 1.0
    assert lean.right_matched.value == 0.5
    assert by_ratio(better, worse, np.array([-0.5, 0.5])).tolist() == [2, 0, 0, 1]


def test_two_rewards_are_compared_on_the_same_draws():
    random = np.random.default_rng(5)
    first = (random.random(400) < 0.7).astype(float)
    second = first.copy()
    second[:20] = 1 - second[:20]
    prompts = np.arange(400)
    tallies = [mean_credit(x, prompts, 400) for x in (first, second)]
    draws = Resamples(400, 1, 1_000)
    paired = difference(*tallies).interval(draws)
    assert paired.value == pytest.approx(first.mean() - second.mean())
    assert paired.high - paired.low < 0.06  # of two separate samples it would be .13
    assert difference(tallies[0], tallies[0]).interval(draws).value == 0


def test_missing_scores_are_left_out_and_never_zero():
    gap = np.array([1.0, np.nan, 0.0])
    credit = pair_credit(gap)
    assert np.isnan(credit[1])
    assert (credit[0], credit[2]) == (1, 0.5)
    assert mean_credit(credit, np.arange(3), 3).value == 0.75
    for kind, size in (("pairs", 2), ("rmbench", 6), ("rewardbench2", 4)):
        more = {"right": 3} if kind == "rmbench" else {}
        items = [item(size, n, subset="chat", **more) for n in range(2)]
        full, half = np.arange(size, 0, -1.0), np.full(size, np.nan)
        line = next(iter(table(kind, items, [full, half]).values()))
        assert line.n == 1
