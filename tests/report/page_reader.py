"""A page as a browser would see it, for tests of files that karat writes: inert, and whole."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img"}


class Reader(HTMLParser):
    """Tags, ids and text of a page. Tags must close in order; nothing may run or be fetched, and a
    link may lead only to a place on the same page."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.ids, self.said, self.open = [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        self.ids += [value for name, value in attributes if name == "id"]
        for name, value in attributes:
            assert not name.startswith("on")
            assert name != "src"
            assert name != "href" or value.startswith("#")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)

    @property
    def raw(self):
        """All text as it stands."""
        return "".join(self.said)

    @property
    def text(self):
        """All text in one line."""
        return " ".join(self.raw.split())
