"""Heads of GGUF files that are damaged, or made to do harm: an error of two known kinds, soon."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from later import later
from tiny_gguf import tiny_gguf

from karat.models.gguf_files import head, matrix_types

later("gguf", "transformers")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf(tmp_path_factory.mktemp("head"))[1]


def _head(*pieces: bytes, count: int = 1) -> bytes:
    """A GGUF head of `count` values."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, count) + b"".join(pieces)


NAMED = struct.pack("<Q", 1) + b"a"


@pytest.mark.parametrize(
    "damaged",
    [
        _head(struct.pack("<Q", 2**63)), _head(struct.pack("<Q", 2**40)),
        _head(NAMED, struct.pack("<IIQ", 9, 4, 2**63)),
        _head(NAMED, struct.pack("<I", 9), struct.pack("<IQ", 9, 1) * 5_000),
        _head(NAMED, struct.pack("<IIQ", 9, 8, 2**60)),
    ],
    ids=["no size", "more than memory", "far away", "nested", "endless"],
)  # fmt: skip
def test_a_hostile_head_is_damaged_and_no_more(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(damaged)
    for read in (head, matrix_types):
        with pytest.raises((ValueError, OSError)):
            read(tmp_path / "x.gguf")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_bytes_are_a_head_or_damaged(real: Path, data: st.DataObject) -> None:
    """A real head with a few bytes changed, or cut short."""
    made = bytearray(real.read_bytes()[:6_000])
    for _ in range(data.draw(st.integers(1, 4))):
        made[data.draw(st.integers(4, len(made) - 1))] = data.draw(st.integers(0, 255))
    file = real.parent / "any.gguf"
    file.write_bytes(made[: data.draw(st.integers(0, len(made)))])
    for read in (head, matrix_types):
        with contextlib.suppress(ValueError, OSError):
            read(file)
