"""What is shipped to browsers: foreign files as their packages have them, ours without the network,
and all of it in the wheel."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

import karat.web

WEB = Path(karat.web.__file__).parent
STATIC, TEMPLATES = WEB / "static", WEB / "templates"
VENDOR = STATIC / "vendor"
ENTRIES = json.loads((VENDOR / "manifest.json").read_text())["files"]
OURS = sorted(
    path
    for path in [*STATIC.rglob("*"), *TEMPLATES.rglob("*")]
    if path.is_file() and VENDOR not in path.parents
)
FRAGMENTS = ("compare.js", "run.js")
MOST = 70 * 1024  # bytes of foreign code


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_a_foreign_file_is_the_one_of_its_package(entry: dict[str, str]) -> None:
    data = (VENDOR / entry["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert all(entry[key] for key in ("package", "version", "path", "licence"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", entry["version"])


def test_every_foreign_file_is_in_the_manifest_with_its_licence() -> None:
    names = {entry["file"] for entry in ENTRIES}
    assert {path.name for path in VENDOR.iterdir()} == names | {"manifest.json"}
    for entry in ENTRIES:
        assert set(entry["licence_files"]) <= names
        is_text = entry["file"].endswith(".LICENSE")
        assert bool(entry["licence_files"]) != is_text
        if is_text:
            words = (VENDOR / entry["file"]).read_text()
            assert {"MIT": "MIT", "Apache-2.0": "Apache License"}[entry["licence"]] in words or (
                "Permission is hereby granted, free of charge" in words
            )


def test_foreign_code_stays_small() -> None:
    code = [path for path in VENDOR.iterdir() if path.suffix in (".js", ".css")]
    assert sum(path.stat().st_size for path in code) <= MOST


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_pages_need_no_network_and_nothing_inline(path: Path) -> None:
    text = path.read_text("utf-8")
    outside = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`]*", text)
    shown = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    assert not [address for address in outside if address not in shown]
    assert not re.search(r"\b(?:eval|Function)\(", text)
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
        assert "|safe" not in text.replace(" ", "")
        assert "autoescape" not in text
    if path.suffix == ".js":
        assert not re.search(r"(?:outerHTML\s*=|insertAdjacentHTML|document\.write)", text)
        # What the server's own templates have escaped may be put in as it comes.
        assert path.name in FRAGMENTS or not re.search(r"innerHTML\s*=", text)


def test_the_wheel_has_what_pages_need() -> None:
    builders = pytest.importorskip("hatchling.builders.wheel")
    builder = builders.WheelBuilder(str(WEB.parents[2]))
    inside = {file.distribution_path for file in builder.recurse_included_files()}
    for path in [*OURS, *VENDOR.iterdir()]:
        assert path.relative_to(WEB.parents[1]).as_posix() in inside
