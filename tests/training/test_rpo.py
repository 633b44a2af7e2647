"""RPO in torch is RPO in NumPy: alone, and in the trainer, from tokens to the loss it reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import slow
from later import later
from tiny_model import tiny_model

from karat.errors import RecipeError
from karat.row import Message
from karat.training.objectives import rpo
from karat.training.rpo import rpo_loss
from karat.training.student_settings import Settings
from karat.training.students import train_preference
from karat.training.writing import Writer

torch = later("torch")

SCORES = [(3.0, 1.0), (2.5, 2.0), (4.0, 0.0), (1.0, 0.5)]
SPREAD = float(np.std(SCORES))
QUICK: dict[str, Any] = {
    "epochs": 2, "batch_size": 2, "device_batch": 2, "learning_rate": 5e-3, "device": "cpu",
}  # fmt: skip


def lines() -> list[dict[str, Any]]:
    turns = [
        ([{"role": "user", "content": f"Say {i}"}], f"yes {'!' * i}", f"no {i}") for i in range(4)
    ]
    return [
        {
            "prompt": prompt,
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "score_chosen": scores[0],
            "score_rejected": scores[1],
        }
        for (prompt, chosen, rejected), scores in zip(turns, SCORES, strict=True)
    ]


@pytest.mark.parametrize(("beta", "eta"), [(0.1, 1.0), (1.0, 0.5), (1e-3, 3.0)])
def test_loss_and_gradient_are_numpys(beta: float, eta: float) -> None:
    draw = np.random.default_rng(0)
    ratio_P, gap_P = draw.normal(0, 20, 50), draw.normal(0, 2, 50)
    expected = rpo(ratio_P, gap_P, beta, eta)
    given = torch.tensor(ratio_P, requires_grad=True)
    loss = rpo_loss(given, torch.tensor(gap_P), beta, eta).mean()
    loss.backward()
    assert loss.item() == pytest.approx(expected.value, rel=1e-12)
    assert given.grad is not None
    assert given.grad.numpy() == pytest.approx(expected.gradient, rel=1e-9, abs=1e-15)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "base")


def likelihoods(model: Path) -> np.ndarray:
    """nats_P2 of each line's chosen and rejected answer."""
    asked = [
        ([Message(**turn) for turn in line["prompt"]], line[side][0]["content"])
        for line in lines()
        for side in ("chosen", "rejected")
    ]
    return Writer(model, device="cpu").log_likelihood(asked)[0].reshape(-1, 2)


def test_the_trainer_reports_numpys_loss_of_the_student_it_made(base: Path, tmp_path: Path) -> None:
    """Rewards come through the collator in their rows' order, in units of σ, or this would not be
    equal; nor would it if likelihoods were of other tokens than those that are written."""
    settings = Settings(**QUICK, eta=0.7, sft_coefficient=0.01)
    done = train_preference(
        lines(), str(base), tmp_path / "out", settings, print, "rpo", held_out={"test": lines()}
    )
    ratio_P2 = likelihoods(tmp_path / "out") - (reference_P2 := likelihoods(base))
    gap_P = np.subtract(*np.array(SCORES).T) / SPREAD
    moved = rpo(ratio_P2[:, 0] - ratio_P2[:, 1], gap_P, 0.1, 0.7).value
    still = rpo(np.zeros(4), gap_P, 0.1, 0.7).value
    before = still - 0.01 * reference_P2[:, 0].mean()
    after = moved - 0.01 * (ratio_P2 + reference_P2)[:, 0].mean()
    assert done.held_out["test"] == pytest.approx((before, after), rel=1e-4)
    assert moved < still


@slow
def test_rpo_stops_where_the_reward_does_and_dpo_goes_on(base: Path, tmp_path: Path) -> None:
    alone = [lines()[1]] * 4
    alone[0] = {**alone[0], "score_chosen": 9.0, "score_rejected": -9.0}  # so that σ is large
    steps = {**QUICK, "epochs": 16, "beta": 1.0, "batch_size": 4, "device_batch": 4}
    for objective in ("rpo", "dpo"):
        train_preference(
            alone, str(base), tmp_path / objective, Settings(**steps), print, objective
        )
    reference = np.subtract(*likelihoods(base)[1])
    gaps = {o: np.subtract(*likelihoods(tmp_path / o)[1]) - reference for o in ("rpo", "dpo")}
    assert gaps["dpo"] > 3 * gaps["rpo"] > 0


def test_rewards_that_say_nothing_are_refused(base: Path, tmp_path: Path) -> None:
    bare = [{k: v for k, v in line.items() if "score" not in k} for line in lines()]
    with pytest.raises(RecipeError, match="`karat train dpo` does without"):
        train_preference(bare, str(base), tmp_path / "a", Settings(**QUICK), print, "rpo")
    flat = [{**line, "score_chosen": 1.0, "score_rejected": 1.0} for line in lines()]
    with pytest.raises(RecipeError, match="same reward"):
        train_preference(flat, str(base), tmp_path / "b", Settings(**QUICK), print, "rpo")
