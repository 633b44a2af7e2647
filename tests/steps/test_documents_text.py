"""What text, Markdown, HTML and PDF files say, and where their headings are."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from pdf import LOCKED, pdf

from karat.steps._documents import UnreadableError, read_document


def read(name: str, data: str | bytes, encoding: str | None = None):
    return read_document(Path(name), data.encode() if isinstance(data, str) else data, encoding)


def headings(found) -> list[tuple[str, str]]:
    """(title, what its span holds) of each heading."""
    return [(h.title, found.text[h.span.start : h.span.end]) for h in found.headings]


# --- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("Tée".encode(), None),
        (codecs.BOM_UTF8 + "Tée".encode(), None),
        ("Tée".encode("utf-16"), None),
        (codecs.BOM_UTF16_BE + "Tée".encode("utf-16-be"), "cp1252"),
        ("Tée".encode("utf-32"), None),
        ("Tée".encode("cp1252"), "cp1252"),
    ],
)
def test_a_text_in_the_encoding_it_says_or_is_said_to_have(data, encoding):
    assert read("a.txt", data, encoding).text == "Tée"


def test_line_ends_are_as_python_reads_them(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\rthree\n")
    assert read("a.txt", b"one\r\ntwo\rthree\n").text == (tmp_path / "a.txt").read_text()


@pytest.mark.parametrize(
    ("name", "data", "encoding", "reason", "detail"),
    [
        ("a.txt", b"T\xe9e", None, "unreadable text", "not UTF-8; say its encoding"),
        ("a.md", b"T\xe9e", "ascii", "unreadable text", "not ASCII"),
        ("a.txt", b"\xff\xfeT", None, "unreadable text", "not UTF-16"),
        ("a.html", b"<meta charset=nonsense>T\xe9e", None, "unreadable text", "not UTF-8; say"),
        ("a.txt", b"a\0b", None, "NUL in the text", "it is no text file"),
        ("a.txt", b" \n", None, "no text", "it is empty"),
        ("a.txt", b"", None, "no text", "it is empty"),
        ("a.md", b"---\ntitle: x\n---\n", None, "no text", "it is empty"),
        ("a.html", b"<script>x()</script>", None, "no text", "it is empty"),
    ],
)
def test_what_cannot_be_read_says_why(name, data, encoding, reason, detail):
    with pytest.raises(UnreadableError) as caught:
        read(name, data, encoding)
    assert caught.value.reason == reason
    assert detail in caught.value.detail


# --- Markdown ------------------------------------------------------------------------------------

MARKDOWN = """\
---
title: Not a heading
---
# Tides #

Some text
of a paragraph
=====

```sh
# a comment
```

Spring tides
---
- item
---

| a | b |
|---|---|

#no heading
###### Last
#
"""


def test_markdown_stays_as_it_is_and_its_headings_are_known():
    found = read("a.md", MARKDOWN)
    assert found.text == MARKDOWN
    assert MARKDOWN[found.begin :].startswith("# Tides")
    assert headings(found) == [
        ("Tides", "# Tides #"),
        ("of a paragraph", "of a paragraph\n====="),
        ("Spring tides", "Spring tides\n---"),
        ("Last", "###### Last"),
    ]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("---\ntitle: x\nlong key: 'y'\ntags:\n- a\n\n# note\nmore:\n  - b\n---\nText", "Text"),
        ("---\ntitle: x\n...\nText", "Text"),
        ('---\n"a b": [1,\n  2\n]\n---\nText', "Text"),
        ("---\n\nOne.\n\n---\n\nTwo.", None),  # rules
        ("---\nOne.\n\n---\nTwo.", None),
        ("---\nNote: one,\ntwo.\n\n---\nThree.", None),
        ("---\n# One\nNote: two\n---\nThree.", None),
        ("---\n---\nOne.", None),
        ("---\ntitle: x\nand no end", None),
    ],
)
def test_front_matter_is_left_out_and_what_follows_a_rule_is_not(text, left):
    found = read("a.md", text)
    assert found.text == text
    assert found.text[found.begin :] == (text if left is None else left)


def test_a_fence_ends_with_its_own_mark_only():
    text = "````\n```\n# no\n````\n# yes\n~~~\n# no"
    assert headings(read("a.md", text)) == [("yes", "# yes")]


def test_a_text_file_has_no_headings():
    assert read("a.txt", "# Tides\n\nText").headings == ()


# --- HTML ----------------------------------------------------------------------------------------

PAGE = """<!doctype html><html><head><title>The page</title><style>p {}</style></head><body>
<nav><a href="/">Home</a></nav><script>track()</script>
<h1>Bridges</h1>
<p>The bridge at <b>Ar</b>den was
   built&nbsp;in 1871.<br>It is 240&#32;m long.</p>
