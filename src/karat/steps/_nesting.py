"""Pages that nest without end, made shallow before a parser sees them.

HTML's rules for tags that are never closed cost time that grows with the square of the nesting, in
any parser that follows them: 200,000 open `<div><p>` (2 MB) take minutes, and 2,000 open `<font>`
(32 kB) a gigabyte. Browsers stop nesting at some depth and show the rest all the same, and so do
we. A page that people read stays as it is, to the byte: this looks only at pages that are large.
"""

from __future__ import annotations

import re

DEPTH = 512  # Source: Blink, core/html/parser/html_construction_site.h, the same limit
FEW_TAGS = 20_000  # nested in whatever way, that many take a second
REOPENED = 8  # formatting elements open at once: each is made again in every block that follows
LONG, MANY = 20_000, 1000  # characters of one tag; attributes in it
WALK = 512  # elements looked through for the one that a tag ends

# Source: WHATWG HTML §13.2.4.3, formatting elements; none of them has a meaning for plain text.
_FORMATS = "a|big|b|code|em|font|i|nobr|small|strike|strong|s|tt|u"
_FORMAT = re.compile(rf"<(/?)({_FORMATS})(?=[\s/>])", re.IGNORECASE)
_TAG = re.compile(r"<(?:(?P<end>/?)(?P<name>[a-z][^\s/>]*)|!--)", re.IGNORECASE)
_RAW = {
    name: re.compile(rf"</{name}", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}  # what is inside is text
_LONG_TAG = re.compile(rf"(?<=<)([a-z][^\s/<>]*+)([^<>]{{{LONG},}})", re.IGNORECASE)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
# Elements that hold none, and those that do not nest but in others that are counted.
_FLAT = frozenset(
    ("area", "base", "basefont", "bgsound", "br", "col", "embed", "hr", "img", "input", "keygen",
     "link", "meta", "param", "source", "track", "wbr", "html", "head", "body", "p", "td", "th",
     "tr", "tbody", "thead", "tfoot", "colgroup", "option", "optgroup", *_FORMATS.split("|"))
)  # fmt: skip
_ITEMS = {"li": "li", "dd": "dd", "dt": "dd"}  # ended by the next of their kind
# What no end tag of another name ends. Source: WHATWG HTML §13.2.4.2, special elements.
_SPECIAL = frozenset(
    ("address", "applet", "article", "aside", "blockquote", "button", "caption", "center",
     "details", "dir", "div", "dl", "fieldset", "figcaption", "figure", "footer", "form",
     "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "listing", "main",
     "marquee", "menu", "nav", "noscript", "object", "ol", "plaintext", "pre", "search", "section",
     "select", "summary", "table", "template", "ul", "svg", "math", "foreignobject")
)  # fmt: skip
_BLOCK = _SPECIAL - {"svg", "math", "button"} | _ITEMS.keys()


def shallow(page: str) -> str:
    """The page, or where it nests too deep for a parser, one that reads the same and does not.

    Tags beyond the depth become line breaks where they begin a block, else nothing.
    """
    page = _LONG_TAG.sub(_shortened, page)
    if _most_open(page) > REOPENED:
        page = _FORMAT.sub(r"<\1wbr", page)
    return page if page.count("<") <= FEW_TAGS else _flattened(page)


def _shortened(tag: re.Match[str]) -> str:
    pieces = len(re.findall(r"[\s/=]+", _QUOTED.sub("", tag[2])))
    return tag[1] if pieces > MANY else tag[0]


def _most_open(page: str) -> int:
    """How many formatting elements are open at once where most are."""
    counts: dict[str, int] = {}
    total = most = 0
    for tag in _FORMAT.finditer(page):
        name = tag[2].lower()
        change = -min(1, counts.get(name, 0)) if tag[1] else 1
        counts[name] = counts.get(name, 0) + change
        total += change
        most = max(most, total)
    return most


def _flattened(page: str) -> str:
    """The page without its tags beyond DEPTH. In doubt an element counts as open."""
    parts: list[str] = []
    done = skipped = 0
    open_: list[tuple[str, bool]] = []  # the elements around here, and whether they were taken out
    for tag in _TAG.finditer(page):
        name = (tag["name"] or "").lower()
        if tag.start() < skipped or name in _FLAT:
            continue
        if not name or (name in _RAW and not tag["end"]):
            skipped = _past(page, tag, name)
            continue
        place = _ended(open_, name) if tag["end"] else _ended_by_next(open_, name)
        out = len(open_) >= DEPTH and not tag["end"]
        if place is not None:
            out = open_[place][1]
            del open_[place:]
        if not tag["end"]:
            open_.append((name, out))
        if out:
            parts += [page[done : tag.start("name")], "br" if name in _BLOCK else "wbr"]
            done = tag.end("name")
    return "".join([*parts, page[done:]])


def _past(page: str, tag: re.Match[str], name: str) -> int:
    """Where a comment, or the text of an element that holds only text, ends."""
    if name:
        close = _RAW[name].search(page, tag.end())
        return close.start() if close else len(page)
    end = page.find("-->", tag.start() + 2)
    return end if end >= 0 else len(page)


def _ended(open_: list[tuple[str, bool]], name: str) -> int | None:
    """Which element an end tag surely ends, by its place; None where it may end none."""
    for place in _around(open_):
        other = open_[place][0]
        if other == name:
            return place
        inside = other in _ITEMS and (name in _SPECIAL or name in _ITEMS)
        if name == "form" or other in _SPECIAL or (other in _ITEMS and not inside):
            return None
    return None


def _ended_by_next(open_: list[tuple[str, bool]], name: str) -> int | None:
    """Which element ends because one of this name begins beside it."""
    for place in _around(open_) if name in _ITEMS else ():
        other = open_[place][0]
        if other in _ITEMS and _ITEMS[other] == _ITEMS[name]:
            return place
        if other in _ITEMS or other in _SPECIAL:
            return None
    return None


def _around(open_: list[tuple[str, bool]]) -> range:
    """The places of the innermost elements, from the inside."""
    last = len(open_) - 1
    return range(last, max(-1, last - WALK), -1)
