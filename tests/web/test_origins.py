"""Whose request it is: no name and no page of anybody else's gets an answer."""

from __future__ import annotations

import pytest
from raw import JSON, ask

# --- whose name: DNS rebinding -------------------------------------------------------------------


def test_known_names_are_answered(open_port: int) -> None:
    names = [f"127.0.0.1:{open_port}", f"LocalHost:{open_port}", f"[::1]:{open_port}"]
    for name in [*names, f"karat.lan:{open_port}", "karat.lan", "proxy.lan:9000"]:
        assert ask(open_port, "/healthz", host=name).status == 200, name


@pytest.mark.parametrize(
    "name",
    ["evil.example", "evil.example:{}", "localhost", "localhost:1", "127.0.0.1.evil.example:{}",
     "localhost:{}@evil.example", "localhost.:{}", "localhost:{}.evil.example", "0.0.0.0:{}", "",
     "127.0.0.1:{} evil"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/healthz", "/runs", "/v1/models", "/static/app.css"])
def test_other_names_are_not(open_port: int, name: str, path: str) -> None:
    reply = ask(open_port, path, host=name.format(open_port) or " ")
    assert reply.status == 421
    assert "--host-name" in reply.text


def test_one_name_and_no_other(open_port: int) -> None:
    assert ask(open_port, "/healthz", host=None).status == 400
    twice = f"127.0.0.1:{open_port}\r\nHost: evil.example"
    assert ask(open_port, "/healthz", host=twice).status == 400


# --- whose page: CSRF ----------------------------------------------------------------------------


def test_another_sites_page_changes_nothing(open_port: int) -> None:
    ours = f"http://127.0.0.1:{open_port}"
    for foreign in (
        {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": f"{ours}.evil.example"},
        {"origin": "http://127.0.0.1:1"}, {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"}, {"origin": ours, "sec_fetch_site": "cross-site"},
    ):  # fmt: skip
        for path in ("/logout", "/v1/chat/completions", "/no/page"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
                assert ask(open_port, path, method, b"{}", **foreign, **JSON).status == 403, foreign
        assert ask(open_port, "/v1/models", **foreign).status == 403, foreign
    assert ask(open_port, "/logout", "POST", b"", origin=ours).status == 303
    assert ask(open_port, "/v1/models", origin=ours).status == 200
    assert ask(open_port, "/v1/models").status == 200


def test_what_a_form_of_any_site_can_send_is_not_taken(open_port: int) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        more = {"content_type": kind} if kind else {}
        assert ask(open_port, "/logout", "POST", b"{}", **more).status == 415
        assert ask(open_port, "/v1/chat/completions", "POST", b"{}", **more).status == 415
    said = ask(open_port, "/logout", "POST", b"{}", content_type="Application/JSON; charset=utf-8")
    assert said.status == 303


def test_other_sites_may_link_here_and_nothing_else(open_port: int) -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert ask(open_port, "/runs", **link, sec_fetch_dest="document").status == 200
    for how in (
        {**link, "sec_fetch_dest": "iframe"}, {**link, "sec_fetch_dest": "object"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "script"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"},
    ):  # fmt: skip
        assert ask(open_port, "/runs", **how).status == 403
        assert ask(open_port, "/runs.json", **how).status == 403
