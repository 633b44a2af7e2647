"""normalise and digests against the plain-Python rule."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from karat.curation import normal
from karat.curation.normal import chunks, digests, normalise

ODD = st.text("aB \t\n\x1c\x85\u1680\u2028\u3000\xa0éß…½𝔸🙂写가\u1161\u0301ｗﬁ", max_size=12)
TEXTS = st.lists(st.one_of(ODD, st.text(max_size=12)), max_size=8)


def fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


# The two Unicode databases differ in what was added last, so not every code point is drawn.
KNOWN = st.lists(ODD, max_size=8)


@given(KNOWN, st.integers(0, 3))
def test_normalise_is_nfkc_lower_case_and_single_blanks(texts: list[str], skipped: int) -> None:
    for kind in (pa.string(), pa.large_string()):
        found = normalise(pa.array(texts, kind)[skipped:])
        found.validate(full=True)
        assert found.to_pylist() == [fold(text) for text in texts[skipped:]]


@given(TEXTS)
def test_normalising_twice_changes_no_blank(texts: list[str]) -> None:
    for text in normalise(pa.array(texts, pa.string())).to_pylist():
        assert text == " ".join(text.split())


@given(TEXTS)
def test_digests_are_those_of_each_text_alone(texts: list[str]) -> None:
    found = digests(pa.array(["other", *texts], pa.string())[1:]).tolist()
    assert found == [
        int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") if text else 0
        for text in texts
    ]


def test_what_nfkc_never_changes_is_settled() -> None:
    """Every settled character stays as it is behind any mark, jamo or letter that might combine."""
    settled = normal._settled()
    assert settled[ord("é")]
    assert settled[ord("“")]
    assert not settled[[ord("…"), ord("\u0301"), 0x1161, 0xA0, normal.KNOWN]].any()
    for point in range(0x80, 0x3000):
        char = chr(point)
        if settled[point]:
            assert unicodedata.normalize("NFKC", f"a{char}b{char}") == f"a{char}b{char}"


def test_chunks_hold_all_texts_and_cut_long_ones() -> None:
    texts = ["é" * (normal.TEXT_CHARS + 5), "", "b" * 70_000, "c" * 70_000, "d"]
    made = list(chunks(pa.array(texts)))
    flat = [text for chunk in made for text in chunk.to_pylist()]
    assert flat == ["é" * normal.TEXT_CHARS, *texts[1:]]
    assert list(chunks(pa.array([], pa.string()))) == []
