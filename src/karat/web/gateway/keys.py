"""Virtual keys: who may ask through the gateway, which models, for how much money.

A secret is shown once, when its key is made; what is kept is its full SHA-256, in a file only its
owner reads. A secret of 32 random bytes needs no salt or slow hash: there is nothing to guess. The
file is read again whenever it has changed, so that a key made or taken away holds at once.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import RecipeError, RunError, did_you_mean
from karat.web.gateway.config import KeyTerms
from karat.web.gateway.purse import Purse

FOLDER = "gateway"  # below the folder of runs
FILE = "keys.json"
PREFIX = "sk-karat-"
RANDOM_BYTES = 32
DAY_S = 86_400
MOST_SECRET = 4096  # characters that are hashed
# What the ledger calls who brings no key, the server's token, and who asks on its page.
OWN_NAMES = ("local", "token", "playground")

PurseOf = Callable[["Stored"], Purse]


class Stored(msgspec.Struct, omit_defaults=True):
    """A key as the file holds it. `sha256` is hex, times are Unix seconds."""

    name: str
    sha256: str
    created: float
    budget_usd: float | None = None
    models: tuple[str, ...] | None = None
    expires: float | None = None


class _File(msgspec.Struct):
    keys: list[Stored] = []
    version: int = 1


class Key(msgspec.Struct):
    """A key that is in force, with what it has spent."""

    name: str
    sha256: str
    created: float
    purse: Purse
    models: tuple[str, ...] | None = None
    expires: float | None = None


class Keyring:
    """The keys of one server: those of its file, and those its config names.

    `purse_of` makes the purse of a key, with what it has cost since it was made; it is asked once a
    key.
    """

    def __init__(self, folder: Path, config: Mapping[str, KeyTerms], purse_of: PurseOf) -> None:
        """Raises: RecipeError."""
        self._path, self._purse_of = folder / FILE, purse_of
        self._file = str(self._path)
        self._fixed = [
            Stored(name, digest_of(one.secret()), 0.0, one.budget_usd, one.models)
            for name, one in config.items()
        ]
        for one in self._fixed:
            check_name(one.name)
        self._keys: dict[str, Key] = {}  # by digest
        self._seen: tuple[int, ...] | None = ()
        self.any = False  # once there was one, every request must bring one
        self.refresh()

    def refresh(self) -> None:
        """Reads the file where it has changed. Raises: RecipeError where it cannot be read."""
        try:
            found = os.stat(self._file)  # noqa: PTH116 - once a request, a third of the CPU
            seen: tuple[int, ...] | None = (found.st_mtime_ns, found.st_size, found.st_ino)
        except FileNotFoundError:
            seen = None
        if seen == self._seen:
            return
        stored = [*self._fixed, *read(self._path)]
        before = {(key.name, key.created): key for key in self._keys.values()}
        self._keys = {one.sha256: self._key(one, before) for one in stored}
        self._seen = seen
        self.any = self.any or bool(self._keys)

    def _key(self, one: Stored, before: Mapping[tuple[str, float], Key]) -> Key:
        """With the purse it had: calls under way have money reserved in it."""
        known = before.get((one.name, one.created))
        if known is None:
            purse = self._purse_of(one)
        else:
            purse = known.purse
            purse.limit(one.budget_usd)
        return Key(one.name, one.sha256, one.created, purse, one.models, one.expires)

    def find(self, secret: str) -> Key | None:
        """The key of this secret, unless it has expired."""
        if len(secret) > MOST_SECRET:
            return None
        digest = digest_of(secret)
        key = self._keys.get(digest)
        if key is None or not hmac.compare_digest(key.sha256, digest):
            return None
        return None if key.expires is not None and time.time() >= key.expires else key

    @staticmethod
    def same(secret: str, other: str) -> bool:
        """Whether two secrets are one, compared in a time that does not depend on where they
        differ, nor on their lengths."""
        return hmac.compare_digest(digest_of(secret), digest_of(other))


def digest_of(secret: str) -> str:
    """What is kept of a secret: the whole of its SHA-256, in hex."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def check_name(name: str) -> None:
    """Raises: RecipeError for what cannot be a key's name, which the ledger's lines bear."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.@-]{0,63}", name, re.ASCII):
        raise RecipeError(
            f"a key's name is of letters, digits, '.', '_', '@' and '-', 64 at most; got {name!r}"
        )
    if name in OWN_NAMES:
        raise RecipeError(f"'{name}' is the gateway's own name for requests; take another")


# --- the file --------------------------------------------------------------------------------


def read(path: Path) -> list[Stored]:
    """The keys of a file, none where there is none. Raises: RecipeError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).keys
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise RecipeError(
            f"{path} is damaged ({error}); move it away and make the keys anew with `karat key add`"
        ) from None


