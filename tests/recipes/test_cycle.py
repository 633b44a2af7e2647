"""The shipped recipe of `karat cycle`: it fits a cycle as it is."""

from __future__ import annotations

import pytest

from karat.cycling.asked import Asked
from karat.cycling.options import options_of
from karat.models.embedded import available

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


def test_a_cycle_runs_it_as_it_is():
    asked = Asked("cycle", options_of({"judge": "embedded/helpsteer2"}))
    assert (asked.slot, asked.embedded) == ("teacher", "embedded/smollm2-135m")
    assert asked.splits
    assert asked.writes_prompts
    assert asked.mix is None
    assert asked.score == "embedded/helpsteer2.reward"
