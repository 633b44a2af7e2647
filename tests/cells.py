"""Checks of what a cell shows: a browser's parser reads it, and finds karat's own tags alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from karat.visible import UNSEEN


class Reader(HTMLParser):
    """Every tag and attribute there is, as a browser's parser sees them."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open = set(), set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


ALLOWED = {"style", "div", "p", "b", "i", "small", "span", "table", "thead", "tbody", "tr", "th",
           "td", "details", "summary"}  # fmt: skip


def safe(html):
    """Whether it is well formed and only of karat's own tags, with nothing unseen in it."""
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    assert reader.tags <= ALLOWED
    assert reader.attributes <= {"class", "style", "scope", "aria-hidden"}
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html
    )
    html.encode()
    return html


def one_line(thing):
    said = repr(thing)
    assert len(said.splitlines()) == 1
    assert not re.search(UNSEEN, said)
    assert len(said) < 500
    return said
