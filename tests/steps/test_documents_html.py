"""HTML files that are hostile: encodings that are none, nesting without end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import mostly_slow

from karat.steps import _nesting
from karat.steps._documents import UnreadableError, read_document
from karat.steps._html import declared_encoding, read_html
from karat.steps._nesting import shallow


def read(data: bytes, encoding: str | None = None) -> str:
    return read_document(Path("a.html"), data, encoding).text


# --- encodings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("utf-8", "utf-8"), ("UTF8", "utf-8"), ("utf-16", "utf-8"), ("utf-16le", "utf-8"),
        ("unicode", "utf-8"), ("iso-8859-1", "cp1252"), ("us-ascii", "cp1252"),
        ("windows-1252", "cp1252"), ("x-cp1251", "cp1251"), ("latin5", "cp1254"),
        ("iso-8859-11", "cp874"), ("windows-874", "cp874"), ("gb2312", "gb18030"),
        ("x-gbk", "gb18030"), ("big5", "big5hkscs"), ("x-sjis", "cp932"), ("ms932", "cp932"),
        ("euc-kr", "cp949"), ("windows-949", "cp949"), ("x-euc-jp", "euc_jp"), ("koi8-r", "koi8-r"),
        ("mac", "mac-roman"), ("iso-8859-8-i", "iso8859-8"), ("logical", "iso8859-8"),
    ],
)  # fmt: skip
def test_an_encoding_is_read_as_browsers_read_it(name, codec):
    assert declared_encoding(f"<meta charset='{name}'>".encode()) == codec
    "".encode(codec)  # Python knows it


@pytest.mark.parametrize(
    "name",
    ["idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-7", "undefined", "hex",
     "rot13", "utf-32", "cp037", "nonsense", "mbcs"],
)  # fmt: skip
def test_a_name_that_is_no_encoding_of_the_web_is_no_name(name):
    page = f"<meta charset={name}><p>caf\\xe9 +ADw-b+AD4- ".encode()
    assert declared_encoding(page) is None
    assert read(page) == "caf\\xe9 +ADw-b+AD4-"
    with pytest.raises(UnreadableError, match="not UTF-8"):
        read(f"<meta charset={name}><p>é".encode("cp1252"))
    assert read(f"<meta charset={name}><p>é".encode("cp1252"), "cp1252") == "é"


def test_a_page_that_says_utf16_in_ascii_is_not_in_utf16():
    for name in ("utf-16", "UTF-16LE", "utf-16be"):
        assert read(f"<meta charset={name}><p>The tide é".encode()) == "The tide é"
    assert read("<meta charset=utf-16><p>é".encode("utf-16")) == "é"  # its mark says so


# --- nesting -------------------------------------------------------------------------------------

DEEP = [
    "<div><p>x ", "<ul><li>x ", "<dd><li>x ", "<div><b><i>x ", "<table><tr><td>x ", "<b></p>x ",
    "<x/>x ", "<rt>x ", "<ul></li>x ", "<math><mi>x ", "<marquee><p>x ", "<font a=1>x ",
]  # fmt: skip


@pytest.mark.parametrize("part", mostly_slow(DEEP, 3))
def test_a_page_that_nests_without_end_is_read_in_linear_time(part):
    times = 600_000 // len(part)
    start = time.process_time()
    text = read_html(part * times).text
    assert time.process_time() - start < 4  # with the square of the size up to a minute
    assert text.count("x") >= times
    assert len(text) < 3_000_000


def test_open_formats_are_not_made_again_in_each_block():
    page = "".join(f"<p><font a={n}>x" for n in range(5000))  # 12 million elements, by the rules
    assert read_html(page).text.count("x") == 5000
    few = "".join(f"<p><font a={n}>x" for n in range(8))
    assert shallow(few) == few
    assert shallow("<b>" * 9) == "<wbr>" * 9


def test_a_tag_of_very_many_attributes_loses_them():
    page = "<p" + "".join(f" a{n}=1" for n in range(100_000)) + ">text"
    start = time.process_time()
    assert read_html(page).text == "text"
    assert time.process_time() - start < 10
    image = f"<img src='data:{'/A=' * 50_000}' hidden>"
    assert shallow(image) == image


def test_lists_in_lists_are_indented_up_to_a_depth():
    text = read_html("<ul><li>x" * 300).text
    indents = [len(line) - len(line.lstrip()) for line in text.splitlines()]
    assert indents[:8] == list(range(0, 16, 2))
    assert set(indents[8:]) == {14}


@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 511 + "<p>deep</p>" + "</div>" * 511,
        "<ul>" + "<li>item <p>more" * 600 + "</ul>",
        "<dl>" + "<dt>name<dd>what" * 600 + "</dl>",
        "<table>" + "<tr><td>cell" * 600 + "</table>",
        "<div><span>one</div>" * 600,
        "<section><svg><path d=1/><path d=2/></svg><p>one</section>" * 600,
        "<script>for(i=0;i<n;i++){if(a<b)x('<div>')}</script><p>one</p>" * 600,
        "<!-- <div> --><p>one</p>" * 600,
        "<form><input><input></form>" * 600,
        "<select><option>one<option>two</select>" * 600,
        "<p>one <b>two</b> <a href=x>three</a><br>" * 600,
    ],
)
def test_what_people_write_stays_as_it_is(page, monkeypatch):
    monkeypatch.setattr(_nesting, "FEW_TAGS", 0)
    assert shallow(page) == page


def test_beyond_the_depth_the_text_stays_and_tags_do_not(monkeypatch):
    monkeypatch.setattr(_nesting, "FEW_TAGS", 0)
    monkeypatch.setattr(_nesting, "DEPTH", 2)
    page = "<div><ul><li title='a>b'>one</li><x>two</x></ul></div><div>three</div>"
    assert (
        shallow(page)
        == "<div><ul><br title='a>b'>one</br><wbr>two</wbr></ul></div><div>three</div>"
    )
