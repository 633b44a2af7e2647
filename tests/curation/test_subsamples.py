"""Half-sample intervals: they hold what they promise, where a bootstrap would not."""

from __future__ import annotations

import numpy as np
import pytest

from karat.curation.spread import vendi_score
from karat.curation.subsamples import half_sample_interval

MANY = 120


def test_the_mean_has_its_known_error():
    values = np.random.default_rng(1).normal(size=MANY)
    low, high = half_sample_interval(lambda half: values[half].mean(), MANY, values.mean())
    error = values.std(ddof=1) / MANY**0.5
    assert (high - low) / 2 / 1.96 == pytest.approx(error, rel=0.25)
    assert (low + high) / 2 == pytest.approx(values.mean())


def test_it_covers_what_other_texts_of_the_kind_score():
    rng = np.random.default_rng(2)

    def drawn():
        kinds = rng.choice(40, MANY, p=np.arange(1, 41) / 820)
        some = np.eye(40)[kinds] + 0.1 * rng.normal(size=(MANY, 40))
        return (some / np.linalg.norm(some, axis=1, keepdims=True)).astype(np.float32)

    truth = np.mean([vendi_score(drawn()) for _ in range(300)])
    held = 0
    for _ in range(60):
        some = drawn()
        low, high = half_sample_interval(
            lambda half, some=some: vendi_score(some[half]), MANY, vendi_score(some)
        )
        held += low <= truth <= high
    assert held >= 50  # 57 expected


def test_a_bootstrap_would_miss():
    """The reason for all this: repeated texts pull the score below that of the texts drawn from."""
    rng = np.random.default_rng(3)
    some = rng.normal(size=(MANY, 60)).astype(np.float32)
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    drawn = [vendi_score(some[rng.integers(0, MANY, MANY)]) for _ in range(200)]
    assert np.quantile(drawn, 0.975) < vendi_score(some)
    low, high = half_sample_interval(lambda half: vendi_score(some[half]), MANY, vendi_score(some))
    assert low < vendi_score(some) < high


def test_few_texts_have_none_and_draws_repeat():
    assert half_sample_interval(lambda half: 1.0, 7, 1.0) is None
    values = np.random.default_rng(4).normal(size=20)
    found = [half_sample_interval(lambda half: values[half].mean(), 20, 0.0) for _ in range(2)]
    assert found[0] == found[1]
    assert half_sample_interval(lambda half: 1.0, 8, 1.0) == (1.0, 1.0)
