"""Lookalikes: the nearest passage of each text, against all pairs at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation import lookalikes
from karat.curation.embedding import embed
from karat.curation.lookalikes import Lookalikes

TEXTS = st.lists(
    st.lists(st.sampled_from(["cat", "dog", "house", "tax", "law", "river"]), max_size=4).map(
        " ".join
    ),
    max_size=6,
)


@given(TEXTS, TEXTS, st.sampled_from([0.3, 0.7, 0.95]))
def test_nearest_of_all_pairs(passages: list[str], texts: list[str], threshold: float) -> None:
    found = Lookalikes(passages, threshold).find(pa.array(texts, pa.string()), 10)
    want = []
    for place, text in enumerate(texts):
        cosines = [float((embed([text]) @ embed([one]).T)[0, 0]) for one in passages]
        if cosines and max(cosines) >= threshold - 1e-4:
            want.append((place + 10, max(cosines)))
    near = [(t, c) for t, c in want if abs(c - threshold) > 1e-3]
    got = dict(zip(found.text.tolist(), found.cosine.tolist(), strict=True))
    assert {t: pytest.approx(c, abs=1e-4) for t, c in near}.items() <= got.items()
    assert set(got) <= {t for t, _ in want}
    for text, passage, cosine in zip(found.text, found.passage, found.cosine, strict=True):
        same = (embed([texts[text - 10]]) @ embed([passages[passage]]).T)[0, 0]
        assert same == pytest.approx(cosine, abs=1e-4)


def test_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    near = Lookalikes(["the law of taxes", "a house by the river"], 0.5)
    texts = pa.array(["tax law", None, "river house", "cat"] * 3)
    whole = near.find(texts)
    monkeypatch.setattr(lookalikes, "AT_ONCE", 5)
    parts = near.find(texts)
    assert np.array_equal(whole.text, parts.text)
    assert np.array_equal(whole.cosine, parts.cosine)
    assert whole.passage.tolist() == [0, 1] * 3
