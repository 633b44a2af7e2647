"""A person's session: made for the right token alone, ended by time, and slow to be guessed."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from raw import ask
from serving import TOKEN, Serving, log_in

from karat.web import entry
from karat.web.entry import Entry


def test_a_person_logs_in_and_out(closed: Serving) -> None:
    turned = ask(closed.port, "/runs?q=a%26b", accept="text/html")
    assert (turned.status, turned.headers["location"]) == (303, "/login?next=/runs%3Fq%3Da%2526b")
    page = ask(closed.port, turned.headers["location"], accept="text/html")
    assert 'value="/runs?q=a%26b"' in page.text
    reply = log_in(closed, TOKEN, "/runs?q=a%26b")
    assert (reply.status, reply.headers["location"]) == (303, "/runs?q=a%26b")
    cookie, *flags = reply.headers["set-cookie"].split("; ")
    assert cookie.startswith(f"karat-{closed.port}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(flags)
    assert TOKEN not in reply.headers["set-cookie"]
    assert ask(closed.port, "/runs", cookie=f"other=1; {cookie}").status == 200
    assert ask(closed.port, "/v1/models", cookie=cookie).status == 401
    out = ask(closed.port, "/logout", "POST", origin=closed.url, cookie=cookie)
    assert "Max-Age=0" in out.headers["set-cookie"]


def test_a_session_can_be_neither_made_nor_kept_for_ever(
    closed: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = log_in(closed, TOKEN).headers["set-cookie"].split(";")[0].partition("=")
    end, _, signed = value.partition(".")
    forged = [
        f"{int(end) + 9}.{signed}",
        f"{end}.",
        f"nan.{signed}",
        signed,
        "",
        f"{end}.{'0' * 64}",
    ]
    for made in [*forged, "\xff.\xff", TOKEN]:
        assert ask(closed.port, "/runs", cookie=f"{name}={made}").status == 401, made
    assert Entry(TOKEN, closed.port).admits([(b"cookie", f"{name}={value}".encode())]) is False
    later = time.monotonic() + entry.SESSION_S + 5
    assert ask(closed.port, "/runs", cookie=f"{name}={value}").status == 200
    monkeypatch.setattr(entry, "time", SimpleNamespace(monotonic=lambda: later))
    assert closed.desk.entry is not None
    assert not closed.desk.entry.admits([(b"cookie", f"{name}={value}".encode())])


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "runs", "/\nx", ""]
)
def test_a_login_leads_nowhere_else(closed: Serving, where: str) -> None:
    assert log_in(closed, TOKEN, where).headers["location"] == "/runs"


def test_guesses_are_slowed_down_and_shut_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karat.web.pages.login.SLOW_S", 0.3)
    with Serving(tmp_path, token=TOKEN) as server:
        said = [log_in(server, f"guess {n}").status for n in range(entry.GUESSES)]
        assert said == [401] * entry.GUESSES
        for token, status in (("one more", 429), (TOKEN, 303)):
            began = time.monotonic()
            assert log_in(server, token).status == status
            assert 0.3 <= time.monotonic() - began < 3
        door = server.desk.entry
        assert door is not None
        assert not door.slow("127.0.0.1")  # who has shown the token is trusted again
        assert not door.slow("192.0.2.1")  # another sender
        for number in range(entry.MOST_SENDERS + 50):
            door.session("wrong", f"sender {number}")
        assert len(door._guesses) == entry.MOST_SENDERS
        assert door.slow("192.0.2.1")  # all of these may be one
        assert door.session(TOKEN, "192.0.2.1") is not None


def test_a_session_that_was_ended_opens_nothing(closed: Serving) -> None:
    first, second = (log_in(closed, TOKEN).headers["set-cookie"].split(";")[0] for _ in range(2))
    door = closed.desk.entry
    assert door is not None
    before = len(door._ended)
    assert ask(closed.port, "/runs", cookie=first).status == 200
    ask(closed.port, "/logout", "POST", origin=closed.url, cookie=first)
    assert ask(closed.port, "/runs", cookie=first).status == 401
    assert ask(closed.port, "/runs", cookie=second).status == 200
    name, _, value = second.partition("=")
    for forged in (f"{value}0", f"9e9.x.{'0' * 64}", "x" * 5000):
        door.end([(b"cookie", f"{name}={forged}".encode())])
    assert len(door._ended) == before + 1  # what opens nothing is not remembered


def test_a_login_reads_no_more_than_a_form(tmp_path: Path) -> None:
    with Serving(tmp_path, token=TOKEN) as server:
        assert log_in(server, "x" * 9000).status == 413
