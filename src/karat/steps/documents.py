"""documents: passages out of text, Markdown, HTML and PDF files, for questions about them.

Each passage says where it stands, to the character, because an answer is worth as much as the
place it can be checked at. Where hard negatives are wanted, the files are read through once before
the first row: every passage is embedded, and passages and vectors wait in temporary files, so that
memory holds one document and one block of similarities whatever the number of files.
"""

from __future__ import annotations

import codecs
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from karat.context import Context
from karat.curation.chunking import Span, cut
from karat.errors import RecipeError
from karat.forecast import Forecast
from karat.row import Ids, Row, digest
from karat.step import InputPath, step
from karat.steps._documents import (
    FORMATS,
    Document,
    UnreadableError,
    check_parsers,
    document_format,
    printable,
    read_document,
)
from karat.steps._files import input_files
from karat.steps._shelf import Shelf
from karat.steps.read import Source

if TYPE_CHECKING:
    from karat.recipe import Recipe

LEAST, MOST = 20, 20_000  # words of a passage
# Python calls them encodings; no text is written in them.
NO_TEXT = frozenset(("idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"))


@step
def documents(
    ctx: Context,
    *,
    path: InputPath,
    glob: str | None = None,
    size: Annotated[int, msgspec.Meta(ge=LEAST, le=MOST)] = 180,
    overlap: Annotated[int, msgspec.Meta(ge=0)] = 30,
    candidates: Annotated[int, msgspec.Meta(ge=0, le=64)] = 8,
    encoding: str | None = None,
    source: Source = "given",
    licence: str | None = None,
) -> Iterator[Row]:
    """One row per passage of `path` (a file, or a folder with `glob` inside it).

    Files: .txt, .text, .rst, .md, .markdown; .html, .htm, .xhtml and .pdf with `karat[documents]`.
    A passage has at most `size` words and, but for a file's last one, more than half of them; it
    ends with a section, paragraph or sentence where one does, never inside a word, and the next one
    repeats at most `overlap` of its words. A word is a run between white space, or a character of a
    script without spaces. `encoding` is that of files that do not say it; UTF-8 if left out.

    Rows have no messages yet. Their meta holds `passage`; `file` (inside the folder), `document`
    (a digest of the file's bytes), `start` and `end` (characters of the file's text: text[start:
    end] is the passage), `page` (the first one, PDF only), `heading` (the last one up to there),
    and `licence` where one is given; `source` says who wrote the documents.

    `candidates`: up to that many other passages, the most similar first, for hard negatives; 0 for
    none. In meta each is {passage, file, start, end, heading}, the first place where it stands: no
    text is there twice, and none that is the row's own or overlaps it anywhere. They travel in the
    row (by default about 10 KB), because a step sees nothing else; closed_qa takes them out again.
    Time grows with the square of the number of different passages: about 100 CPU seconds for
    100,000.

    A file that cannot be read, or whose name is not UTF-8, becomes a dropped row with the reason.
    Raises: RecipeError when no file holds any text, or one needs a parser that is not installed.
    """
    root = ctx.path(path)
    files = document_files(root, glob)
    check_parsers(files)
    rows = _rows(files, root, size, overlap, encoding, source, licence)
    if candidates:
        with Shelf() as shelf:
            for row in rows:
                if row.dropped is None:
                    shelf.add(row)
                else:
                    yield row
            yield from shelf.with_candidates(candidates)
    else:
        yield from rows


def document_files(root: Path, glob: str | None = None) -> list[Path]:
    """The files of documents that a recipe names, in order of their names. Raises: RecipeError."""
    return input_files(root, glob, document_format, tuple(FORMATS))


def _rows(
    files: list[Path], root: Path, size: int, overlap: int, encoding: str | None, source: Source,
    licence: str | None,
) -> Iterator[Row]:  # fmt: skip
    ids = Ids()
    usable, problem = 0, ""
    for file in files:
        name = printable(file.relative_to(root).as_posix() if root.is_dir() else file.name)
        more = {} if licence is None else {"licence": licence}
        try:
            data = _bytes(file)
            place = {"file": name, "document": digest(data).hex(), **more}
            document = read_document(file, data, encoding)
        except UnreadableError as error:
            reason = f"{error.reason} ({name}: {error.detail})"
            problem = problem or reason
            meta = {"file": name, **more}
            yield Row(ids.assign([], meta), source=source, meta=meta, dropped=reason)
            continue
        for span in spans(document, size, overlap):
            usable += 1
            passage = document.text[span.start : span.end]
            # By the passage alone: a file moved, or edited elsewhere, re-buys nothing.
            identity = ids.assign([], {"passage": passage})
            yield Row(identity, source=source, meta={**_meta(document, span), **place})
    if not usable:
        raise RecipeError(f"{root} holds no text; the first problem: {problem}")


def _bytes(file: Path) -> bytes:
    if printable(file.name) != file.name:
        raise UnreadableError("unreadable file name", "not UTF-8; rename it")
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnreadableError("unreadable file", error.strerror or str(error)) from None


def spans(document: Document, size: int, overlap: int) -> Iterator[Span]:
    """The passages of a document."""
    begin = document.begin
    headings = [Span(h.span.start - begin, h.span.end - begin) for h in document.headings]
    for span in cut(document.text[begin:], size, overlap, headings):
        yield Span(span.start + begin, span.end + begin)


def _meta(document: Document, span: Span) -> dict[str, Any]:
    meta: dict[str, Any] = {"passage": document.text[span.start : span.end], **span._asdict()}
    if document.pages:
        meta["page"] = bisect_right(document.pages, span.start)
    starts = [heading.span.start for heading in document.headings]
    place = bisect_right(starts, span.start) - 1
    if place < 0 and starts and starts[0] < span.end:
        place = 0  # the passage begins before the document's first heading
    if place >= 0:
        meta["heading"] = document.headings[place].title
    return meta


@documents.rule
def _rule(*, path: str, size: int, overlap: int, encoding: str | None, **_: Any) -> str | None:
    if "://" in path:
        return f"path must be on this machine, got {path}; copy it here"
    if set("*?") & set(path) and not Path(path).exists():
        return f"path takes no pattern; write path: FOLDER and glob: '{path.rpartition('/')[2]}'"
    if overlap > size // 2:
        return f"overlap must be at most half of size ({size // 2}), got {overlap}"
    if encoding is not None:
        try:
            known = codecs.lookup(encoding).name not in NO_TEXT
            "a".encode(encoding)
        except (LookupError, ValueError):  # not of text, or no name at all
            known = False
        if not known:
            return f"no encoding {encoding!r}; name one of text that Python knows, such as cp1252"
    return None


@documents.plan
def _plan(
    rows: int, *, recipe: Recipe, path: str, glob: str | None, size: int, overlap: int,
    encoding: str | None, **_: Any,
) -> Forecast:  # fmt: skip
    """Passages of all files that can be read. Raises: RecipeError for a missing parser."""
    files = document_files(recipe.path(path), glob)
    check_parsers(files)
    return Forecast(
        sum(_count(file, file.stat().st_mtime_ns, size, overlap, encoding) for file in files)
    )


@lru_cache(maxsize=4096)
def _count(file: Path, changed: int, size: int, overlap: int, encoding: str | None) -> int:
    """Passages of one file; a plan and the run that follows both ask."""
    try:
        document = read_document(file, _bytes(file), encoding)
    except UnreadableError:
        return 0
    return sum(1 for _ in spans(document, size, overlap))
