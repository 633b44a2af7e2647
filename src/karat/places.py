"""Where data lie: a path of this machine, or a URL of any store that fsspec knows.

A URL becomes a UPath of universal-pathlib: it has what pathlib's paths have, travels between
processes, and gives way to the store's own library for keys, which are never karat's business. It
is typed as Path here, and what karat asks of either goes through this module: stores fail with
errors of their own, which nobody above could know, and each question to one costs a request.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote, urlsplit

from karat.errors import RecipeError

T = TypeVar("T")
BLOCK = 8 * 2**20  # bytes read ahead, or sent at once: S3 takes parts of 5 MiB and more
DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs",
           "abfss": "adlfs", "az": "adlfs"}  # fmt: skip
# What stores say of an object that is another once its content is; the first that is there.
_TELLING = ("ETag", "etag", "md5Hash", "content_md5", "generation", "LastModified", "updated",
            "last_modified", "mtime", "created")  # fmt: skip


def is_url(text: str) -> bool:
    return "://" in text


def is_remote(path: Path) -> bool:
    """Whether it is a URL's, and no path of this machine."""
    return not isinstance(path, Path)


def place(text: str | Path) -> Path:
    """The path behind a name: `file://` and names without a scheme are of this machine.

    Raises: RecipeError for what is no URL, one that holds a password or that no library here can
    open, and where universal-pathlib is not installed.
    """
    if not isinstance(text, str):
        return text
    if not is_url(text):
        return Path(text)
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise RecipeError(f"{text} cannot be used: {error}") from None
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise RecipeError(f"{text} names another machine; write file:///the/path")
        return Path(unquote(parts.path))
    if "@" in parts.netloc and parts.password is not None:
        raise RecipeError(
            f"the URL of {parts.scheme}://{parts.hostname or ''} holds a password, and would be "
            "written down with it; leave it out and set the keys in the environment, as fsspec's "
            "library for it reads them"
        )
    if "::" in text:
        raise RecipeError(f"{text}: URLs within URLs are not taken; name the store itself")
    try:
        from upath import UPath
    except ImportError:
        raise RecipeError(f"{text} needs universal-pathlib: pip install 'karat[remote]'") from None
    try:
        # Another process may have written since a folder was listed.
        made = UPath(text, use_listings_cache=False)
        made.fs  # noqa: B018  the library is looked for
    except ImportError as error:
        driver = DRIVERS.get(parts.scheme)
        why = f"pip install {driver}" if driver else str(error)
        raise RecipeError(f"{text} needs another library: {why}") from None
    except ValueError as error:
        raise RecipeError(f"{text} cannot be used: {error}") from None
    return cast(Path, made)


def asked(question: Callable[..., T], *args: Any, **options: Any) -> T:
    """What a store answers. Raises: OSError, whatever its library raises."""
    try:
        return question(*args, **options)
    except OSError:
        raise
    except Exception as error:  # of botocore, google-auth, aiohttp, …
        said = " ".join(str(error).split())[:300]
        raise OSError(f"{type(error).__name__}: {said}" if said else repr(error)[:300]) from error


# --- what is there -------------------------------------------------------------------------------


def is_file(path: Path) -> bool:
    return asked(path.is_file) if is_remote(path) else path.is_file()


def is_dir(path: Path) -> bool:
    return asked(path.is_dir) if is_remote(path) else path.is_dir()


def exists(path: Path) -> bool:
    return asked(path.exists) if is_remote(path) else path.exists()


def children(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where there is none."""
    try:
        return sorted(asked(lambda: list(folder.iterdir())))
    except (FileNotFoundError, NotADirectoryError):
        return []


def stamp(path: Path) -> tuple[int, int] | None:
    """(time of the last change in ns, bytes): tells a file from what it was. None where it is not
    there. Raises: OSError."""
    try:
        stat = asked(path.stat)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int(getattr(stat, "st_mtime_ns", 0) or stat.st_mtime * 1e9), int(stat.st_size)


def files_in(folder: Path, pattern: str | None = None) -> list[Path]:
    """The files in a folder at any depth, or those a glob names. Raises: OSError, ValueError."""
    if not is_remote(folder):
        found = folder.rglob("*") if pattern is None else folder.glob(pattern)
        return [path for path in found if path.is_file()]
    fs, root = store(folder), name(folder)
    if pattern is None:
        names: Iterable[str] = asked(fs.find, root)
    else:
        listed = asked(fs.glob, f"{root.rstrip('/')}/{pattern}", detail=True)
        names = [one for one, info in listed.items() if info.get("type") == "file"]
    return [folder / one[len(root) :].lstrip("/") for one in sorted(names)]


def content(path: Path) -> str:
    """A digest of what a store says of an object that is another once its content is: its tag, or
    its time of change, and its size; of a folder, of everything in it. Raises: OSError."""
    fs, root = store(path), name(path)
    state = blake2b(digest_size=16)
    inside = asked(fs.find, root, detail=True) if is_dir(path) else {"": asked(fs.info, root)}
    for one, info in sorted(inside.items()):
        tag = next((str(info[key]) for key in _TELLING if info.get(key)), "")
        state.update(repr((one[len(root) :], info.get("size"), tag)).encode())
    return state.hexdigest()


# --- reading -------------------------------------------------------------------------------------


def read_bytes(path: Path) -> bytes:
    return asked(path.read_bytes)


def stream(path: Path) -> BinaryIO:
    """A file from its beginning on. Raises: OSError."""
    if not is_remote(path):
        return path.open("rb", buffering=0)
    opened = asked(store(path).open, name(path), "rb", block_size=BLOCK, cache_type="readahead")
    return cast(BinaryIO, _Asked(opened))


def ranges(path: Path) -> BinaryIO:
    """A file of a store of which parts are read: nothing is fetched but what is asked for.

    Raises: OSError.
    """
    opened = asked(store(path).open, name(path), "rb", cache_type="none")
    return cast(BinaryIO, _Asked(opened))


class _Asked(io.RawIOBase):
    """A store's file whose errors are OSErrors."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file

    def readinto(self, into: Any) -> int:
        return int(asked(self._file.readinto, into))

    def read(self, size: int | None = -1) -> bytes:
        return bytes(asked(self._file.read, -1 if size is None else size))

    def readall(self) -> bytes:
        return self.read()

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            super().close()


# --- writing -------------------------------------------------------------------------------------


def make_folder(path: Path) -> None:
    """Of this machine; a store has objects only."""
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """The whole file or none of it. Raises: OSError."""
    if is_remote(path):
        asked(store(path).pipe_file, name(path), data)
        return
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """A file or a folder with all in it; nothing where there is none. Raises: OSError."""
    if is_remote(path):
        with suppress(FileNotFoundError):
            if is_file(path):
                asked(store(path).rm_file, name(path))
        with suppress(FileNotFoundError):  # a name may be both in a store
            if is_dir(path):
                asked(store(path).rm, name(path), recursive=True)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def shown(error: OSError) -> str:
    """Why a file cannot be used, without its name."""
    return os.strerror(error.errno) if error.errno else str(error)


def remedy(error: OSError) -> str:
    """What to do about a file that cannot be written."""
    forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return "check the permissions there" if forbidden else "make room"


def store(path: Path) -> Any:
    """The file system of a store."""
    return cast(Any, path).fs


def name(path: Path) -> str:
    """What a store calls the path."""
    return str(cast(Any, path).path)
