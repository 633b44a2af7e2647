"""places.json: where a run's rows and its journal are, where they are not in its directory.

    {"data": "s3://bucket/prefix", "journal": "postgresql://user@host/db?schema=name"}

It holds addresses and no keys. A run keeps to its places: rows that were paid for and left behind
would be bought again. The data's place has a mark of its own, so that no two runs write into it.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from karat import parquet, places
from karat.errors import RecipeError, RunError

PLACES = "places.json"
MARK = "_karat_run.json"  # at the data's place: whose it is
_SECRETS = ("password", "passfile", "sslpassword")  # of an address; libpq reads them elsewhere


class Elsewhere(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not in a run's directory: URLs, or for `data` a folder in full."""

    data: str | None = None
    journal: str | None = None


def read_places(folder: Path) -> Elsewhere:
    """What the places.json of a run's directory says. Raises: RecipeError."""
    file = folder / PLACES
    try:
        return msgspec.json.decode(file.read_bytes(), type=Elsewhere)
    except (FileNotFoundError, NotADirectoryError):
        return Elsewhere()
    except (OSError, msgspec.DecodeError) as error:
        raise RecipeError(
            f"{file} cannot be read ({error}); put back what it said, which is where the rows of "
            "this run are"
        ) from None


def moved(
    folder: Path, held: Elsewhere, data: str | Path | None, journal: str | None,
    option: str = "--out",
) -> Elsewhere:  # fmt: skip
    """The places of a run that is to be at these, None for where it is. `option` is what its folder
    is named with.

    Raises: RecipeError where it has begun at another.
    """
    asked = Elsewhere(
        held.data if data is None else _written(str(data)),
        held.journal if journal is None else without_secrets(journal),
    )
    rows, paid = ("stages", "accepted.parquet", "dropped.parquet"), ("journal.sqlite",)
    for what, was, now, own in (
        ("--data", held.data, asked.data, rows), ("--journal", held.journal, asked.journal, paid),
    ):  # fmt: skip
        if now != was and (was is not None or any((folder / name).exists() for name in own)):
            raise RecipeError(
                f"{folder} holds a run that keeps its {what.removeprefix('--')} "
                f"{f'at {was}' if was else 'in that folder'}, not at {now}: leave out {what}, or "
                f"name another directory in {option}"
            )
    return asked


def data_at(folder: Path, text: str) -> Path:
    """The folder of the rows of a run in `folder`. Raises: RecipeError."""
    made = places.place(text)
    if not places.is_remote(made):
        return folder / made
    if text.startswith(("http://", "https://")):
        raise RecipeError(f"{text}: rows are written as well as read; name a store, such as s3://")
    if not str(made).partition("://")[2].strip("/"):
        raise RecipeError(f"{text} names no place in the store; write it as s3://bucket/prefix")
    return made


def _written(text: str) -> str:
    """A place for data as places.json has it: in full. Raises: RecipeError."""
    made = data_at(Path(), text)
    return text.rstrip("/") if places.is_remote(made) else str(made.expanduser().absolute())


def settle(folder: Path, asked: Elsewhere, name: str, option: str = "--out") -> None:
    """Writes places.json, where something is elsewhere, and marks the data's place.

    Raises: RecipeError where that holds another run's files or cannot be used; RunError.
    """
    if asked == Elsewhere():
        return
    if asked.data is not None:
        _mark(data_at(folder, asked.data), name)
    tree = {key: value for key, value in msgspec.to_builtins(asked).items() if value is not None}
    if read_places(folder) != asked:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            places.write_whole(folder / PLACES, json.dumps(tree, indent=2).encode())
        except OSError as error:
            raise RunError(
                f"cannot write {folder / PLACES}: {places.shown(error)}; make room, or name "
                f"another directory in {option}"
            ) from error


def _mark(data: Path, name: str) -> None:
    try:
        try:
            held = json.loads(places.read_bytes(data / MARK)).get("run")
        except FileNotFoundError:
            if others := places.children(data):
                raise RecipeError(
                    f"{data} holds other files ({others[0].name}, …) and no run's; name an empty "
                    "place in --data"
                ) from None
            places.make_folder(data)
            places.write_whole(data / MARK, json.dumps({"run": name}).encode())
            return
    except (ValueError, AttributeError):
        held = None
    except OSError as error:
        raise RecipeError(
            f"cannot use {data}: {places.shown(error)}; check the name, and that the keys of the "
            "store are set, as its own library reads them"
        ) from None
    if held != name:
        raise RecipeError(
            f"{data} holds the rows of the run '{held}', and this one is '{name}'; name another "
            "place in --data"
        )


def without_secrets(address: str) -> str:
    """The address of a database as it may be written down."""
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    query = [(key, value) for key, value in parse_qsl(parts.query) if key not in _SECRETS]
    netloc = f"{user.partition(':')[0]}{at}{host}"
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(query), parts.fragment))


def in_schema(address: str, name: str) -> str:
    """The address of a database with a schema: a run's own has the run's name."""
    parts = urlsplit(address)
    query = parse_qsl(parts.query)
    if any(key == "schema" for key, _ in query):
        return address
    return urlunsplit(parts._replace(query=urlencode([*query, ("schema", name)])))


def accepted_at(path: Path) -> Path:
    """The accepted rows of a run's directory, or of its data's place; anything else is a table
    itself. Raises: RecipeError, OSError."""
    if not places.is_dir(path) or places.is_file(path / parquet.LISTED):
        return path
    held = None if places.is_remote(path) else read_places(path).data
    return (path if held is None else data_at(path, held)) / "accepted.parquet"
