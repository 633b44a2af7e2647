"""dedupe on a table in parts: row for row what it is on one file, however the parts are cut."""

from __future__ import annotations

import errno
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import mostly_slow
from hypothesis import given, settings
from hypothesis import strategies as st
from parted import Elsewhere, applied, in_one_file, in_parts

from karat.columns import Table
from karat.curation.closeness import BY_LENGTH, fixed
from karat.curation.minhash import NearDuplicates
from karat.errors import RunError
from karat.row import Message, Response, Row
from karat.steps import _duplicates, _leaving, _parted, _signed
from karat.steps._said import Said
from karat.steps.dedupe import dedupe

WORDS = ["one", "two", "three", "four", "five", "six", "seven"]


@pytest.fixture(autouse=True, scope="module")
def small_tables_too():
    """However few rows, they are worked on apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("karat.steps.dedupe.APART", 0)
        yield


def decided(table: Table, **params: Any) -> tuple[list[Row], dict[str, Any]]:
    decision = dedupe.function(table, None, **dedupe.check(params))
    return applied(table, decision, "dedupe")


def asked(texts: list[str], seed: int = 0) -> list[Row]:
    """Rows with ties among their scores, some of them dropped before."""
    rng = random.Random(seed)
    rows = []
    for number, text in enumerate(texts):
        scores = {"r.reward": float(rng.randrange(3))} if rng.random() < 0.8 else {}
        rows.append(Row(f"row{number}", [Message("user", text)], [Response("yes", scores=scores)]))
        if rng.random() < 0.1:
            rows[-1].dropped = "earlier: gone"
    return rows


def families(count: int, seed: int = 0) -> list[str]:
    """Texts and edited copies of them, equal copies, texts without words, all in any order."""
    rng = random.Random(seed)
    made = ["", "", "???", "???", "!!!"]
    for _ in range(count):
        text = [f"w{rng.randrange(200)}" for _ in range(rng.randint(4, 60))]
        for _ in range(rng.randint(1, 5)):
            made.append(" ".join(text))
            if rng.random() < 0.7:
                text[rng.randrange(len(text))] = f"x{rng.randrange(200)}"
    rng.shuffle(made)
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is cut by size is cut small."""
    monkeypatch.setattr(_signed, "BLOCK_ROWS", 40)
    monkeypatch.setattr(_signed, "OPEN", 2)
    monkeypatch.setattr(_duplicates, "ROUND_BYTES", 20_000)
    monkeypatch.setattr(_duplicates, "PAIRS", 5)
    monkeypatch.setattr(_duplicates, "ITEM_PAIRS", (7, 30))
    monkeypatch.setattr(_leaving, "UNIT", 5)


HELD: list[int] = []  # texts that met in one place


def counted(bundles: Any, *shared: Any) -> Any:
    HELD.append(sum(len(bundle[0]) for bundle in bundles))
    return MEET(bundles, *shared)


MEET = _parted.meet_records


CASES = [
    {},
    {"threshold": 0.5, "keep": "longest", "mark": True},
    {"threshold": 0.7, "keep": "best", "by": "r.reward", "mark": True},
    {"threshold": 1.0, "keep": "best", "by": "r.reward"},
    {"threshold": 1.0, "on": "conversation", "mark": True},
    {"measure": "rouge_l", "threshold": 0.6},
    {"measure": "semantic", "threshold": 0.8, "mark": True},
]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("params", mostly_slow(CASES, 2))
def test_any_parts_and_any_ways_give_the_rows_of_one_file(
    tmp_path: Path, params: dict[str, Any]
) -> None:
    rows = asked(families(60))
    want = decided(in_one_file(tmp_path / "one.parquet", rows), **params)
    assert sum(row.dropped is not None for row in want[0]) > 40
    for number, (parts, ways) in enumerate(((1, 1), (2, 3), (7, 1), (7, 8))):
        table = in_parts(tmp_path / f"p{number}.parquet", rows, parts, Elsewhere(ways, number))
        assert decided(table, **params) == want
        assert not (tmp_path / f"p{number}.dedupe").exists()


@pytest.mark.usefixtures("small")
def test_parts_in_one_process_and_parts_without_rows(tmp_path: Path) -> None:
    rows = asked(families(20, 3))
    want = decided(in_one_file(tmp_path / "one.parquet", rows), mark=True)
    cut = in_parts(tmp_path / "cut.parquet", rows, [0, 0, 5, 5, len(rows)])
    assert decided(cut, mark=True) == want
    for params in ({}, {"threshold": 1.0}, {"measure": "semantic"}):
        empty = in_parts(tmp_path / "empty.parquet", [], 3, Elsewhere(2))
        assert decided(empty, **params)[0] == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("ways", [1, 4])
