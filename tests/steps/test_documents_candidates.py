"""documents: the passages nearest to each one, and memory that stays flat."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import mostly_slow
from reading import Ctx

from karat.row import Row
from karat.steps.documents import documents


def made(path: Path, **params: Any) -> list[Row]:
    call = documents(path=str(path), **{"size": 20, "overlap": 5, **params})
    return list(call.step.function(Ctx(), **call.params))


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors by hashed words, in place of karat's own table."""
    monkeypatch.setattr("karat.curation.embedding.embed", hashed)


def hashed(texts: list[str]) -> np.ndarray:
    vectors = np.zeros((len(texts), 256), np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            vectors[row, zlib.crc32(word.strip(".,").encode()) % 256] += 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def overlap(one: Row, two: Row) -> bool:
    one, two = one.meta, two.meta
    return one["file"] == two["file"] and one["start"] < two["end"] and two["start"] < one["end"]


def reference(rows: list[Row], count: int) -> list[list[str]]:
    """The nearest texts of each row that overlap its text nowhere, by comparing all pairs."""
    near = hashed([row.meta["passage"] for row in rows])
    near = np.rint(((near @ near.T).astype(np.float64) + 1) * 10_000)
    passages = [row.meta["passage"] for row in rows]
    first = [passages.index(passage) for passage in dict.fromkeys(passages)]
    found = []
    for i, passage in enumerate(passages):
        copies = [row for row in rows if row.meta["passage"] == passage]
        out = {row.meta["passage"] for row in rows for copy in copies if overlap(row, copy)}
        order = sorted(first, key=lambda j, i=i: (-near[i, j], j))
        found.append([passages[j] for j in order if passages[j] not in out][:count])
    return found


@pytest.mark.usefixtures("embedder")
def test_candidates_are_the_nearest_passages_of_another_place(tmp_path: Path) -> None:
    words = ["tide", "moon", "salt", "sea", "bee", "iron", "kiln", "ice"]
    rng = random.Random(0)
    for number in range(12):
        text = " ".join(rng.choice(words) + str(rng.randrange(9)) for _ in range(150))
        (tmp_path / f"{number:02d}.txt").write_text(text.capitalize() + ".")
    (tmp_path / "copy.txt").write_text((tmp_path / "03.txt").read_text())
    plain = made(tmp_path, overlap=10, candidates=0)
    rows = made(tmp_path, overlap=10, candidates=5)
    assert [row.id for row in rows] == [row.id for row in plain]
    got = [[other["passage"] for other in row.meta["candidates"]] for row in rows]
    assert got == reference(plain, 5)
    places = {(r.meta["file"], r.meta["start"], r.meta["end"]): r.meta["passage"] for r in plain}
    for row in rows:
        for other in row.meta["candidates"]:
            assert places[other["file"], other["start"], other["end"]] == other["passage"]
    for row, before in zip(rows, plain, strict=True):
        row.meta.pop("candidates")
        assert row == before


@pytest.mark.usefixtures("embedder")
def test_one_passage_alone_has_no_candidates(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One short text.")
    (row,) = made(tmp_path, candidates=8)
    assert row.meta["candidates"] == []


@pytest.mark.usefixtures("embedder")
def test_karats_own_embedding_is_asked_for_many_texts_at_once(tmp_path: Path, monkeypatch) -> None:
    sizes: list[int] = []

    def counted(texts: list[str]) -> np.ndarray:
        sizes.append(len(texts))
        return hashed(texts)

    monkeypatch.setattr("karat.curation.embedding.embed", counted)
    (tmp_path / "a.txt").write_text("".join(f"Word {n} of those that go on. " for n in range(1000)))
    (tmp_path / "b.txt").write_text((tmp_path / "a.txt").read_text())
    count = len(made(tmp_path / "a.txt", candidates=0))
    assert len(made(tmp_path, candidates=1)) == 2 * count  # the copy is not embedded again
    assert sizes == [256] * (count // 256) + [count % 256] * (count % 256 > 0)
    assert count > 256


@pytest.mark.usefixtures("embedder")
def test_a_text_in_every_file_takes_the_place_of_none(tmp_path: Path) -> None:
    rng = random.Random(1)
    words = ["bridge", "river", "tower", "mill", "canal", "iron", "stone", "hill"]
    licence = "# Licence\n\n" + "Permission is granted to use this software free of charge. " * 5
    for number in range(30):
        text = " ".join(rng.choice(words) for _ in range(40))
        spaced = licence.replace("use", "USE" if number % 2 else "use")
        (tmp_path / f"{number:02d}.md").write_text(f"# Tool {number}\n\n{text}.\n\n{spaced}")
    rows = made(tmp_path, size=60, overlap=0, candidates=8)
    assert sum(row.meta["passage"].startswith("# Licence") for row in rows) == 30
    for row in rows:
        texts = [other["passage"].casefold() for other in row.meta["candidates"]]
        assert len(texts) == len(set(texts)) == 8
        assert sum(text.startswith("# licence") for text in texts) <= 1
        assert row.meta["passage"].casefold() not in texts
    assert [row.meta["file"] for row in rows] == sorted(row.meta["file"] for row in rows)


@pytest.mark.parametrize("candidates", mostly_slow([0, 4], 2))
@pytest.mark.usefixtures("embedder")
def test_reading_many_files_holds_one_of_them(tmp_path: Path, candidates: int, monkeypatch) -> None:
    monkeypatch.setattr("karat.curation.nearest.ROWS", 64)
    monkeypatch.setattr("karat.curation.nearest.COLUMNS", 256)
    word = "antidisestablishmentarianism" * 3
    for number in range(80):
        (tmp_path / f"{number}.txt").write_text(f"Number {number} is {word}. " * 400)
    call = documents(path=str(tmp_path), size=100, overlap=0, candidates=candidates)
    list(call.step.function(Ctx(), **{**call.params, "glob": "1.txt"}))  # what loads once
    tracemalloc.start()
    count = sum(1 for _ in call.step.function(Ctx(), **call.params))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 80 * 16
    assert peak < 1.6e6  # the files have 3.2
