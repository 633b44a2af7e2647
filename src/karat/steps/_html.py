"""HTML pages as text: headings, lists and tables as a person would type them.

Menus, scripts, forms and footers are left out, and where a page marks its main part only that is
read. A page may nest as deep as it likes: what nests without end is made shallow first, the tree is
walked without recursion, and a list is not indented without end.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from karat.curation.chunking import Span
from karat.steps._documents import Document, Heading
from karat.steps._nesting import shallow

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

LEFT_OUT = frozenset(
    ("script", "style", "noscript", "template", "head", "nav", "footer", "aside", "form", "button",
     "select", "input", "textarea", "dialog", "iframe", "object", "svg", "canvas", "audio", "video",
     "-comment", "-doctype")
)  # fmt: skip
BLOCKS = frozenset(
    ("p", "div", "section", "article", "main", "header", "body", "ul", "ol", "dl", "dt", "dd",
     "table", "thead", "tbody", "tfoot", "caption", "blockquote", "figure", "figcaption", "hr",
     "address", "details", "summary", "fieldset", "hgroup", "center", "li", "pre", "tr")
)  # fmt: skip
HEADINGS = {f"h{level}": level for level in range(1, 7)}
PARTS = "table, ul, ol, dl, pre, blockquote, h1, h2, h3, h4, h5, h6"  # what no table of data holds
CLOSE = ("li", "tr", "dt", "dd")  # blocks that follow each other without an empty line
INDENTED = 8  # lists in lists, beyond which an item stands no further to the right
DECLARED_BYTES = 1024  # Source: WHATWG HTML, §4.2.5.4: the declaration is within them
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\n\r\f]+")
# The encodings of the web, by Python's names, and what reads each.
_WEB = {
    **{f"iso8859-{n}": f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **{f"cp{n}": f"cp{n}" for n in (866, 874, 932, 949, *range(1250, 1259))},
    **{name: name for name in ("utf-8", "koi8-r", "koi8-u", "mac-roman", "mac-cyrillic")},
    **{name: name for name in ("gb18030", "big5hkscs", "euc_jp", "iso2022_jp", "iso2022_kr", "hz")},
    # Each is read as the larger one that took its name over.
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874",
    "tis-620": "cp874", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs",
    "shift_jis": "cp932", "euc_kr": "cp949",
    # A declaration that could be read is not written in UTF-16.
    "utf-16": "utf-8", "utf-16-le": "utf-8", "utf-16-be": "utf-8",
}  # fmt: skip
_NAMES = {
    "mac": "mac-roman", "mac-ukrainian": "mac-cyrillic", "windows-31j": "cp932", "x-big5": "big5",
    "cn-big5": "big5", "iso-8859-8-i": "iso-8859-8", "logical": "iso-8859-8", "koi": "koi8-r",
    "koi8-ru": "koi8-u", "user-defined": "cp1252", "unicode": "utf-16", "ucs-2": "utf-16",
}  # fmt: skip  # those that Python does not know


def declared_encoding(data: bytes) -> str | None:
    """What to read a page with by the encoding that its head names; None if it names none.

    A name that means nothing on the web is no name, whatever Python makes of it (idna, utf-7).
    Source: WHATWG Encoding §4.2; HTML §13.2.3.2, step "if charset is UTF-16BE/LE".
    """
    found = _CHARSET.search(data[:DECLARED_BYTES])
    if found is None:
        return None
    name = found[1].decode().lower().removeprefix("x-")
    name = re.sub("^(?:windows|dos)-(?=\\d+$)", "cp", _NAMES.get(name, name))
    try:
        return _WEB.get(codecs.lookup(name).name)
    except LookupError:
        return None


def read_html(page: str) -> Document:
    """The text of a page. Its title is its heading where it has no other."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(shallow(page))
    mains = tree.css("main, [role=main]") or tree.css("article")
    writer = _Writer()
    root = mains[0] if len(mains) == 1 else tree.body
    for node, entering in _walk(root) if root is not None else ():
        writer.enter(node) if entering else writer.leave(node.tag or "")
    writer.flush()
    title = tree.css_first("head > title")
    words = _fold(title.text() or "") if title is not None else ""
    headings = writer.headings or ([Heading(words, Span(0, 0))] if words else [])
    return Document("".join(writer.text), headings)