def add(
    folder: Path, name: str, *, budget_usd: float | None = None,
    models: tuple[str, ...] | None = None, days: float | None = None,
) -> str:  # fmt: skip
    """Makes a key and returns its secret, which is kept nowhere. Raises: RecipeError, RunError."""
    check_name(name)
    if budget_usd is not None and not 0 < budget_usd <= 1e9:
        raise RecipeError("--budget is dollars above 0; leave it out for no limit")
    if days is not None and not 0 < days <= 36_500:
        raise RecipeError("--expires is days above 0; leave it out for a key without an end")
    if models is not None and (not models or not all(one.strip() for one in models)):
        raise RecipeError("--models is names or patterns with commas between: teacher,openai/*")
    secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    now = time.time()
    with _changing(folder) as keys:
        if any(one.name == name for one in keys):
            raise RecipeError(f"there is a key '{name}'; `karat key remove {name}` first")
        expires = None if days is None else now + days * DAY_S
        keys.append(Stored(name, digest_of(secret), now, budget_usd, models, expires))
    return secret


def remove(folder: Path, name: str) -> int:
    """Takes a key away and says how many are left; what it cost stays in the ledger.

    Raises: RecipeError, RunError.
    """
    with _changing(folder) as keys:
        left = [one for one in keys if one.name != name]
        if len(left) == len(keys):
            raise RecipeError(f"no key '{name}'; {did_you_mean(name, [k.name for k in keys])}")
        keys[:] = left
    return len(left)


@contextmanager
def _changing(folder: Path) -> Iterator[list[Stored]]:
    """The keys, written when the block ends well; one process at a time."""
    import fcntl

    path = folder / FILE
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        held = os.open(folder / ".keys.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise RunError(f"cannot use {folder}: {error.strerror}; name another --runs") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        keys = read(path)
        yield keys
        _write(path, msgspec.json.format(msgspec.json.encode(_File(keys)), indent=2))
    finally:
        os.close(held)


def _write(path: Path, data: bytes) -> None:
    """The whole file or none of it, readable to its owner alone from the first byte on."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with suppress(FileNotFoundError):
            beside.unlink()
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise RunError(
            f"cannot write {path}: {error.strerror}; make room, then try again"
        ) from None


def listed(folder: Path) -> list[dict[str, Any]]:
    """The keys of a file with what each has cost, for people and programs. Raises: RecipeError,
    RunError."""
    from karat.journal import journal_of, look_up

    sums = look_up(
        journal_of(folder),
        "SELECT step, minute, sum(cost_nano) FROM minutes WHERE substr(step, 1, 4) = 'key:' "
        "GROUP BY 1, 2",
    )
    found = []
    for one in read(folder / FILE):
        nano = sum(n for s, m, n in sums if s == f"key:{one.name}" and m >= one.created // 60)
        tree = {k: v for k, v in msgspec.to_builtins(one).items() if k != "sha256"}
        found.append({"budget_usd": None, "models": None, "expires": None, **tree,
                      "spent_usd": nano / 1e9})  # fmt: skip
    return found
