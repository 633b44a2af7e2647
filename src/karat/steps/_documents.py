"""Documents as text: what a file says, where its headings and pages begin.

What a file holds is taken as it comes or not at all: a text in a wrong encoding is a reason to
leave the file out, never a reason to guess. Spans point into `Document.text`, which for text and
Markdown is the file itself with line ends as Python reads them (`Path.read_text`).
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from karat.curation.chunking import Span
from karat.errors import RecipeError

FORMATS = {
    "txt": "text", "text": "text", "rst": "text", "md": "markdown", "markdown": "markdown",
    "htm": "html", "html": "html", "xhtml": "html", "pdf": "pdf",
}  # fmt: skip
EXTRA = "karat[documents]"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
# YAML from the first line on: any other line behind "---" says that it was a rule.
_KEY = r"[\"']?\w[\w .-]*[\"']?:(?=\s)"
_FRONT = re.compile(
    rf"---[ \t]*\n(?={_KEY})(?:(?!---[ \t]*\n)(?:[ \t#\]}}-].*|{_KEY}.*)?\n)*"
    r"(?:---|\.\.\.)[ \t]*(?:\n|$)"
)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}#{1,6}(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_NO_TITLE = re.compile(r" {0,3}(?:[>#|]|[-*+][ \t]|\d{1,9}[.)][ \t]|(?:[-*_][ \t]*){3,}$)| {4}|\t")


class UnreadableError(ValueError):
    """A file that gives no text. `reason` is the category that a report counts."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Heading(NamedTuple):
    """A heading of a document: its title, and the span of all of it in the text."""

    title: str
    span: Span


class Document(NamedTuple):
    """The text of a file. It begins at `begin`, behind what is not text (front matter).

    `pages`: where each page begins, for files that have pages.
    """

    text: str
    headings: Sequence[Heading] = ()
    pages: Sequence[int] = ()
    begin: int = 0


def document_format(path: Path) -> str:
    """One of FORMATS' values by the file's name; empty if unknown."""
    return FORMATS.get(path.suffix.lower().removeprefix("."), "")


def printable(name: str) -> str:
    """A file's name with its bytes that are not UTF-8 as \\x…, for rows, reports and messages."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def check_parsers(files: Sequence[Path]) -> None:
    """Raises: RecipeError when files are there that only an extra can read."""
    for file in files:
        try:
            if document_format(file) == "pdf":
                import pypdfium2  # noqa: F401
            elif document_format(file) == "html":
                import selectolax.lexbor  # noqa: F401
        except ImportError:
            name = printable(str(file))
            raise RecipeError(f"{name} needs a parser: pip install '{EXTRA}'") from None


def read_document(path: Path, data: bytes, encoding: str | None = None) -> Document:
    """What the file says. Raises: UnreadableError.

    `encoding` is that of text, Markdown and HTML files that do not say it themselves; UTF-8 if
    left out.
    """
    kind = document_format(path)
    if kind == "pdf":
        from karat.steps._pdf import read_pdf

        found = read_pdf(data)
    elif kind == "html":
        from karat.steps._html import declared_encoding, read_html

        found = read_html(_decode(data, declared_encoding(data) or encoding))
    else:
        found = Document(_decode(data, encoding))
        if kind == "markdown":
            found = _markdown(found.text)
    if "\0" in found.text:  # C libraries would cut the text there
        raise UnreadableError("NUL in the text", "it is no text file")
    if not found.text[found.begin :].strip():
        raise UnreadableError("no text", "it is empty")
    return found


def _decode(data: bytes, encoding: str | None) -> str:
    for mark, name in _BOMS:
        if data.startswith(mark):
            data, encoding = data.removeprefix(mark) if name == "utf-8" else data, name
            break
    name = encoding or "utf-8"
    try:
        text = data.decode(name)
    except (UnicodeError, LookupError):
        hint = "" if encoding else "; say its encoding"
        raise UnreadableError("unreadable text", f"not {name.upper()}{hint}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _markdown(text: str) -> Document:
    """Markdown stays as it is written; its headings are found, outside of code.

    Source: CommonMark 0.31.2, §4.2 and §4.3.
    """
    front = _FRONT.match(text)
    begin = front.end() if front else 0
    headings: list[Heading] = []
    fence = ""
    before = Span(begin, begin)  # the line before, where it may be a title
    for line in _lines(text, begin):
        words = text[line.start : line.end]
        mark = _FENCE.match(words)
        if mark and (not fence or (mark[1][0] == fence[0] and len(mark[1]) >= len(fence))):
            fence = "" if fence else mark[1]
        elif not fence and (found := _ATX.match(words)):
            headings.append(Heading((found[1] or "").strip(), line))
        elif not fence and before.end > before.start and _UNDERLINE.match(words):
            title = text[before.start : before.end].strip()
            headings.append(Heading(title, Span(before.start, line.end)))
        elif not fence and words.strip() and not _NO_TITLE.match(words):
            # Of a paragraph of several lines only the last is taken for the title.
            before = line
            continue
        before = Span(line.end, line.end)
    return Document(text, [heading for heading in headings if heading.title], (), begin)


def _lines(text: str, start: int) -> Iterator[Span]:
    """The lines of a text without their ends."""
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield Span(start, end)
        start = end + 1