def _walk(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """(node, entering) of every node that is shown, parents around their children."""
    stack = [(root, True)]
    while stack:
        node, entering = stack.pop()
        if entering and (node.tag in LEFT_OUT or _is_hidden(node)):
            continue
        yield node, entering
        if entering:
            stack.append((node, False))
            inner = []
            child = node.first_child
            while child is not None:
                inner.append((child, True))
                child = child.next
            stack += reversed(inner)


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes if node.is_element_node else {}
    return "hidden" in attributes or attributes.get("aria-hidden") == "true"


def _fold(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


class _Writer:
    """Blocks of text, one after another, from a walk through a page."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.headings: list[Heading] = []
        self._length = 0
        self._line: list[str] = []  # the block under way
        self._lists: list[int] = []  # the last number of each list around here, -1 without numbers
        self._mark = ""  # of the list item that begins
        self._cells: list[str] | None = None  # of the table row around here
        self._pre = 0
        self._close = False  # to the block before

    def enter(self, node: LexborNode) -> None:
        tag = node.tag
        if node.is_text_node:
            text = node.text_content or ""
            self._line.append(text if self._pre else _BLANKS.sub(" ", text))
        elif tag == "br":
            self._line.append(" " if self._cells is not None else "\n")
        elif tag == "tr":
            self.flush()
            self._cells = None if node.css_first(PARTS) is not None else []
        elif tag in ("ul", "ol"):
            self.flush(close=bool(self._lists))
            self._lists.append(_first_number(node) - 1 if tag == "ol" else -1)
        elif tag == "li":
            self.flush(close=True)
            self._mark = self._next_mark()
        elif tag in BLOCKS or tag in HEADINGS:
            self.flush(close=tag in CLOSE)
        self._pre += tag == "pre"

    def leave(self, tag: str) -> None:
        if tag in ("td", "th"):
            if self._cells is None:
                self.flush()
            else:
                self._cells.append(_fold("".join(self._line)))
                self._line = []
        elif tag == "tr" and self._cells is not None:
            row = " | ".join(self._cells) if any(self._cells) else ""
            self._cells, self._line = None, [row]
            self.flush(close=True)
        elif tag in BLOCKS or tag in HEADINGS:
            self.flush(HEADINGS.get(tag, 0), close=tag in CLOSE)
        if tag in ("ul", "ol"):
            self._lists.pop()
        # What follows a list or a table stands apart from it.
        self._close &= bool(self._lists) or tag not in ("ul", "ol", "dl", "table")
        self._pre -= tag == "pre"

    def _next_mark(self) -> str:
        number = self._lists[-1] if self._lists else -1
        if number >= 0:
            number += 1
            self._lists[-1] = number
        indent = "  " * (min(len(self._lists), INDENTED) - 1)
        return f"{indent}{number}. " if number >= 0 else f"{indent}- "

    def flush(self, level: int = 0, *, close: bool = False) -> None:
        """Ends a block: a heading of that level, or one `close` to the next."""
        if self._cells is not None:
            self._line.append(" ")  # a block inside a cell
            return
        whole = "".join(self._line)
        self._line = []
        block = whole.strip("\n").rstrip() if self._pre else _lines(whole)
        if not block.strip():
            return
        title = _fold(block)
        block = f"{'#' * level} {title}" if level else self._mark + block
        self._mark = ""
        gap = ("\n" if self._close else "\n\n") if self.text else ""
        start = self._length + len(gap)
        self._length = start + len(block)
        self.text += [gap, block]
        if level:
            self.headings.append(Heading(title, Span(start, self._length)))
        self._close = close


def _first_number(node: LexborNode) -> int:
    start = node.attributes.get("start") or ""
    return int(start) if re.fullmatch(r"\d{1,9}", start) else 1


def _lines(text: str) -> str:
    """The lines of a block, which `br` parted, without the blanks around them."""
    return "\n".join(_fold(line) for line in text.split("\n")).strip()
