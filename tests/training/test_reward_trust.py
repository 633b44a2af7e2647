"""What cross-validation says of a head: uncertainty, calibration, and choosing among many."""

from dataclasses import replace

import numpy as np
import pytest

from karat.training.reward_cross import Held
from karat.training.reward_figures import Outcomes, pearson, resampled
from karat.training.reward_search import _choice
from karat.training.reward_table import Table
from karat.training.reward_trust import _auroc, calibrations, lengths, sureness

REPEATS, PROMPTS, MEMBERS = 2, 200, 4


def made() -> tuple[Table, Held]:
    """Two answers to each prompt; the members disagree where they are wrong, and love length."""
    rng = np.random.default_rng(0)
    rows = 2 * PROMPTS
    human_R = rng.integers(0, 5, rows).astype(float)
    log_chars_R = rng.normal(6, 1, rows)
    doubt_R = rng.choice([0.05, 3.0], rows)
    noise_VR = rng.normal(size=(REPEATS, rows)) * doubt_R
    reward_VR = human_R / 2 + log_chars_R / 10 + noise_VR / 4
    votes = reward_VR[:, :, None] + rng.normal(size=(REPEATS, rows, MEMBERS)) * doubt_R[:, None] / 8
    raw = np.zeros((rows, 90), np.float32)
    raw[:, 0] = log_chars_R
    first = np.arange(0, rows, 2)
    gap = human_R[first] - human_R[first + 1]
    none = np.empty((0, 90), np.float32)
    table = Table(
        raw_RW=raw,
        y_RA=np.repeat(human_R[:, None], 5, axis=1),
        group_R=np.repeat(np.arange(PROMPTS), 2).astype(str),
        source_R=np.repeat("", rows),
        spoiled_SW=none,
        spoiled_y_SA=np.empty((0, 5)),
        row_S=np.empty(0, np.int64),
        tested_KNW=np.empty((0, 0, 90), np.float32),
        tested_N=np.empty(0, np.int64),
        chosen_PW=none,
        rejected_PW=none,
        strength_P=np.empty(0),
        group_P=np.empty(0, np.str_),
        better_Q=np.where(gap > 0, first, first + 1)[gap != 0],
        worse_Q=np.where(gap > 0, first + 1, first)[gap != 0],
        strength_Q=np.abs(gap[gap != 0]),
    )
    said_VRA = np.repeat(votes.mean(axis=2)[:, :, None], 5, axis=2)
    held = Held(
        attributes_VRA=2 * said_VRA - 0.6,
        plain_VRA=said_VRA,
        reward_VRM=votes,
        taste_VR=np.tile(log_chars_R / 10 - 0.6, (REPEATS, 1)),
        chosen_VPM=np.empty((REPEATS, 0, MEMBERS)),
        rejected_VPM=np.empty((REPEATS, 0, MEMBERS)),
        taste_VP=np.empty((REPEATS, 0)),
        spoiled_VKN=np.empty((REPEATS, 0, 0)),
        fold_VR=np.zeros((REPEATS, rows), np.int64),
        cpu_s=0.0,
    )
    return table, held


def test_auroc_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    doubt, wrong = rng.integers(0, 6, 200).astype(float), rng.random(200) < 0.4
    assert _auroc(doubt, wrong) == pytest.approx(metrics.roc_auc_score(wrong, doubt))
    assert np.isnan(_auroc(doubt, np.zeros(200, bool)))


def test_uncertainty_that_knows_its_errors_is_seen_to() -> None:
    table, held = made()
    spread = sureness(table, held)[0]
    assert spread.auroc.low > 0.5
    whole, *fewer = spread.accuracy
    assert fewer[-1] > whole + 0.03
    random = np.random.default_rng(2).normal(size=held.reward_VRM.shape) * 1e-6
    blind = replace(held, reward_VRM=held.reward_VRM.mean(axis=2, keepdims=True) + random)
    assert abs(sureness(table, blind)[0].auroc.value - 0.5) < 0.08
    assert sureness(table, replace(held, reward_VRM=held.reward_VRM[:, :, :1])) == ()


def test_calibration_before_and_after() -> None:
    table, held = made()
    slope, intercept = np.polyfit(held.plain_VRA[0, :, 0].clip(0, 4), table.y_RA[:, 0], 1)
    line = slope * held.plain_VRA.clip(0, 4) + intercept
    found = calibrations(table, replace(held, attributes_VRA=line))
    assert [c.name for c in found][-1] == "reward"
    helpfulness = found[0]
    assert helpfulness.before[0] == pytest.approx(slope, rel=0.2)
    assert helpfulness.after[0] == pytest.approx(1, rel=0.2)
    assert helpfulness.after[2] < helpfulness.before[2] / 2


def test_length_taken_off_is_picked_less() -> None:
    table, held = made()
    (rated,) = lengths(table, held)
    assert rated.picks_longer[1] < rated.picks_longer[0]
    assert rated.longer_is_worse[1].value > rated.longer_is_worse[0].value
    assert rated.accuracy[0].n == len(table.better_Q)


def test_a_choice_among_equals_is_worth_no_more_than_they_are() -> None:
    rng = np.random.default_rng(3)
    group, nothing = np.arange(200).astype(str), np.zeros(200)
    best, choice = [], []
    for _ in range(20):
        wins = rng.integers(0, 2, (15, 200)).astype(float)
        lines = [Outcomes(win, nothing, group, nothing) for win in wins]
        best.append(wins.mean(axis=1).max())
        choice.append(_choice(lines, 5, 0).value)
    assert np.mean(best) > 0.54
    assert abs(np.mean(choice) - 0.5) < 0.03


def test_resampling_and_correlation() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=300)
    y = x + rng.normal(size=300)
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    low, high = resampled(lambda rows: pearson(x[rows], y[rows]), np.arange(300).astype(str))
    assert low < pearson(x, y) < high
    assert np.isnan(pearson(x, np.ones(300)))
