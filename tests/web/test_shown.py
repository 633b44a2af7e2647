"""Others' text on a page: escaped, and nothing in it that a reader would not see."""

from __future__ import annotations

import pytest

from karat.web.shown import said, shown


def test_hidden_characters_become_marks() -> None:
    text = shown("a\u202eb\u200b\u200b<b>\x00 é👩\u200d👩 ok\u200dx\tq\nr")
    assert text.count('class="unseen"') == 4
    assert ">U+202E<" in text
    assert ">U+200B ×2<" in text
    assert "&lt;b&gt;" in text
    assert "👩\u200d👩" in text
    assert "\tq\nr" in text
    assert said("x\u202ey\n z" + "w" * 900).startswith("x⟨U+202E⟩y z")
    assert len(said("w" * 9000)) < 210
    assert shown({"a": "<"}) == "{&#34;a&#34;: &#34;&lt;&#34;}"


@pytest.mark.parametrize("sign", [
    "\0", "\x08", "\x1b", "\x7f", "\x85", "\xad", "\u061c", "\u200b", "\u200e", "\u2028", "\u202a",
    "\u2066", "\u2069", "\ufeff", "\u3164", "\U000e0041", "\ud800", "\r",
])  # fmt: skip
def test_no_hidden_character_is_passed_on(sign: str) -> None:
    number = f"U+{ord(sign):04X}"
    assert sign not in shown(f"a{sign}b")
    assert f">{number}<" in shown(f"a{sign}b")
    line = said(f"a{sign}b")
    assert sign not in line
    assert number in line


def test_a_text_is_cut_before_it_grows() -> None:
    assert len(shown("\u202e\u202d" * 10**6, 100)) < 20_000
    assert shown("abc", 3) == "abc"
    assert shown("abcd", 3) == "abc …"
