"""The objectives against finite differences and against torch's autograd."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from later import later

from karat.training.objectives import bradley_terry, masked_mse, rpo, sigmoid

torch = later("torch")
NUMBERS = st.floats(-30, 30, allow_nan=False)
SEVEN = arrays(np.float64, 7, elements=NUMBERS)
STRENGTH = arrays(np.float64, 7, elements=st.sampled_from([1.0, 2.0, 3.0]))


def _torch(function, x):
    given_x = torch.tensor(x, requires_grad=True)
    loss = function(given_x)
    loss.backward()
    return loss.item(), given_x.grad.numpy()


def _same(loss, expected):
    value, gradient = expected
    assert loss.value == pytest.approx(value, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(loss.gradient, gradient, rtol=1e-9, atol=1e-12)


@given(SEVEN, STRENGTH, st.sampled_from(["bt", "margin", "scaled"]))
def test_bradley_terry_is_autograd_s(gap_P, strength_P, kind):
    m = torch.tensor(strength_P)
    log_sigmoid = torch.nn.functional.logsigmoid
    expected = {
        "bt": lambda x: -log_sigmoid(x).mean(),
        "margin": lambda x: -log_sigmoid(x - m).mean(),
        "scaled": lambda x: -(m * log_sigmoid(x)).mean(),
    }[kind]
    _same(bradley_terry(gap_P, strength_P, kind), _torch(expected, gap_P))


@given(SEVEN, SEVEN, st.floats(1e-3, 1), st.floats(0.1, 3))
def test_rpo_is_the_divergence_of_two_coins(logratio_P, reward_P, beta, eta):
    def coins(x):
        a, b = beta * x, torch.tensor(eta * reward_P)
        inputs = torch.stack([a, -a]).double()
        wanted = torch.nn.functional.logsigmoid(torch.stack([b, -b]))
        log_sigmoid = torch.nn.functional.logsigmoid(inputs)
        kl = torch.nn.functional.kl_div(log_sigmoid, wanted, log_target=True, reduction="sum")
        return kl / x.numel()

    _same(rpo(logratio_P, reward_P, beta, eta), _torch(coins, logratio_P))


def test_rpo_as_written_in_the_paper():
    beta, eta = 0.3, 1.0
    logratio, reward = 2.0, 0.7
    a, b = beta * logratio, eta * reward
    s = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    expected = s(b) * np.log(s(b) / s(a)) + (1 - s(b)) * np.log((1 - s(b)) / (1 - s(a)))
    loss = rpo(np.array([logratio]), np.array([reward]), beta, eta)
    assert loss.value == pytest.approx(expected, rel=1e-12)
    assert loss.gradient[0] == pytest.approx(beta * (s(a) - s(b)), rel=1e-12)


def test_rpo_is_nothing_where_the_policy_says_what_the_reward_says():
    loss = rpo(np.array([3.0, -1.0]), np.array([1.5, -0.5]), beta=0.5, eta=1.0)
    assert loss.value == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(loss.gradient, 0, atol=1e-15)


def test_masked_mse_counts_what_is_rated_only():
    predicted = np.array([[1.0, 2.0], [3.0, 4.0]])
    rated = np.array([[0.0, np.nan], [np.nan, 2.0]])

    def expected(x):
        mask = torch.tensor(np.isfinite(rated))
        return ((x - torch.nan_to_num(torch.tensor(rated)))[mask] ** 2).mean()

    _same(masked_mse(predicted, rated), _torch(expected, predicted))
    nothing = masked_mse(predicted, np.full((2, 2), np.nan))
    assert nothing.value == 0
    assert not nothing.gradient.any()


def test_no_pairs_no_loss():
    assert bradley_terry(np.empty(0)).value == 0
    assert rpo(np.empty(0), np.empty(0)).value == 0


def test_nothing_overflows():
    far = np.array([-1e4, 1e4])
    assert np.isfinite(bradley_terry(far).value)
    assert np.isfinite(rpo(far, -far).value)
    np.testing.assert_allclose(sigmoid(far), [0, 1])
