"""What tests of pages share: real servers over folders of runs, a real browser, axe.

The browser is started once a process. Playwright's blocking API leaves its event loop marked as
running on the thread between calls; it is put away after each test, so that tests that follow can
run loops of their own.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))  # helpers beside the tests, by name, as elsewhere

import standing as standing_runs
from browsing import chromium
from serving import TOKEN, Serving

from karat.rundir import Run
from karat.web.gateway.engine import Gateway

WIDTHS = (1280, 400)
WAIT_MS = 30_000
# Said by the browser itself when a page is left while it still asks for something.
_LEFT = ("net::ERR_ABORTED", "NS_BINDING_ABORTED")
_VIOLATIONS = """document.addEventListener("securitypolicyviolation",
    e => console.error(`CSP: ${e.violatedDirective} forbids ${e.blockedURI} ${e.sample}`))"""

Served = Callable[..., str]
Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def open_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that asks for no token, and its gateway."""
    root = tmp_path_factory.mktemp("runs")
    with Serving(root, Gateway(root), hosts=("karat.lan", "proxy.lan:9000")) as server:
        yield server.port


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with a token, and its gateway with the same."""
    root = tmp_path_factory.mktemp("closed")
    with Serving(root, Gateway(root, token=TOKEN), token=TOKEN, most_body=1000) as server:
        yield server


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One real run, to its end."""
    place = tmp_path_factory.mktemp("one")
    return standing_runs.finished(place / "work", place / "run")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server over runs of every state."""
    place = tmp_path_factory.mktemp("standing")
    held = standing_runs.folder(place / "work", place / "runs")
    with Serving(place / "runs") as server:
        yield server
    os.close(held)


@pytest.fixture
def served() -> Iterator[Served]:
    """served(root, gateway=None, **settings): the address of a server over the runs in `root`."""
    open_: list[Serving] = []

    def serve(root: Path, gateway: Any = None, **settings: Any) -> str:
        open_.append(Serving(root, gateway, **settings).__enter__())
        return open_[-1].url

    yield serve
    for server in reversed(open_):
        server.__exit__()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, for all pages of a process."""
    with chromium() as started:
        started.karat_loop = loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        yield started
        asyncio._set_running_loop(loop)
    asyncio._set_running_loop(None)


@pytest.fixture
def page(browser: Any) -> Iterator[Opened]:
    """page(url="", width=1280, dark=False, allowed="", **context): a page of its own, which has
    gone to `url`. The test fails at its end where a page said an error, broke its rules or missed a
    file, unless the words match the pattern `allowed`. Wait for locators: wait_for_function needs
    eval, which the pages' rules forbid."""
    asyncio._set_running_loop(browser.karat_loop)
    contexts: list[Any] = []
    faults: list[str] = []

    def open_(
        url: str = "", width: int = 1280, dark: bool = False, allowed: str = "", **context: Any
    ) -> Any:
        made = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light",
            reduced_motion="reduce", **context,
        )  # fmt: skip
        contexts.append(made)
        made.set_default_timeout(WAIT_MS)
        made.add_init_script(_VIOLATIONS)
        opened = made.new_page()

        def fault(said: str) -> None:
            if not allowed or not re.search(allowed, said):
                faults.append(f"{opened.url}: {said}")

        opened.on("pageerror", lambda error: fault(f"uncaught: {error}"))
        opened.on("console", lambda m: fault(m.text) if m.type in ("error", "warning") else None)
        opened.on(
            "requestfailed",
            lambda r: None if r.failure in _LEFT else fault(f"{r.url} failed: {r.failure}"),
        )
        opened.on("response", lambda r: fault(f"{r.status} {r.url}") if r.status >= 400 else None)
        if url:
            opened.goto(url)
        return opened

    yield open_
    for context in contexts:
        context.close()
    asyncio._set_running_loop(None)
    assert not faults, "\n".join(faults)


@pytest.fixture
def axe() -> Callable[..., None]:
    """axe(page, *rules): fails where axe-core finds what is serious or critical; by default by all
    of its rules."""
    from axe_playwright_python.sync_playwright import Axe

    def check(opened: Any, *rules: str) -> None:
        only = {"runOnly": list(rules)} if rules else {}
        found = Axe().run(opened, options={"resultTypes": ["violations"], **only})
        found = found.response["violations"]
        bad = [
            f"{v['id']} ({v['impact']}): {v['help']}: {node['html'][:200]}"
            for v in found
            if v["impact"] in ("serious", "critical")
            for node in v["nodes"][:5]
        ]
        assert not bad, f"{opened.url}\n" + "\n".join(bad)

    return check
