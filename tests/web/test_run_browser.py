"""The page of one run in a real browser: live while a real run works, and usable by everybody."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import mostly_slow, wait_for
from seen_run import answer, fault, seen_run, write_recipe
from server import Server

from karat import Run, live
from karat.journal import look_up

# A run in a process of its own, which can be killed.
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from ran import rewards
import karat
with rewards():
    karat.run(sys.argv[2], sys.argv[3])
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(seen_run().path, root / "whole")
    return root


def started(folder, recipe):
    tests = str(Path(__file__).parent.parent)
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, tests, str(recipe), str(folder / "runs" / "now")],
            env={**os.environ, "PYTHONPATH": tests}, stdout=said, stderr=said,
        )  # fmt: skip


def number(opened, label):
    """A figure of the page's head."""
    found = opened.locator(".facts div", has=opened.locator("dt", has_text=label)).locator("dd")
    return float(found.first.inner_text().replace(",", "").replace("$", ""))


def test_numbers_move_while_a_run_works_and_its_results_come_by_themselves(
    served, page, axe, tmp_path
):
    """And a killed run is said to be stopped, with what it had."""
    with Server(0.4, answer=answer, script=fault) as server:  # long enough to look at it
        model = server.model(price={"input": 1.0, "output": 2.0}, concurrency=12)
        recipe = write_recipe(tmp_path, server, 150, models={"teacher": model}, budget_usd=3)
        site, run = served(tmp_path / "runs"), Run(tmp_path / "runs" / "now")
        process = started(tmp_path, recipe)
        try:
            wait_for(
                lambda: (look_up(run.journal, "SELECT count(*) FROM calls") or [(0,)])[0][0] > 20
            )
            opened = page(f"{site}/run/now")
            assert opened.locator("#state").inner_text() == "running"
            before = number(opened, "answers"), number(opened, "cost so far")
            wait_for(lambda: number(opened, "answers") > before[0] + 20)
            wait_for(lambda: number(opened, "cost so far") > before[1])
            assert "in flight" in opened.locator("[data-part=flow]").inner_text()
            opened.wait_for_selector("#plot-rate canvas")
            assert 0 < float(opened.locator("#progress").get_attribute("value")) < 1
            assert "budget $3" in opened.locator(".facts").inner_text()
            axe(opened)
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
            server.latency_s = 0.1
            opened.locator("#state", has_text="stopped").wait_for()
            assert "The same command goes on" in opened.locator("#said").inner_text()
            process = started(tmp_path, recipe)
            wait_for(lambda: (s := live.read(run)) is not None and s.state == "running")
            opened.reload()
            opened.locator("#state", has_text="finished").wait_for(timeout=30_000)
            assert process.wait(60) == 0, (tmp_path / "said").read_text()[-2000:]
            opened.reload()  # what was there a moment before its end may still be shown
        finally:
            process.kill()
            process.wait()
        rows = run.report["rows"]
        assert number(opened, "accepted") == rows["accepted"]
        opened.locator("[data-load]").first.scroll_into_view_if_needed()
        opened.locator("svg text:visible", has_text="A reward held out").wait_for()
        opened.locator("[data-load] .groups").wait_for()
        axe(opened)


@pytest.mark.parametrize(("width", "dark"), mostly_slow([(1280, False), (400, True)], 2))
def test_the_page_fits_is_accessible_and_works_by_keyboard(served, page, axe, root, width, dark):
    opened = page(f"{served(root)}/run/whole", width=width, dark=dark)
    opened.wait_for_selector("#plot-cost canvas")
    opened.locator("[data-load]").first.scroll_into_view_if_needed()
    opened.locator("svg text:visible", has_text="The reward that picks").wait_for()
    wide = opened.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    axe(opened)
    opened.locator("[data-part=flow] a:visible").first.focus()
    with opened.expect_navigation():
        opened.keyboard.press("Enter")
    assert "/run/whole/rows?" in opened.url


def test_the_theme_of_charts_follows_the_button(served, page, root):
    opened = page(f"{served(root)}/run/whole")
    opened.wait_for_selector("#plot-rate canvas")
    look = "getComputedStyle(document.querySelector('[data-part=flow] .k-gold')).fill"
    before = opened.evaluate(look)
    opened.locator("#theme").click()
    assert opened.evaluate(look) != before
    opened.wait_for_selector("#plot-rate canvas")
