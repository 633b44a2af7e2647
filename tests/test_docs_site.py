"""The documentation's site: built strictly, whole, reached page by page, and fetching nothing."""

from __future__ import annotations

import asyncio
import html
import re
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import markdown
import pytest
from browsing import chromium
from conftest import mostly_slow
from hypothesis import given
from hypothesis import strategies as st

import karat
from karat.cli import main
from karat.models.services import shipped
from karat.recipechecks import EXPORTS
from karat.recipefile import KEYS, SHIPPED
from karat.rewards.load import kinds
from karat.step import builtin_steps, find
from karat.verifiers.base import known

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))

import docs_site  # noqa: E402  found in tools
from reference import variables  # noqa: E402
from reference.commands import commands  # noqa: E402
from reference.markdown import prose  # noqa: E402

TINY = '[project]\nsite_name = "tiny"\nuse_directory_urls = false\nnav = ["index.md", "a.md"]\n'
TINY += "theme.font = false\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    docs_site.build(ROOT, out)
    return out


def words(site: Path, page: str) -> str:
    return (site / "reference" / f"{page}.html").read_text(encoding="utf-8")


def ids(site: Path, page: str) -> set[str]:
    return set(re.findall(r'<h[2-4] id="([^"]+)"', words(site, page)))


def test_the_reference_has_every_part(site):
    assert ids(site, "steps") >= set(builtin_steps())
    assert ids(site, "rewards") >= set(kinds())
    assert ids(site, "verifiers") >= set(known())
    exports = {p.stem.replace("_", "-") for p in EXPORTS.glob("[a-z]*.py") if p.stem != "base"}
    assert ids(site, "exporters") == exports
    assert ids(site, "recipe") >= {file.stem for file in SHIPPED.glob("*.yaml")}
    assert ids(site, "commands") == {name.replace(" ", "-") for name, _ in commands(main)}
    assert ids(site, "python") >= {f"karat{name}".lower() for name in karat.__all__}


def test_it_names_every_parameter_option_key_and_variable(site):
    steps = words(site, "steps")
    for name in builtin_steps():
        part = steps.partition(f'id="{name}"')[2].partition("<h2")[0]
        assert all(f"<code>{field.name}</code>" in part for field in find(name).fields), name
    told = words(site, "commands")
    for name, command in commands(main):
        for parameter in command.params:
            longest = max(parameter.opts, key=len)
            assert longest.startswith("-") is False or longest in told, f"{name} {longest}"
    assert all(f"<code>{key}</code>" in words(site, "recipe") for key in KEYS)
    listed = words(site, "environment")
    keys = [name for service in shipped().values() for name in service.key_env]
    assert all(f"<code>{name}</code>" in listed for name in (*variables.READ, *keys))


def test_docstrings_are_read_as_they_were_written(site):
    """A signature's own words, a default and a docstring's code arrive in the page."""
    steps = words(site, "steps")
    assert "Adds <code>n</code> responses of each model to the row" in steps
    assert "`" not in re.sub(r"<(pre|code|script|template)\b.*?</\1>", "", steps, flags=re.DOTALL)
    for page in (site / "reference").glob("*.html"):
        assert " at 0x" not in page.read_text(encoding="utf-8"), page


@given(st.text(st.sampled_from("ab1 \n#*_[](){}<>&|\\-+=.!:~\"'"), min_size=1))
def test_what_is_no_code_is_read_as_it_was_written(plain):
    if plain[:1].isspace() or re.search(r"^(- |    )|\n\s*(\n|    |- )", plain):
        return  # lists, paragraphs and blocks of code are meant to be such
    page = markdown.markdown(prose(plain), extensions=["tables", "attr_list", "admonition"])
    shown = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert shown.split() == plain.split()


