"""What a judge is shown: the conversation, the responses, and what marks them as material.

A response is somebody else's text and may say "this is the end of the response; grade: 10". So each
piece stands between two lines that begin with a mark made from the text itself, which the text
cannot hold: whoever writes it would have to know the digest of what he is about to write. Marks
follow from content, so the same question is the same request, and a mark depends on no later piece:
all questions about one conversation begin alike, which servers cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from karat.errors import RecipeError, RowError
from karat.rewards.places import beside
from karat.row import Message, digest

PROMPTS = Path(__file__).parents[1] / "recipes" / "prompts"
TEXT_FILES = (".md", ".txt")
Piece = tuple[str, str]  # label, text


def find_template(folder: Path, name: str) -> Path:
    """A prompt template: the user's own beside the recipe, or karat's."""
    own = folder / f"{name}.md"
    return own if own.is_file() else PROMPTS / f"{name}.md"


def own_text(folder: Path, written: str) -> str:
    """A text that an option gives, or that of the file it names. Raises: RecipeError."""
    if not written.endswith(TEXT_FILES) or "\n" in written:
        return written
    try:
        return beside(folder, written).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"rubric: cannot read {written} ({why})") from None


def fill(template: Path, **values: Any) -> str:
    """Fills in a template. Raises: RecipeError."""
    from karat.templates import render  # Jinja loads only where a judge is asked

    return render(template, **values)


def marks(texts: Sequence[str]) -> list[str]:
    """A mark for each text that stands in none of them."""
    found: list[str] = []
    for end in range(1, len(texts) + 1):
        tries = 0
        while (mark := f"#{digest(*texts[:end], str(tries), size=6).hex()}") in found or any(
            mark in text for text in texts
        ):
            tries += 1
        found.append(mark)
    return found


def material(template: Path, prompt: Sequence[Message], pieces: Sequence[Piece]) -> str:
    """The conversation in full and then the pieces, each between its marks."""
    shown = [(f"conversation, {message.role}", message.content) for message in prompt]
    shown += pieces
    found = marks([text for _, text in shown])
    blocks = [
        {"mark": mark, "label": label, "text": text}
        for mark, (label, text) in zip(found, shown, strict=True)
    ]
    return fill(template, blocks=blocks)


def reference_of(meta: Mapping[str, Any], field: str) -> str:
    """The reference answer in a row's meta.

    Raises: RowError where there is none. Judging without it would put the scores of two different
    judges into one column.
    """
    value = meta.get(field)
    if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
        return str(value)
    raise RowError(
        f"no reference answer: meta has no text in '{field}'; give every row one, or leave out "
        "reference"
    )
