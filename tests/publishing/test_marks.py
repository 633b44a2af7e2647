"""Others' words in Markdown: a real parser of Markdown finds nothing in them but text."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from karat.publishing.marks import code, link, md, plain, template

EVIL = [
    "<script>alert(1)</script>", "[text](javascript:alert(1))", "![x](http://evil/x.png)",
    "| a | b |", "# heading", "- item", "1. item", "+ item", "> quote", "***bold*** __strong__",
    "`code` ``more``", "```fence", "~~gone~~", "<b>", "&lt;b&gt; &amp; &#60;", "line\n\n# two",
    "---", "===", "http://evil.example www.evil.example a@evil.example", "\\*", "$x$", "a\\",
    "\u202e\x1b[31m\x00\ud800\u2028", "x" * 5000, "<!-- c -->", "[a]: http://b", "    code", "\tx",
    "* * *", "@all", "<https://evil.example>",
]  # fmt: skip
PARSER = MarkdownIt("gfm-like", {"html": True, "linkify": False})
LINKS = re.compile(r"://|\bwww\.|@", re.IGNORECASE)  # what GitHub and the Hub make links of
FINE = {"inline", "paragraph_open", "paragraph_close", "text", "text_special", "softbreak",
        "table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close",
        "tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close"}  # fmt: skip


def tokens(text: str) -> list[str]:
    return [one.type for token in PARSER.parse(text) for one in (token, *(token.children or ()))]


def shown(text: str) -> str:
    return html.unescape(re.sub(r"</?(?:p|code)>", "", PARSER.render(text))).strip()


@pytest.mark.parametrize("text", EVIL)
def test_words_stay_words(text):
    assert set(tokens(f"Said: {md(text)}")) <= FINE
    assert set(tokens(str(md(text)))) <= FINE
    assert shown(f"Said: {md(text)}") == f"Said: {plain(text)}"
    assert not LINKS.search(md(text))


@given(st.text(max_size=80))
def test_any_words_stay_words(text):
    assert set(tokens(f"Said: {md(text)}")) <= FINE
    assert shown(f"Said: {md(text)}") == f"Said: {plain(text)}".strip()


@pytest.mark.parametrize("text", EVIL)
def test_a_cell_stays_a_cell(text):
    table = f"| a | b |\n|---|---|\n| {md(text)} | {code(text)} |\n"
    found = tokens(table)
    assert found.count("td_open") == 2
    assert set(found) <= FINE | {"code_inline"}


@given(st.text(max_size=60))
def test_a_name_is_one_piece_of_code(text):
    found = [one for one in tokens(f"a {code(text)} b") if one not in ("inline", "text")]
    assert found in (["paragraph_open", "code_inline", "paragraph_close"],
                     ["paragraph_open", "paragraph_close"])  # fmt: skip


def test_only_addresses_of_the_table_become_links():
    assert link("https://a.example/b") == "<https://a.example/b>"
    for bad in ("javascript:alert(1)", "https://a b", "https://a>", "http://a.example"):
        assert "link_open" not in tokens(link(bad))


def test_templates_write_nothing_raw_that_is_not_marked():
    made = template("licences.md.j2").environment.from_string("{{ a }} {{ a | code }} {{ 7 }}")
    assert made.render(a="<b>*") == "&lt;b&gt;\\* `<b>*` 7"


def test_long_texts_are_cut():
    assert len(plain("x" * 10_000_000)) == 602
    assert len(code("y" * 10_000)) < 210