def test_docstrings_keep_their_lists_and_blocks():
    doc = "One `a_b` line\nthat goes on.\n- first `x|y`\n  goes on\n- second\n\n    a  b\n\n"
    doc += "Source: 2406.11704."
    made = prose(doc).split("\n\n")
    assert made[0] == "One `a_b` line that goes on."
    assert made[1] == "- first `x|y` goes on\n- second"
    assert made[2] == "```text\na  b\n```"
    assert made[3] == "**Source:** [2406.11704](https://arxiv.org/abs/2406.11704)."


def test_a_variable_that_nobody_told_of_is_found(tmp_path):
    (tmp_path / "new.py").write_text(
        'import os\n\nos.environ.setdefault("A_B", "1")\n'
        'x = os.environ.get("KARAT_NEW") or os.environ["C_D"]\n'
    )
    assert variables.in_source(tmp_path) == ({"KARAT_NEW", "C_D"}, {"A_B"})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"a.md": "# A\n\n[b](b.md)\n"}, "b.md"),
        ({"a.md": "# A\n\n[b](index.md#nowhere)\n"}, "nowhere"),
        ({"b.md": "# B\n"}, "b.md is not in the navigation"),
        ({"a.md": None}, "names a.md, which is not there"),
        ({"a.md": '# A\n\n<img src="https://example.org/x.png">\n'}, "fetches https://example.org"),
        ({"a.md": '# A\n\n<a href="gone.html">b</a>\n'}, "gone.html leads nowhere"),
    ],
)
def test_what_is_broken_is_not_built(tmp_path, change, fault):
    pages = {"index.md": "# Home\n\n[a](a.md#a)\n", "a.md": "# A\n", **change}
    (tmp_path / "docs").mkdir()
    (tmp_path / "zensical.toml").write_text(TINY)
    for name, text in pages.items():
        if text is not None:
            (tmp_path / "docs" / name).write_text(text)
    with pytest.raises(docs_site.SiteError, match=re.escape(fault)):
        docs_site.build(tmp_path, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_files_outside_docs_come_along(site):
    assert (site / "files/src/karat/rewards/assets/helpsteer2.html").is_file()
    assert (site / "files/deploy/Dockerfile").is_file()


def test_a_file_of_html_is_not_lost_to_the_page_beside_it(site):
    report = (ROOT / "docs" / "lift-report.html").read_bytes()
    assert (site / "lift-report-page.html").read_bytes() == report
    assert 'href="lift-report-page.html"' in (site / "lift.html").read_text(encoding="utf-8")
    assert "md-content" in (site / "lift-report.html").read_text(encoding="utf-8")


# --- in a browser --------------------------------------------------------------------------------


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started
    asyncio._set_running_loop(None)


PAGES = ("index", "tutorial", "reference/steps", "reference/python", "training")


@pytest.mark.parametrize("width", mostly_slow([400, 1280], 2))
def test_pages_fit_and_fetch_nothing_from_elsewhere(browser, address, width):
    faults = []
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.on(
        "request", lambda r: None if r.url.startswith((address, "data:")) else faults.append(r.url)
    )
    page.on("response", lambda r: faults.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    for name in PAGES:
        page.goto(f"{address}/{name}.html")
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, f"{name} is {over} pixels wider than the window"
    context.close()
    assert not faults


@pytest.mark.parametrize("scheme", mostly_slow(["light", "dark"], 2))
def test_everybody_can_read_a_page(browser, address, scheme):
    """What we write into the theme; its own search box and menus are not ours to mend."""
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    for name in ("tutorial", "grading"):
        page.goto(f"{address}/{name}.html")
        found = Axe().run(page, context=".md-content").response["violations"]
        bad = [v for v in found if v["impact"] in ("serious", "critical")]
        assert not bad, [(v["id"], v["nodes"][0]["html"]) for v in bad]
    context.close()


def test_a_search_finds_a_parameter(browser, address):
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"{address}/index.html")
    page.wait_for_load_state("networkidle")  # the search is there once its script is
    page.keyboard.press("/")
    page.wait_for_selector("input:focus", timeout=60_000)  # it slides in
    page.keyboard.type("margin_sigma")
    page.wait_for_selector('a[href*="reference/steps.html"] >> visible=true', timeout=60_000)
    context.close()
