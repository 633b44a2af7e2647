"""Docstrings and tables as Markdown.

karat's docstrings are plain text with code in backticks. They are escaped wherever Markdown would
see a sign of its own, and paragraphs become one line each, so that no wrapped line can begin with
what starts a heading or a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import dedent

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_SIGNS = re.compile(r"([\\*\[\]{}|]|(?<!\w)_|_(?!\w))")
_ARXIV = re.compile(r"(?<![\w./])(\d{4}\.\d{5})(?![\w.]*\d)")
_LABEL = re.compile(r"(?:^|(?<=\. ))(Raises|Source|Files): ")


def inline(text: str) -> str:
    """A line or a paragraph: code as it is, the rest escaped, arXiv numbers linked."""
    parts = _CODE.split(" ".join(text.split()))
    for place in range(0, len(parts), 2):
        plain = parts[place].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        plain = _SIGNS.sub(r"\\\1", plain)
        plain = _ARXIV.sub(r"[\1](https://arxiv.org/abs/\1)", plain)
        parts[place] = _LABEL.sub(r"**\1:** ", plain)
    found = "".join(parts)
    return re.sub(r"^(\d*)([#+!.-])", r"\1\\\2", found)  # would begin a heading, a list, a rule


def prose(doc: str) -> str:
    """A whole docstring: paragraphs, lists of `- `, and what is indented by four as it stands."""
    made = []
    for block in re.split(r"\n\s*\n", doc.strip("\n")):
        made += [_piece(piece) for piece in _pieces(block.splitlines())]
    return "\n\n".join(made)


def _pieces(lines: Sequence[str]) -> list[list[str]]:
    """The lines of a block, parted where a list or an indented part begins or ends."""
    pieces: list[list[str]] = []
    last = ""
    for line in lines:
        kind = "text" if line.startswith("    ") else "list" if line.startswith("- ") else ""
        if last == "list" and line.startswith("  "):
            kind = "list"
        if kind != last or not pieces:
            pieces.append([])
        pieces[-1].append(line)
        last = kind
    return pieces


def _piece(lines: Sequence[str]) -> str:
    if lines[0].startswith("    "):
        return fenced(dedent("\n".join(lines)), "text")
    if lines[0].startswith("- "):
        items = re.split(r"^- ", "\n".join(lines), flags=re.MULTILINE)[1:]
        return "\n".join(f"- {inline(item)}" for item in items)
    return inline("\n".join(lines))


def fenced(text: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.strip(chr(10))}\n```"


def code(text: str) -> str:
    """Code inside a line or a cell; nothing where there is none."""
    text = text.replace("|", r"\|")
    return "" if not text else f"`` {text} ``" if "`" in text else f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of Markdown cells under their headings; nothing where there are no rows."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *lines])


def parameters(rows: Iterable[tuple[str, str, str]], head: str = "parameter") -> str:
    """A table of (name, what it takes, default), as karat.report.steps.parameters gives them."""
    cells = [
        (code(name), inline(takes), "**needed**" if default == "needed" else code(default))
        for name, takes, default in rows
    ]
    return table((head, "takes", "default"), cells)


def page(*parts: str) -> str:
    """Parts with an empty line between them, the empty ones left out."""
    return "\n\n".join(part for part in parts if part) + "\n"
