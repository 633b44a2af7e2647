"""Inputs for the targets: their seeds with edits, their words in any order, JSON out of them.

`KARAT_FUZZ=all` draws fifty times as many.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # fuzz/ is a folder of the repository, and no part of karat

from fuzz.targets import TARGETS, seeds, words  # noqa: E402

MORE = 50 if os.environ.get("KARAT_FUZZ") == "all" else 1
ODD = ["\0", "\ud83d", "\u2028", "\x85", "\u202e", "é", "０", "\r\n", " ", "\n", "\\", "'", '"']


def examples(count: int) -> settings:
    """So many of them, or fifty times that; what a function looks at is fixed or its own."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=count * MORE, deadline=None, suppress_health_check=slow)


def fed(name: str) -> st.SearchStrategy[bytes]:
    """Bytes for a target."""
    target = TARGETS[name]
    known = [word + b" " * space for word in words(target) for space in (0, 1)]
    pieces = st.sampled_from(known) | st.sampled_from(ODD).map(_bytes) | st.binary(max_size=4)
    loose = st.lists(pieces, max_size=30).map(b"".join)
    own = [data for _, data in seeds(name)]
    edited = st.builds(_edited, st.sampled_from(own), st.lists(EDITS(pieces), max_size=6))
    found = [loose, edited]
    if '"' in target.words:
        found.append(trees(name).map(written))
    return st.one_of(found).map(lambda data: data[: target.most])


def EDITS(pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[float, int, bytes]]:  # noqa: N802
    """(where, as a share of the length; bytes taken out; bytes put in)."""
    return st.tuples(st.floats(0, 1), st.integers(0, 20), pieces)


def _edited(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for share, out, put in edits:
        at = int(share * len(data))
        data = data[:at] + put + data[at + out :]
    return data


def trees(name: str) -> st.SearchStrategy[object]:
    """JSON values whose keys and texts are the target's own words often enough."""
    said = [word.decode().strip('"') for word in words(TARGETS[name]) if word[:1] == b'"']
    numbers = st.integers() | st.floats() | st.sampled_from([2**63, -(2**64), 10**400, 1e308])
    leaves = st.none() | st.booleans() | numbers | st.sampled_from(said) | st.text(max_size=5)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(said), inner, max_size=6)
        ),
        max_leaves=25,
    )


def written(tree: object) -> bytes:
    """JSON as Python writes it: with NaN and whole numbers of any size, as some servers do."""
    return json.dumps(tree).encode()


def pumped(name: str, size: int) -> st.SearchStrategy[bytes]:
    """A short beginning, something short again and again, a short end: what slow patterns need."""
    known = [*words(TARGETS[name]), *map(_bytes, ODD), b"a", b"1", b"*", b"`", b" ", b"_", b"["]
    short = st.lists(st.sampled_from(known), max_size=3).map(b"".join)
    unit = st.lists(st.sampled_from(known), min_size=1, max_size=3).map(b"".join)
    return st.builds(lambda a, u, z: a + u * (size // len(u)) + z, short, unit, short)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
