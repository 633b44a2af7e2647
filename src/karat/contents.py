"""What files hold, as digests: a stage made of a file is made anew when the file is another."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache, partial
from hashlib import blake2b, file_digest
from pathlib import Path

from karat import places
from karat.errors import RunError
from karat.row import digest


def content(path: Path) -> str:
    """A digest of a file's bytes, or of a folder's names, sizes and times of change: its bytes
    would have to be read before each plan. So would those of an object in a store: what the store
    says of it stands for them. What cannot be looked at here counts as absent.

    Raises: RunError where a store does not answer.
    """
    if places.is_remote(path):
        return _of_url(path)
    if path.is_dir():
        state = blake2b(digest_size=16)
        for child in sorted(path.rglob("*")):
            with suppress(OSError):  # a link to nowhere, or to itself
                stat, name = child.stat(), os.fsencode(child.relative_to(path))
                state.update(b"%b\0%d\0%d\n" % (name, stat.st_size, stat.st_mtime_ns))
        return state.hexdigest()
    if not path.exists():
        return digest(str(path)).hex()
    stat = path.stat()
    return _of_file(path, stat.st_size, stat.st_mtime_ns)


def _of_url(path: Path) -> str:
    try:
        return places.content(path)
    except FileNotFoundError:
        return digest(str(path)).hex()
    except OSError as error:
        raise RunError(f"cannot look at {path}: {places.shown(error)}; run again") from error


@lru_cache(maxsize=64)
def _of_file(path: Path, size: int, changed: int) -> str:
    """A file's digest; addresses and scopes both need it, and the file may be large."""
    with path.open("rb") as stream:
        return file_digest(stream, partial(blake2b, digest_size=16)).hexdigest()
