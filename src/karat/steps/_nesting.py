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
_TAG = re.compile(r"<(/?)([a-z][^\s/>]*)", re.IGNORECASE)
_LONG_TAG = re.compile(rf"(?<=<)([a-z][^\s/<>]*)([^<>]{{{LONG},}})", re.IGNORECASE)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_VOID = frozenset(
    ("area", "base", "basefont", "bgsound", "br", "col", "embed", "hr", "img", "input", "keygen",
     "link", "meta", "param", "source", "track", "wbr", "html", "head", "body", *_FORMATS.split("|"))
)  # fmt: skip
# Ended by the next of their kind, and by the end of what they stand in.
_KINDS = {
    "li": "li", "p": "p", "dd": "dd", "dt": "dd", "td": "td", "th": "td", "tr": "tr",
    "option": "option", "tbody": "tbody", "thead": "tbody", "tfoot": "tbody",
}  # fmt: skip
# What no end tag of another name ends. Source: WHATWG HTML §13.2.4.2, special elements.
_SPECIAL = frozenset(
    "address applet article aside blockquote button caption center colgroup details dir div dl "
    "fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup iframe listing "
    "main marquee menu nav noembed noframes noscript object ol plaintext pre search section select "
    "summary table template textarea ul xmp svg math foreignobject".split()
)
_BLOCK = _SPECIAL - {"svg", "math", "button"} | _KINDS.keys()


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
    """The page without its tags beyond DEPTH. Counts an element as open rather too long."""
    parts, done = [], 0
    open_: list[tuple[str, bool]] = []  # the names around here, and whether they were taken out
    for tag in _TAG.finditer(page):
        name = tag[2].lower()
        if name in _VOID:
            continue
        place = _ended(open_, name) if tag[1] else _ended_by_next(open_, name)
        out = len(open_) >= DEPTH and not tag[1]
        if place is not None:
            out = open_[place][1]
            del open_[place:]
        if not tag[1]:
            open_.append((name, out))
        if out:
            parts += [page[done : tag.start(2)], "br" if name in _BLOCK else "wbr"]
            done = tag.end(2)
    return "".join([*parts, page[done:]])


def _ended(open_: list[tuple[str, bool]], name: str) -> int | None:
    """Which element an end tag surely ends, by its place; None where it may end none."""
    special = name in _SPECIAL
    for place in range(len(open_) - 1, max(-1, len(open_) - 1 - WALK), -1):
        other = open_[place][0]
        if other == name:
            return place
        if other in _SPECIAL or (other in _KINDS and not (special or name in _KINDS)):
            return None
    return None


def _ended_by_next(open_: list[tuple[str, bool]], name: str) -> int | None:
    """Which element ends because one of this name begins beside it."""
    kind = _KINDS.get(name)
    for place in range(len(open_) - 1, max(-1, len(open_) - 1 - WALK), -1):
        other = open_[place][0]
        if other in _KINDS and _KINDS[other] == kind:
            return place
        if other in _KINDS or other in _SPECIAL:
            return None
    return None
