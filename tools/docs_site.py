"""Builds the documentation's site: python tools/docs_site.py [FOLDER]. `make docs` runs it.

The docs, what they link to elsewhere in the repository, and the reference made from the code are
put together in a folder of their own, and zensical builds it there. So the working tree never holds
a generated page, and two builds do not meet.

zensical, strict, finds links and anchors in Markdown that lead nowhere. It ships a navigation with
pages that do not exist, and pages that no navigation reaches, without a word (0.1); both stop the
build here, and so does a page of HTML that fetches anything from elsewhere.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
ELSEWHERE = "files"  # in the site: copies of what lies outside docs and is linked from there
_LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class SiteError(Exception):
    """The site cannot be built as it is; says every fault."""


# --- what goes in --------------------------------------------------------------------------------


def staged(root: Path, work: Path) -> Path:
    """Docs, reference and configuration put together in `work`; the configuration's file.

    Raises: SiteError.
    """
    docs = work / "docs"
    shutil.copytree(root / "docs", docs)
    for page in sorted(docs.rglob("*.md")):
        _bring(page, docs, root)
    for file in sorted(docs.rglob("*.html")):
        _put_aside(file)
    if (root / "tools" / "reference").is_dir():
        import reference  # beside this file

        reference.write(docs / "reference")
    text = (root / "zensical.toml").read_text(encoding="utf-8")
    config = work / "zensical.toml"
    config.write_text(expanded(text, docs), encoding="utf-8")
    check_navigation(tomllib.loads(config.read_text(encoding="utf-8"))["project"]["nav"], docs)
    return config


def _bring(page: Path, docs: Path, root: Path) -> None:
    """Copies what a page links to outside docs, and makes the links lead to the copies."""
    where = root / "docs" / page.relative_to(docs).parent

    def here(found: re.Match[str]) -> str:
        target = (where / unquote(found[2])).resolve()
        inside = (root / "docs").resolve()
        if target.is_relative_to(inside) or not target.is_relative_to(root.resolve()):
            return found[0]
        copy = docs / ELSEWHERE / target.relative_to(root.resolve())
        if target.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, copy)
        return found[1] + os.path.relpath(copy, page.parent)

    text = page.read_text(encoding="utf-8")
    changed = _LINK.sub(here, text)
    if changed != text:
        page.write_text(changed, encoding="utf-8")


def _put_aside(file: Path) -> None:
    """Gives a file another name where a page beside it would be built over it."""
    if file.with_suffix(".md").exists():
        aside = file.rename(file.with_stem(f"{file.stem}-page"))
        for page in file.parent.glob("*.md"):
            text = page.read_text(encoding="utf-8")
            page.write_text(text.replace(f"]({file.name})", f"]({aside.name})"), encoding="utf-8")


def expanded(text: str, docs: Path) -> str:
    """The configuration with `"folder/*"` in its navigation replaced by the folder's pages.

    An index comes first, then what it links to in its order, then the rest by name; the reference
    keeps the order in which it is made.
    """

    def pages(found: re.Match[str]) -> str:
        folder = found[1]
        names = [f'"{folder}/{page.name}"' for page in _in_order(docs / folder)]
        return f"[{', '.join(names)}]"

    return re.sub(r'"([\w-]+)/\*"', pages, text)


def _in_order(folder: Path) -> list[Path]:
    if folder.name == "reference":
        import reference

        order = ["index", *reference.PAGES]
        return [folder / f"{name}.md" for name in order]
    index = folder / "index.md"
    text = index.read_text(encoding="utf-8") if index.is_file() else ""
    place = {name: number for number, name in enumerate(re.findall(r"\]\(([\w-]+\.md)\)", text))}
    place[index.name] = -1
    return sorted(folder.glob("*.md"), key=lambda p: (place.get(p.name, len(place)), p.name))


def pages_of(nav: list[Any]) -> Iterator[str]:
    """Every page that a navigation names."""
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(value, list):
            yield from pages_of(value)
        else:
            yield value


def check_navigation(nav: list[Any], docs: Path) -> None:
    """Raises: SiteError where navigation and pages are not the same."""
    named = set(pages_of(nav))
    there = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}
    there = {page for page in there if not page.startswith(f"{ELSEWHERE}/")}
    faults = [f"the navigation names {page}, which is not there" for page in named - there]
    faults += [f"docs/{page} is not in the navigation of zensical.toml" for page in there - named]
    if faults:
        raise SiteError("\n".join(sorted(faults)))


# --- what comes out ------------------------------------------------------------------------------


_FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class _Page(HTMLParser):
    """Of one page: where its links lead, what it fetches, and the places in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"] or "")
        source = given.get(_FETCHED.get(tag, ""))
        if source and given.get("rel") not in ("canonical", "prev", "next", "alternate"):
            self.fetched.add(source)


def check_pages(site: Path) -> None:
    """Raises: SiteError for links that lead nowhere, and for what is fetched from elsewhere."""
    found: dict[Path, _Page] = {}
    for file in sorted(site.rglob("*.html")):
        found[file] = _Page()
        found[file].feed(file.read_text(encoding="utf-8"))
    faults: list[str] = []
    for file, page in found.items():
        if file.name == "404.html":
            continue  # its links begin at the root of a site that has no address here
        name = file.relative_to(site).as_posix()
        faults += [f"{name} fetches {one}" for one in sorted(page.fetched) if _elsewhere(one)]
        faults += [
            f"{name}: {link} leads nowhere"
            for link in sorted(page.links | page.fetched)
            if not _elsewhere(link) and not _leads(file, link, found)
        ]
    if faults:
        raise SiteError("\n".join(faults))


def _elsewhere(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def _leads(file: Path, link: str, found: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return False
    place = unquote(parts.fragment)
    page = found.get(target)
    return not place or page is None or place in page.places


# --- the whole -----------------------------------------------------------------------------------


def build(root: Path, out: Path) -> None:
    """The site of the docs of `root` in the folder `out`, anew. Raises: SiteError."""
    with tempfile.TemporaryDirectory(prefix="karat-docs-") as temporary:
        work = Path(temporary).resolve()
        config = staged(root, work)
        command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(config)]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True)
        said = _COLOURS.sub("", f"{done.stdout}\n{done.stderr}").replace(f"{work}/", "")
        if done.returncode or re.search(r"(?i)\b(warning|error)\b", said):
            raise SiteError(said.strip())
        check_pages(work / "site")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(work / "site", out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the documentation's site.")
    parser.add_argument("out", type=Path, nargs="?", default=ROOT / "site")
    out = parser.parse_args().out
    try:
        build(ROOT, out)
    except SiteError as error:
        sys.exit(f"{error}\nThe site was not built.")
    sys.stdout.write(f"{out / 'index.html'}\n")


if __name__ == "__main__":
    main()
