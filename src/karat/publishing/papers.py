"""The papers of a run: the dataset card, its licences, the EU summary, and Croissant.

Written into a folder of their own, from the run's files alone, so that they can be written again
at any time, and read before anything is published. A person fills in the blanks, and that work is
never written over: each paper ends with a mark of its own words, and one whose words are others by
now stays as it is, with the new one beside it.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from karat.errors import RunError
from karat.licensing.solved import Finding
from karat.publishing.card import card
from karat.publishing.croissant import croissant
from karat.publishing.eu_summary import eu_summary
from karat.publishing.facts import Facts, facts
from karat.publishing.marks import Marked, link, md, plain, template
from karat.report.licences import causes
from karat.row import digest
from karat.rundir import Run, write_atomic

CARD, LICENCES, EU, CROISSANT = "README.md", "LICENCES.md", "eu-summary.md", "croissant.json"


def write_papers(run: Run, folder: Path, licence: str = "") -> list[Path]:
    """Writes README.md, LICENCES.md, eu-summary.md and croissant.json into `folder`, and returns
    their paths. `licence`: what to release under, where several fit; by default the first. Beside
    a paper that a person has changed, the new one is NAME.new.md.

    Blockers are written, not raised. Raises: RecipeError, RunError.
    """
    found = facts(run, licence)
    texts = {CARD: card(found), LICENCES: licences_page(found), EU: eu_summary(found)}
    released = [found.licence] if found.licence else None
    described = orjson.dumps(croissant(run, licences=released), option=orjson.OPT_INDENT_2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        places = {name: _place(folder / name) for name in texts}
    except OSError as error:
        raise RunError(f"cannot write into {folder}: {error.strerror}; name another") from None
    for name, text in texts.items():
        write_atomic(places[name], _marked(text))
    write_atomic(folder / CROISSANT, described)
    return [*places.values(), folder / CROISSANT]


def _marked(text: str) -> bytes:
    """A paper with the mark of its words at its end."""
    data = text.encode("utf-8", "replace")
    return data + _mark(data)


def _mark(data: bytes) -> bytes:
    return f"\n<!-- as written by karat: {digest(data).hex()} -->\n".encode()


def _place(path: Path) -> Path:
    """Where a paper goes: its own place, but beside one that a person has changed."""
    if not path.is_file():
        return path
    data = path.read_bytes()
    own = data[: -len(_mark(b""))]
    return path if data == own + _mark(own) else path.with_suffix(f".new{path.suffix}")


def licences_page(found: Facts) -> str:
    """LICENCES.md: blockers, obligations with their sources, and the texts to paste."""
    solved = found.licences
    lines = [line for one in solved.obligations for line in one.paste.splitlines()]
    return template("licences.md.j2").render(
        f=found, l=solved, where=_where, pastes=[plain(one) for one in dict.fromkeys(lines)]
    )


def _where(one: Finding) -> Marked:
    """Due to what, and where it is written, below a finding."""
    parts = [f"due to: {md(causes(one.causes, most=20))}"]
    if one.source:
        read = f", read {md(one.checked)}" if one.checked else ""
        parts.append(f"written in: {md(one.source)}{read}{f', {link(one.url)}' if one.url else ''}")
    return Marked("\n".join(f"  - {part}" for part in parts))
