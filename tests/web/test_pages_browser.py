"""Every page in a real browser: wide and narrow, light and dark, by keyboard, while a run works.

Pages are found by what `views()` has: a new one is looked at without a line here. With
KARAT_SCREENSHOTS=DIR each is kept as a picture.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LengthReward
from playwright.sync_api import expect
from server import Server
from serving import TOKEN, Serving
from standing import folder, recipe
from starlette.routing import Route

import karat
from karat.web.app import views
from karat.web.gateway.engine import Gateway

SHOTS = os.environ.get("KARAT_SCREENSHOTS", "")
_PLACES = re.compile(r"{(\w+)[:\w]*}")


def addresses() -> list[str]:
    """Every address of a view that names no more than a run."""
    found = []
    for view in views():
        for route in view.ROUTES:
            is_page = isinstance(route, Route) and "GET" in (route.methods or ())
            if is_page and set(_PLACES.findall(route.path)) <= {"slug"}:
                found.append(route.path)
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Pages and gateway over runs of every state."""
    place = tmp_path_factory.mktemp("pages")
    held = folder(place / "work", place / "runs")
    with Serving(place / "runs", Gateway(place / "runs")) as made:
        yield made
    os.close(held)


def is_page(address: str) -> bool:
    """Whether it is a page to look at: no data, no file, and no document of karat's, which runs
    nothing, not even what looks at it."""
    import requests

    with requests.get(address, headers={"accept": "text/html"}, stream=True, timeout=10) as reply:
        assert reply.status_code < 500, address
        kind, how = (
            reply.headers.get(name, "") for name in ("content-type", "content-disposition")
        )
        is_document = "sandbox" in reply.headers["content-security-policy"]
        return reply.ok and kind.startswith("text/html") and not (how or is_document)


def overflow(opened: Any) -> int:
    """By how many pixels a page is wider than its window."""
    width: int = opened.evaluate("document.documentElement.scrollWidth - innerWidth")
    return width


