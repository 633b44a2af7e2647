"""GGUF files on this machine: what their head says, and which bytes they are.

llama.cpp reads such a file itself; karat needs a few things of it beforehand. The head gives the
model's shape, without which no adapter can be fitted to it; the package `gguf` would read it, but
takes 2 CPU seconds over the words of a vocabulary nobody asked for. The hash is the identity: a
path may hold another model tomorrow. And the types of its matrices say whether llama.cpp computes
an answer the same way whatever is computed beside it.

Source: docs/gguf.md of ggml (version 3 of the format, little-endian).
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from karat.errors import RecipeError, did_you_mean

MAGIC = b"GGUF"
ENDING = ".gguf"
LONGEST = 1 << 24  # bytes of a text in a head; a chat template has some ten thousand
_TEXT, _ARRAY = 8, 9
_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class LocalFile:
    """A model file of the user's own, where a recipe names one: `embedded/./student.gguf`."""

    def __init__(self, path: str | Path) -> None:
        """Raises: RecipeError when there is no such file, or it is no GGUF file."""
        self.path = Path(path).absolute()
        if not self.path.is_file():
            beside = [one.name for one in self.path.parent.glob(f"*{ENDING}")]
            near = did_you_mean(self.path.name, beside)
            raise RecipeError(f"no file {self.path}; in its folder {near}")
        try:
            with self.path.open("rb") as file:
                magic = file.read(len(MAGIC))
        except OSError as error:
            raise RecipeError(f"cannot read {self.path}: {error.strerror}") from None
        if magic != MAGIC:
            raise RecipeError(f"{self.path} is no GGUF file; llama.cpp reads no other format")

    @property
    def sha256(self) -> str:
        return file_digest(self.path)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex; of one that has not changed since it was asked before, at once.
    Raises: RecipeError."""
    try:
        seen = path.stat()
        return _digest(path, seen.st_size, seen.st_mtime_ns, seen.st_ino)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from None


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def head(path: Path) -> dict[str, Any]:
    """The file's metadata but for its arrays, by name. Raises: ValueError, OSError."""
    with path.open("rb") as file:
        return _head(file)[0]


def matrix_types(path: Path) -> set[int]:
    """The ggml types of the file's matrices: 0 float32, 3 Q4_1, 8 Q8_0 … Vectors, such as norms,
    are left out. Raises: ValueError, OSError."""
    with path.open("rb") as file:
        _, tensors = _head(file)
        found = set()
        try:
            for _ in range(tensors):
                _text(file)
                shape = [_number(file, "Q") for _ in range(_number(file, "I"))]
                kind = int(_number(file, "I"))
                _number(file, "Q")  # where it begins
                if len([side for side in shape if side > 1]) > 1:
                    found.add(kind)
        except struct.error as error:
            raise ValueError(f"the head is damaged: {error}") from error
    return found


def _head(file: IO[bytes]) -> tuple[dict[str, Any], int]:
    """(metadata, number of tensors), read up to where the tensors are listed."""
    try:
        if file.read(4) != MAGIC:
            raise ValueError("no GGUF file")
        version, tensors, count = struct.unpack("<IQQ", file.read(20))
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version}, where 2 or 3 is known")
        found = [(_text(file), _value(file, _number(file, "I"))) for _ in range(count)]
    except (struct.error, KeyError) as error:
        raise ValueError(f"the head is damaged: {error}") from error
    return {name: value for name, value in found if value is not None}, tensors


def _number(file: IO[bytes], form: str) -> Any:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]


def _text(file: IO[bytes]) -> str:
    length = _number(file, "Q")
    if length > LONGEST:  # or a damaged file would ask for all memory there is
        raise ValueError(f"the head is damaged: a text of {length} bytes")
    return file.read(length).decode("utf-8", "replace")


def _value(file: IO[bytes], kind: int) -> Any:
    """A value, or None for an array, which is passed over."""
    if kind == _TEXT:
        return _text(file)
    if kind != _ARRAY:
        return _number(file, _FIXED[kind])
    inner, count = _number(file, "I"), _number(file, "Q")
    if inner == _ARRAY:
        raise ValueError("the head is damaged: an array of arrays")
    if inner == _TEXT:
        for _ in range(count):
            _text(file)
    else:
        file.seek(count * struct.calcsize(f"<{_FIXED[inner]}"), 1)
    return None
