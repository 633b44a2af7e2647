"""Where a journal lies: a file of its own, or a schema of a PostgreSQL database.

An address is written into files and handed to other processes, so a password is no part of it: one
that stands in a URL goes into this process's environment, where libpq and child processes find it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from karat.elsewhere import read_places
from karat.errors import RecipeError, RunError

FILE = "journal.sqlite"
SCHEMA = "karat"
PORT = 5432
# Of libpq's parameters those that say how a server is reached; none of them is a secret.
OPTIONS = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "ssl_min_protocol_version",
    "channel_binding", "gssencmode", "target_session_attrs", "hostaddr",
)  # fmt: skip
_SCHEMES = ("postgresql", "postgres")
_FORM = "write postgresql://USER@HOST:PORT/DATABASE?schema=NAME"


class PostgresAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A schema of a database. What is empty is libpq's to say: PGHOST and so on, or its default.

    `host` may be the folder of a Unix socket. `options` are pairs of libpq's, such as sslmode.
    """

    host: str = ""
    port: int = PORT
    user: str = ""
    database: str = ""
    schema: str = SCHEMA
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As a URL that `parse_address` reads, without the password."""
        more = [("schema", self.schema), *self.options]
        name = quote(self.user, safe="")
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.host.startswith("/"):
            more.append(("host", self.host))
            host = ""
        at = f"{name}@" if name else ""
        port = f":{self.port}" if self.port != PORT else ""
        return f"postgresql://{at}{host}{port}/{quote(self.database, safe='')}?{urlencode(more)}"

    @property
    def server(self) -> PostgresAddress:
        """The same without the schema: what one connection can reach."""
        return msgspec.structs.replace(self, schema="")

    @property
    def quoted(self) -> str:
        """The schema as SQL names it."""
        return '"' + self.schema.replace('"', '""') + '"'


Address = Path | PostgresAddress


def parse_address(text: str) -> PostgresAddress:
    """A URL such as postgresql://user@host:5432/database?schema=my-run. A password in it is moved
    to PGPASSWORD of this process. Raises: RecipeError, which does not repeat the URL."""
    try:
        parts = urlsplit(text)
        port = parts.port
        given = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError:
        raise RecipeError(f"the journal's address cannot be read; {_FORM}") from None
    if parts.scheme not in _SCHEMES:
        raise RecipeError(f"a journal's address begins with postgresql://; {_FORM}")
    if parts.fragment or "," in parts.netloc:
        raise RecipeError(f"the journal's address names one server; {_FORM}")
    secret = given.pop("password", None) or (unquote(parts.password) if parts.password else None)
    if secret:
        os.environ["PGPASSWORD"] = secret
    host = given.pop("host", None) or unquote(parts.hostname or "")
    database = given.pop("dbname", None) or unquote(parts.path.lstrip("/"))
    user = given.pop("user", None) or unquote(parts.username or "")
    schema = given.pop("schema", SCHEMA)
    said = given.pop("port", "")
    if said and not (said.isascii() and said.isdigit() and 0 < int(said) < 65_536):
        raise RecipeError("the port of the journal's address is a number up to 65535")
    if unknown := sorted(set(given) - set(OPTIONS)):
        raise RecipeError(
            f"the journal's address says '{unknown[0]}', which it cannot; besides schema it may "
            f"say {', '.join(OPTIONS)}"
        )
    check_schema(schema)
    return PostgresAddress(
        host=host, port=int(said) if said else port or PORT, user=user, database=database,
        schema=schema, options=tuple(sorted(given.items())),
    )  # fmt: skip


def check_psycopg() -> None:
    """Raises: RunError where what talks to PostgreSQL is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        why = "" if error.name == "psycopg" else f" ({error})"
        raise RunError(
            f"a journal in PostgreSQL needs psycopg{why}: pip install 'karat[postgres]'"
        ) from None


def check_schema(name: str) -> None:
    """Raises: RecipeError for what PostgreSQL takes for no schema of a user's."""
    if not name or len(name.encode("utf-8", "replace")) > 63 or "\0" in name:
        raise RecipeError("schema= is a name of 1 to 63 bytes; take another")
    if re.match("pg_|information_schema$", name):
        raise RecipeError(f"schema={name} is PostgreSQL's own; take another name")


def journal_of(folder: Path) -> Address:
    """Where the journal of a run's folder lies. Raises: RecipeError for a damaged places.json."""
    said = read_places(folder).journal
    return folder / FILE if said is None else parse_address(said)