def picture(opened: Any, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


@pytest.mark.parametrize("path", addresses())
def test_a_page_is_sound(
    server: Serving, page: Callable[..., Any], axe: Callable[[Any], None], path: str
) -> None:
    address = server.url + path.replace("{slug}", "finished")
    if not is_page(address):
        return  # data, or a stream of events
    opened = page(address)  # as it comes, then turned into the other
    name = path.strip("/").replace("/", "-").replace("{slug}", "one") or "home"
    for width, scheme in ((1280, "light"), (400, "dark")):
        if scheme == "dark":
            opened.set_viewport_size({"width": width, "height": 800})
            opened.emulate_media(color_scheme=scheme)
            opened.reload()
        opened.wait_for_load_state("load")
        axe(opened)
        assert overflow(opened) <= 0, f"{path} at {width} px"
        picture(opened, f"{name}-{width}-{scheme}")
    assert opened.locator("h1").count() == 1
    assert opened.title() not in ("", "karat")


def test_every_entry_of_the_menu_is_a_page(server: Serving) -> None:
    menu = [view.NAV[1] for view in views() if hasattr(view, "NAV")]
    assert "/runs" in menu
    assert [path for path in menu if not is_page(server.url + path)] == []


@pytest.mark.parametrize("slug", ["at-work", "failed", "damaged", "round-1~killed", "old"])
def test_a_run_of_any_state_has_a_page(
    server: Serving, page: Callable[..., Any], slug: str
) -> None:
    if not is_page(f"{server.url}/run/{slug}"):
        pytest.skip("there is no page of a run")
    opened = page(f"{server.url}/run/{slug}", width=400)
    assert opened.locator("h1").count() == 1
    assert overflow(opened) <= 0


def test_login_and_errors_are_sound(
    tmp_path: Path, page: Callable[..., Any], axe: Callable[[Any], None]
) -> None:
    with Serving(tmp_path, token=TOKEN) as server:
        opened = page(f"{server.url}/runs?q=x", allowed="40[14]", width=400, dark=True)
        axe(opened)
        picture(opened, "login-400-dark")
        opened.get_by_label("Token").fill("wrong")
        opened.keyboard.press("Enter")
        assert "not the token" in opened.get_by_role("alert").inner_text()
        axe(opened)
        opened.get_by_label("Token").fill(TOKEN)
        opened.keyboard.press("Enter")
        opened.wait_for_url("**/runs?q=x")
        assert TOKEN not in opened.content()
        opened.goto(f"{server.url}/nothing")
        assert "no such page" in opened.locator("main").inner_text()
        axe(opened)
        opened.set_viewport_size({"width": 1280, "height": 800})
        opened.get_by_role("button", name="Log out").click()
        opened.wait_for_url("**/login")
        opened.wait_for_load_state("networkidle")  # its picture, before the server ends


def test_the_empty_list_says_how_to_begin(
    tmp_path: Path, page: Callable[..., Any], axe: Callable[[Any], None]
) -> None:
    with Serving(tmp_path) as server:
        opened = page(f"{server.url}/runs", width=400)
        assert "karat run quickstart" in opened.locator("main").inner_text()
        axe(opened)
        assert overflow(opened) <= 0
        picture(opened, "runs-empty-400-light")


def test_the_list_by_keyboard(
    server: Serving, page: Callable[..., Any], axe: Callable[[Any], None]
) -> None:
    opened = page(f"{server.url}/runs", allowed="404")

    def focused() -> str:
        text: str = opened.evaluate(
            "document.activeElement.textContent || document.activeElement.id"
        )
        return text

    opened.keyboard.press("j")
    assert focused() == "at-work"
    opened.keyboard.press("j")
    second = focused()
    opened.keyboard.press("k")
    opened.keyboard.press("k")
    assert focused() == "at-work" != second
    opened.keyboard.press("/")
    assert focused() == "q"
    opened.keyboard.type("?jk g")  # a field takes its keys
    assert opened.locator("#q").input_value() == "?jk g"
    assert not opened.locator("dialog[open]").count()
    opened.locator("#q").fill("round")
    opened.wait_for_url("**/runs?q=round")
    expect(opened.locator("[data-slug]")).to_have_count(1)
    opened.keyboard.press("Escape")
    opened.keyboard.press("?")
    words = opened.locator("dialog[open]").inner_text()
    assert "go to Runs" in words
    assert "next" in words
    axe(opened)
    picture(opened, "keys-1280-light")
    opened.keyboard.press("j")  # not of the page behind
    opened.keyboard.press("Escape")
    assert not opened.locator("dialog[open]").count()
    opened.keyboard.press("j")
    assert focused() == "round-1/killed"
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/run/round-1~killed")
    opened.keyboard.press("g")
    opened.keyboard.press("r")
    opened.wait_for_url("**/runs")
    opened.get_by_role("link", name="Cost").focus()
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/runs?sort=cost")
    assert opened.locator("[data-slug]").first.get_attribute("data-slug") == "round-1~killed"


def test_dark_or_light_is_kept(server: Serving, page: Callable[..., Any]) -> None:
    opened = page(f"{server.url}/runs")

    def paper() -> str:
        colour: str = opened.evaluate(
            "getComputedStyle(document.querySelector('.top')).backgroundColor"
        )
        return colour

    light = paper()
    opened.locator("#theme").click()
    dark = paper()
    assert dark != light
    opened.reload()
    assert paper() == dark
    opened.keyboard.press("t")
    assert paper() == light


def test_what_is_shown_can_be_downloaded(server: Serving, page: Callable[..., Any]) -> None:
    opened = page(f"{server.url}/runs?sort=name")
    for form in ("csv", "json", "parquet"):
        with opened.expect_download() as started:
            opened.get_by_role("link", name=form, exact=True).click()
        assert started.value.suggested_filename == f"runs.{form}"
        assert Path(started.value.path()).stat().st_size > 100


def test_hostile_names_are_shown_and_not_run(server: Serving, page: Callable[..., Any]) -> None:
    opened = page(f"{server.url}/runs")
    opened.on("dialog", lambda _: pytest.fail("a name was run"))
    said = opened.locator("tbody").inner_text()
    assert "<img src=x onerror=alert(1)>" in said
    assert "<script>alert(1)</script>" in said
    assert opened.locator("main img").count() == 0


def test_the_list_follows_a_real_run(
    tmp_path: Path, page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an empty page on: the run appears, grows and ends while nobody touches the page."""
    monkeypatch.setattr("karat.graders.load_reward", lambda *_: LengthReward())
    (tmp_path / "runs").mkdir()
    with Serving(tmp_path / "runs") as server, Server(latency_s=0.8) as model:
        opened = page(f"{server.url}/runs")
        assert "No runs here yet" in opened.locator("main").inner_text()
        slow = recipe(tmp_path / "work", model, rows=30)
        tree = slow.read_text().replace(
            "model: openai/loop", "model: openai/loop\n    concurrency: 2"
        )
        slow.write_text(tree)
        worker = threading.Thread(target=karat.run, args=(slow, tmp_path / "runs" / "mine"))
        worker.start()
        mine = opened.locator("[data-slug=mine]")
        mine.wait_for()
        seen = set()
        while worker.is_alive():
            seen.add(mine.locator("progress").get_attribute("value") or "")
            opened.wait_for_timeout(200)
        worker.join()
        opened.locator("[data-slug=mine][data-status=finished]").wait_for()
        words = mine.inner_text()
        opened.reload()
        assert mine.inner_text().split("\n")[:-1] == words.split("\n")[:-1]
    assert len(seen) >= 3, seen
    assert "30 → " in words
    assert "mine.reward" in words