<div>Loose text <!-- not this --> in a div<p>and a paragraph</div>
<ul><li>iron</li><li>stone<ol start="3"><li>one</li><li>two</li></ol></li></ul>
<h2>Sizes <small>in m</small></h2>
<table><caption>Lengths</caption><tr><th>name<th>length</tr><tr><td><p>Arden</p><td>240</table>
<pre>x = 1
  y = 2
</pre>
<dl><dt>Span</dt><dd>what is between</dd></dl>
<p hidden>secret</p><p aria-hidden="true">secret</p><button>Buy</button>
<footer>All rights reserved</footer></body></html>"""

SEEN = """# Bridges

The bridge at Arden was built\xa0in 1871.
It is 240 m long.

Loose text in a div

and a paragraph

- iron
- stone
  3. one
  4. two

## Sizes in m

Lengths

name | length
Arden | 240

x = 1
  y = 2

Span
what is between"""


def test_a_page_reads_like_a_text():
    found = read("a.html", PAGE)
    assert found.text == SEEN
    assert headings(found) == [("Bridges", "# Bridges"), ("Sizes in m", "## Sizes in m")]


def test_only_the_main_part_is_read_where_a_page_marks_one():
    page = "<p>menu</p><{0}><h1>T</h1><p>text</p></{1}><p>more</p>"
    for opening, closing in (("main", "main"), ('div role="main"', "div"), ("article", "article")):
        assert read("a.html", page.format(opening, closing)).text == "# T\n\ntext"
    several = "<article>one</article><article>two</article>"
    assert read("a.html", several).text == "one\n\ntwo"


def test_a_page_without_headings_has_its_title_for_one():
    found = read("a.htm", "<title> My\n page </title><p>Text.")
    assert headings(found) == [("My page", "")]


def test_a_table_that_lays_out_a_page_is_no_table():
    page = "<table><tr><td><h1>T</h1><p>one</p></td><td><ul><li>two</ul></td></tr></table>"
    assert read("a.html", page).text == "# T\n\none\n\n- two"


@pytest.mark.parametrize(
    "head",
    [
        "<meta charset='windows-1252'>",
        '<meta http-equiv=x content="text/html; charset=ISO-8859-1">',
    ],
)
def test_a_page_is_decoded_as_it_declares(head):
    data = f"<html><head>{head}</head><p>Café “x”".encode("cp1252")
    assert read("a.html", data).text == "Café “x”"
    assert read("a.html", data, "utf-8").text == "Café “x”"


def test_a_page_may_be_nested_to_any_depth():
    assert read("a.html", "<div>" * 20_000 + "deep").text == "deep"
    assert read("a.html", "<ul><li>" * 300 + "deep").text.endswith("- deep")


# --- PDF -----------------------------------------------------------------------------------------

LINES = [
    "1 Beginnings",
    "The Arden bridge was opened in May of the year 1871 after nine years of hard work on the ri-",
    "ver Sel, and it carries a single railway track for four trains on an ordinary day of a year.",
    "Walkers may cross.",
    "The engineer chose wrought iron because stone had failed twice in the soft bed of the river:",
    "1. in 1858, when the first pillar fell in a storm",
    "2. in 1860",
]


def test_lines_of_a_pdf_are_paragraphs_again():
    found = read("a.pdf", pdf([LINES, ["Page two."]], [("Beginnings", 0), ("Nowhere", 1)]))
    assert found.text.split("\n\n") == [
        "1 Beginnings",
        "The Arden bridge was opened in May of the year 1871 after nine years of hard work on the "
        "river Sel, and it carries a single railway track for four trains on an ordinary day of a "
        "year. Walkers may cross.",
        "The engineer chose wrought iron because stone had failed twice in the soft bed of the "
        "river:\n1. in 1858, when the first pillar fell in a storm\n2. in 1860",
        "Page two.",
    ]
    assert found.pages == [0, found.text.index("Page two.")]
    assert headings(found) == [("Beginnings", "1 Beginnings"), ("Nowhere", "")]
    assert found.headings[1].span.start == found.pages[1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "broken PDF"),
        (b"%PDF-1.4\nnothing", "broken PDF"),
        (pdf([["x"]])[:150], "broken PDF"),
        (pdf([["x"]], trailer=LOCKED), "encrypted PDF"),
        (pdf([[], []]), "no text"),
    ],
)
def test_a_pdf_without_a_text_says_why(data, reason):
    with pytest.raises(UnreadableError) as caught:
        read("a.pdf", data)
    assert caught.value.reason == reason
