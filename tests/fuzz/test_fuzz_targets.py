"""Every fuzz target keeps its promises on its seeds, on random bytes and on words in any order.

The same functions run under atheris, which is not needed here: see fuzz/README.md.
"""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzz_texts import MORE, examples, fed
from hypothesis import given
from hypothesis import strategies as st

from fuzz.promises import BrokenPromiseError, promise, typed
from fuzz.targets import HERE, SECONDS, TARGETS, dictionary, seeds
from karat.models.chat import Delta

RANDOM = 20  # inputs of random bytes for each target
COUNT = 12  # inputs that Hypothesis draws for each
NAMES = sorted(TARGETS)


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_and_random_bytes(name: str) -> None:
    target, dice = TARGETS[name], random.Random(name)
    inputs = [data for _, data in seeds(name)]
    assert inputs, "a target without seeds"
    inputs += [dice.randbytes(dice.randrange(200)) for _ in range(RANDOM * MORE)]
    for data in [b"", *inputs]:
        began = time.process_time()
        target.run(data)
        assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("name", NAMES)
@examples(COUNT)
@given(data=st.data())
def test_words_in_any_order_and_seeds_with_edits(name: str, data: st.DataObject) -> None:
    TARGETS[name].run(data.draw(fed(name)))


def test_every_target_has_a_harness_and_seeds_and_nothing_else_has() -> None:
    harnesses = {path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py")}
    assert harnesses == set(TARGETS) == {path.name for path in (HERE / "seeds").iterdir()}
    for name in NAMES:
        assert f'main("{name}")' in (HERE / f"fuzz_{name}.py").read_text()
        assert all(len(line) > 2 for line in dictionary(TARGETS[name]).splitlines())


def test_a_broken_promise_is_found() -> None:
    with pytest.raises(BrokenPromiseError, match="wrong type"):
        typed(Delta(content=5), Delta)  # type: ignore[arg-type]
    with pytest.raises(BrokenPromiseError):
        promise(False, "no")


@pytest.mark.skipif(MORE == 1, reason="eight seconds, most of them to instrument: KARAT_FUZZ=all")
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_atheris_runs_a_harness(tmp_path: Path) -> None:
    own, given = tmp_path / "corpus", HERE / "seeds" / "headers"  # what it finds goes to the first
    own.mkdir()
    options = ["-runs=200", "-seed=1", "-print_final_stats=1", str(own), str(given)]
    ended = subprocess.run(
        [sys.executable, str(HERE / "fuzz_headers.py"), *options], cwd=tmp_path,
        capture_output=True, text=True, errors="replace", check=False, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "stat::number_of_executed_units: 200" in ended.stderr
    assert any(own.iterdir()), "no branch that the seeds had not reached"