def test_a_group_larger_than_a_process_may_hold(
    tmp_path: Path, ways: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long chain of texts, each near those beside it, settled a few at a time: many stay."""
    words = [f"w{i}" for i in range(30)]
    chain = []
    for step in range(90):
        words[step * 7 % 30] = f"x{step}"
        chain.append(" ".join(words))
    random.Random(4).shuffle(chain)
    rows = asked(chain)
    params = {"threshold": 0.7, "keep": "best", "by": "r.reward", "mark": True}
    want, notes = decided(in_one_file(tmp_path / "one.parquet", rows), **params)
    assert notes["clusters"] > 10
    HELD.clear()
    monkeypatch.setattr(_parted, "meet_records", counted)
    table = in_parts(tmp_path / "parts.parquet", rows, 5, Elsewhere(ways))
    assert decided(table, **params) == (want, notes)
    assert len(HELD) > 10
    assert max(HELD) <= 3 * 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join), min_size=1, max_size=40),
    st.sampled_from([fixed(0.3), fixed(0.6), fixed(0.9), BY_LENGTH]),
    st.sampled_from(["first", "longest", "best"]),
    st.sampled_from([1, 2, 256]),
    st.lists(st.integers(0, 40), max_size=6),
    st.sampled_from([1, 3, 8]),
    st.integers(0, 9),
)
def test_equals_one_process(
    texts: list[str], closeness: Any, keep: Any, window: int, cuts: list[int], ways: int, seed: int
) -> None:
    """Windows that are exceeded, ties, empty texts, rows that were dropped: all the same."""
    rows = asked(texts, seed)
    said = Said("prompt", keep, "r.reward" if keep == "best" else None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = in_one_file(folder / "one.parquet", rows)
        near, digest, rank = NearDuplicates(closeness, window), [np.zeros(0, np.uint64)], []
        for batch in one.batches(said.columns):
            texts_P = _parted.normalise(said.texts(batch))
            digest.append(_parted.digests(texts_P))
            rank.append(said.ranks(batch, texts_P))
            near.add(texts_P)
        rank_P = np.concatenate([np.zeros(0), *rank])
        want = near.resolve(rank_P)
        equal = _parted.exact(np.concatenate(digest), rank_P)
        alone = want.repeats < 0
        want.repeats[alone] = equal.repeats[alone]
        want.similarity[alone] = equal.similarity[alone]
        cuts = sorted(min(cut, len(rows)) for cut in cuts)
        table = in_parts(folder / "parts.parquet", rows, cuts, Elsewhere(ways, seed))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_signed, "BLOCK_ROWS", 9)
            patch.setattr(_duplicates, "ROUND_BYTES", 2_000)
            patch.setattr(_leaving, "UNIT", 1 + seed)
            found = _duplicates.near_rows(table, folder / "shelf", said, closeness, window)
    assert found.row.tolist() == np.flatnonzero(want.repeats >= 0).tolist()
    assert found.stay.tolist() == want.repeats[found.row].tolist()
    assert found.similarity.tolist() == want.similarity[found.row].tolist()


# --- what is kept beside a table in parts --------------------------------------------------------


def test_a_killed_run_goes_on_with_the_parts_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = asked(families(30))
    want = decided(in_one_file(tmp_path / "one.parquet", rows))
    table = in_parts(tmp_path / "parts.parquet", rows, 4)
    signed: list[int] = []
    put = _parted.put

    def some(folder: Path, number: int, *rest: Any) -> None:
        if len(signed) == 2:
            raise KeyboardInterrupt
        put(folder, number, *rest)
        signed.append(number)

    monkeypatch.setattr(_parted, "put", some)
    with pytest.raises(KeyboardInterrupt):
        decided(table)
    signed.append(-1)
    kept = tmp_path / "parts.dedupe"
    assert sorted(path.name for path in kept.iterdir()) == ["000000.signed", "000001.signed"]
    (kept / "000001.signed").write_bytes(b"half of")
    assert decided(table) == want
    assert signed == [0, 1, -1, 1, 2, 3]
    assert not kept.exists()
    # Another text is compared: what was signed counts no more.
    signed[:] = [0]
    with pytest.raises(KeyboardInterrupt):
        decided(table)
    want = decided(in_one_file(tmp_path / "one.parquet", rows), on="conversation")
    signed[:] = [0, 0, 0]
    assert decided(table, on="conversation") == want
    assert signed[3:] == [0, 1, 2, 3]


def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = in_parts(tmp_path / "parts.parquet", asked(families(3)), 2)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("karat.steps._parted.put", full)
    with pytest.raises(RunError, match=r"parts\.parquet: No space left on device; make room"):
        decided(table)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("params", [{"mark": True}, {"threshold": 1.0}, {"measure": "semantic"}])
def test_parts_in_a_store(
    tmp_path: Path, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files cannot be mapped, columns are fetched, and few of them are held."""
    upath = pytest.importorskip("upath")
    monkeypatch.setattr(_signed, "HELD_BYTES", 30_000)
    rows = asked(families(40))
    want = decided(in_one_file(tmp_path / "one.parquet", rows), **params)
    folder = upath.UPath(f"memory://karat-{tmp_path.name}/parts.parquet")
    table = in_parts(folder, rows, 4, Elsewhere(3))
    decision = dedupe.function(table, None, **dedupe.check(params))
    assert (folder.parent / "parts.dedupe").exists()
    assert applied(table, decision, "dedupe") == want
    assert not (folder.parent / "parts.dedupe").exists()
