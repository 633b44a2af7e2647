"""Where a journal is: written down and handed on without its password."""

from __future__ import annotations

import os
import pickle
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat import RecipeError, RunError
from karat.journal import PostgresAddress, journal_of, look_up, open_journal, parse_address

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
SCHEMAS = NAMES.filter(lambda name: len(name.encode()) < 64 and not name.startswith("pg_"))
HOSTS = st.sampled_from(["", "db.example", "10.0.0.1", "::1", "/run/postgresql"])


@given(
    st.builds(
        PostgresAddress, host=HOSTS, port=st.sampled_from([5432, 6543]), user=NAMES | st.just(""),
        database=NAMES.filter(lambda name: not name.startswith("/")) | st.just(""), schema=SCHEMAS,
        options=st.sampled_from([(), (("sslmode", "require"),)]),
    )
)  # fmt: skip
def test_an_address_comes_back_from_its_text_from_a_pickle_and_from_json(address):
    assert parse_address(str(address)) == address
    assert pickle.loads(pickle.dumps(address)) == address
    assert msgspec.json.decode(msgspec.json.encode(address), type=PostgresAddress) == address


@pytest.mark.parametrize(
    "text",
    ["postgresql://me:s%3Acret@h/db?schema=x", "postgres://me@h/db?schema=x&password=s:cret"],
)
def test_a_password_goes_into_the_environment_and_nowhere_else(text, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "before")
    address = parse_address(text)
    assert os.environ["PGPASSWORD"] == "s:cret"
    assert str(address) == "postgresql://me@h/db?schema=x"
    for said in (repr(address), pickle.dumps(address).decode("latin-1")):
        assert "cret" not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://me:secret@h/db", "begins with postgresql://"),
        ("postgresql://me:secret@h:port/db", "cannot be read"),
        ("postgresql://me:secret@a,b/db", "names one server"),
        ("postgresql://me:secret@h/db?schema=", "1 to 63 bytes"),
        ("postgresql://me:secret@h/db?schema=pg_mine", "PostgreSQL's own"),
        ("postgresql://me:secret@h/db?passfile=/x", "says 'passfile'"),
        ("postgresql://me:secret@h/db?port=0", "up to 65535"),
    ],
)
def test_what_is_no_address_is_refused_without_its_secret(text, message, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "")
    with pytest.raises(RecipeError, match=message) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)


def test_a_folder_says_where_its_journal_is(tmp_path):
    assert journal_of(tmp_path) == tmp_path / "journal.sqlite"
    (tmp_path / "places.json").write_text('{"journal": "postgresql://h/db?schema=run"}')
    assert journal_of(tmp_path) == PostgresAddress(host="h", database="db", schema="run")


def test_without_the_library_it_says_which_extra_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for ask in (open_journal, lambda address: look_up(address, "SELECT 1")):
        with pytest.raises(RunError, match=r"pip install 'karat\[postgres\]'"):
            ask(PostgresAddress(host="h"))
