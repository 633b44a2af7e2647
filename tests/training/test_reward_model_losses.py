"""The torch objectives are those of the NumPy reference and of TRL, whole or cut into parts."""

from __future__ import annotations

import numpy as np
import pytest
from later import later
from tiny_model import tiny_model, tiny_tokenizer

from karat.training.finetune.examples import Example, micro_batches
from karat.training.finetune.losses import count, loss_sum
from karat.training.finetune.trainer import scores_of, target_of
from karat.training.objectives import bradley_terry, masked_mse

torch, transformers = later("torch", "transformers")

RNG = np.random.default_rng(3)


def with_gradient(objective, scores, target):
    """(mean loss, its gradient) as autograd has it, in float64."""
    given = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    wanted = torch.tensor(target, dtype=torch.float64)
    loss = loss_sum(objective, given, wanted) / max(count(objective, wanted), 1)
    loss.backward()
    return float(loss.detach()), given.grad.numpy()


@pytest.mark.parametrize("holes", [0.0, 0.4, 1.0])
def test_the_regression_is_the_reference(holes):
    scores, rated = RNG.normal(2, 1, (7, 5)), RNG.integers(0, 5, (7, 5)).astype(float)
    rated[RNG.random((7, 5)) < holes] = np.nan
    value, gradient = with_gradient("regression", scores, rated)
    wanted = masked_mse(scores, rated)
    assert value == pytest.approx(wanted.value, rel=1e-12)
    np.testing.assert_allclose(gradient, wanted.gradient, rtol=1e-12)


@pytest.mark.parametrize("kind", ["bt", "margin", "scaled"])
@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_pairwise_losses_are_the_reference(kind, spread):
    chosen, rejected = RNG.normal(0, spread, 9), RNG.normal(0, spread, 9)
    strength = RNG.integers(1, 4, 9).astype(float)
    value, gradient = with_gradient(kind, np.concatenate([chosen, rejected])[:, None], strength)
    wanted = bradley_terry(chosen - rejected, strength, kind)
    assert value == pytest.approx(wanted.value, rel=1e-12)
    both = np.concatenate([wanted.gradient, -wanted.gradient])
    np.testing.assert_allclose(gradient[:, 0], both, rtol=1e-9, atol=1e-300)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_model(tmp_path_factory.mktemp("rm") / "rm", "SequenceClassification")
    found = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    found.config.pad_token_id = 258
    return found.train()


def pairs(n=6):
    """Pairs of uneven length."""
    return [
        Example(
            tuple(RNG.integers(0, 250, RNG.integers(3, 40)).astype(np.int32) for _ in range(2)),
            (float(RNG.integers(1, 4)),),
        )
        for _ in range(n)
    ]


def gradients(model, batch, objective, budget):
    model.zero_grad()
    whole = count(objective, target_of(objective, batch, "cpu"))
    total = 0.0
    for part in micro_batches(batch, budget):
        scores = scores_of(model, part, 258, "cpu")
        loss = loss_sum(objective, scores, target_of(objective, part, "cpu")) / whole
        loss.backward()
        total += float(loss.detach())
    return total, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("objective", ["bt", "scaled"])
def test_a_batch_may_be_cut_anywhere(model, objective):
    batch = pairs()
    value, gradient = gradients(model, batch, objective, 10**6)
    for budget in (1, 90, 200):
        again, same = gradients(model, batch, objective, budget)
        assert again == pytest.approx(value, rel=1e-5)
        torch.testing.assert_close(same, gradient, rtol=1e-3, atol=1e-6)


def test_parts_hold_every_example_once_and_no_more_tokens_than_fit():
    batch = pairs(40)
    parts = micro_batches(batch, 150)
    assert sorted(map(id, batch)) == sorted(id(one) for part in parts for one in part)
    for part in parts:
        rows, width = sum(len(one.texts) for one in part), max(one.longest for one in part)
        assert len(part) == 1 or rows * width <= 150


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("objective", ["bt", "margin"])
def test_loss_and_gradients_are_those_of_trl(model, objective, tmp_path):
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    batch = pairs()
    rows = [
        {
            "chosen_ids": one.texts[0].tolist(), "rejected_ids": one.texts[1].tolist(),
            **({"margin": one.target[0]} if objective == "margin" else {}),
        }
        for one in batch
    ]  # fmt: skip
    args = trl.RewardConfig(str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True)
    theirs = trl.RewardTrainer(
        model, args, train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
    )  # fmt: skip
    model.zero_grad()
    loss = theirs.compute_loss(model, dict(theirs.data_collator(rows)))
    loss.backward()
    wanted = torch.cat([p.grad.flatten() for p in model.parameters()])
    value, gradient = gradients(model, batch, objective, 10**6)
    assert value == pytest.approx(float(loss.detach()), rel=1e-5)
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-6)
