"""Files that a reward's options name: beside the recipe, or where they say."""

from __future__ import annotations

from pathlib import Path

from karat.errors import RecipeError


def beside(folder: Path, written: str) -> Path:
    """The path of a file or folder. Raises: RecipeError for a name no file can have."""
    try:
        if "\0" in written:
            raise ValueError("a NUL is in it")
        return folder / Path(written).expanduser()
    except (ValueError, RuntimeError) as error:  # the home of a user who is none
        raise RecipeError(f"no file can be called {written!r}: {error}") from None
