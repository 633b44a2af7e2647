"""Writes docs/dependencies.md: what karat brings along, why, and under which licence.

    python tools/dependencies.py [--write]

Without --write it says whether the page is what the code and this environment give. Names, extras
and reasons are those of pyproject.toml, versions those of requirements/test.txt; the licence is the
one a package states of itself.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
CORE = "core"
HEAD = """# What karat brings along

`pip install karat` installs what the first table names and what those need, nothing else; each
extra adds its own. Versions are those the tests ran with. `make demo` and `make test` install from
files that pin every package, those that others need too, by version and by the SHA-256 of its
files; pip and uv refuse any other file. `make audit` asks the advisory database about all of them.
`python tools/dependencies.py --write` writes this page.

Two licences ask for more than their notices to be kept, each of changes to the package itself:
MPL-2.0 (orjson in part) and LGPL-3.0 (psycopg, of `karat[postgres]` alone). PyTorch is
chosen by whoever installs it, for their machine; the Makefile takes 2.13.0 for the CPU.
"""
# A classifier names a licence in words; packages that say nothing better are read by this.
CLASSIFIERS = {
    "MIT License": "MIT", "Apache Software License": "Apache-2.0", "BSD License": "BSD",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0", "The Unlicense (Unlicense)": "Unlicense",
}  # fmt: skip
# Of packages that are not installed for the tests, or say it in a file alone.
STATED = {"alt-profanity-check": "MIT", "any-llm-sdk": "Apache-2.0", "resvg-py": "MIT"}


class Wanted(NamedTuple):
    """A requirement of karat's own, the extra it belongs to, and the comment beside it."""

    extra: str
    name: str
    reason: str


def wanted() -> list[Wanted]:
    """What pyproject.toml asks for by name, in its order."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    reasons = _reasons(text)
    groups = {CORE: project["dependencies"], **project["optional-dependencies"]}
    return [
        Wanted(extra, name, reasons.get((extra, name), ""))
        for extra, lines in groups.items()
        for name in (Requirement(line).name for line in lines)
    ]


def _reasons(text: str) -> dict[tuple[str, str], str]:
    """The comment on a requirement's line, or that of the extra it is of."""
    found: dict[tuple[str, str], str] = {}
    extra = said = ""
    for line in text.splitlines():
        if begun := re.match(r"([\w-]+) = \[(.*)", line):
            extra = CORE if begun[1] == "dependencies" else begun[1]
            said = _comment(begun[2])
        code, _, _ = line.partition("#")
        for requirement in re.findall(r'"([^"]+)"', code):
            try:
                name = Requirement(requirement).name
            except ValueError:
                continue
            found.setdefault((extra, name), _comment(line) or said)
    return found


def _comment(line: str) -> str:
    return line.partition("#")[2].strip()


def licence(name: str) -> str:
    """Of an installed package, in SPDX's words where it uses them.

    Raises:
        PackageNotFoundError: it is not installed
    """
    about = importlib.metadata.metadata(name)
    if said := about.get("License-Expression"):
        return str(said)
    classes = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    if classes:
        return " or ".join(CLASSIFIERS.get(name, name) for name in classes)
    words = (about.get("License") or "").strip().splitlines()
    return words[0] if words else ""


def pins(path: Path) -> dict[str, str]:
    """{name: version} of a file of pins; the lowest Python's where there are several."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if pinned := re.match(r"([\w.-]+)(?:\[.*\])?==([^\s;\\]+)", line):
            found.setdefault(canonicalize_name(pinned[1]), pinned[2])
    return found


def pages() -> Iterator[str]:
    yield HEAD
    versions = pins(ROOT / "requirements" / "test.txt")
    known = wanted()
    for extra in dict.fromkeys(each.extra for each in known):
        yield f"\n## {'karat itself' if extra == CORE else f'`karat[{extra}]`'}\n"
        yield "\n| package | version | licence | why |\n|---|---|---|---|\n"
        for each in (each for each in known if each.extra == extra):
            name = canonicalize_name(each.name)
            terms = STATED.get(name) or licence(each.name)
            version = versions.get(name, "–")
            yield f"| {each.name} | {version} | {terms} | {each.reason or '–'} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    page = "".join(pages())
    if parser.parse_args().write:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page:
        sys.exit(f"{PAGE.name} is not what it would be now: python {sys.argv[0]} --write")


if __name__ == "__main__":
    main()
