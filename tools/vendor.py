"""Fetches the pages' foreign scripts into src/karat/web/static/vendor/. Run by hand, with npm:

    python tools/vendor.py [--write]

Without --write it says whether what is there is what the registry has. `npm pack` checks each
package by the registry's own digest; manifest.json then says for every file which package, version
and path it is, its sha256 and its licence, and tests/web/test_vendor.py holds the files to it. A
file is copied as it is: there is no build, so there is nothing to trust but the packages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

VENDOR = Path(__file__).parents[1] / "src" / "karat" / "web" / "static" / "vendor"


class Wanted(NamedTuple):
    """A file as it is called here, its package, and its path there; the licences of what it holds
    and the files here that have their words."""

    name: str
    package: str
    version: str
    path: str
    licence: str
    texts: tuple[str, ...] = ()


WANTED = (
    # htm with the preact it was built with, in one module; of both parts the licence.
    Wanted("preact.js", "htm", "3.1.1", "preact/standalone.module.js", "Apache-2.0 AND MIT",
           ("htm.LICENSE", "preact.LICENSE")),
    Wanted("uPlot.iife.min.js", "uplot", "1.6.32", "dist/uPlot.iife.min.js", "MIT",
           ("uplot.LICENSE",)),
    Wanted("uPlot.min.css", "uplot", "1.6.32", "dist/uPlot.min.css", "MIT", ("uplot.LICENSE",)),
    Wanted("htm.LICENSE", "htm", "3.1.1", "LICENSE", "Apache-2.0"),
    Wanted("preact.LICENSE", "preact", "10.6.5", "LICENSE", "MIT"),
    Wanted("uplot.LICENSE", "uplot", "1.6.32", "LICENSE", "MIT"),
)  # fmt: skip


def fetched(package: str, version: str, folder: Path) -> tarfile.TarFile:
    """A package of the registry, as npm has checked it."""
    command = ["npm", "pack", "--silent", f"{package}@{version}"]
    made = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return tarfile.open(folder / made.stdout.split()[-1])


def files() -> dict[str, bytes]:
    """Every wanted file, by its name here."""
    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for package, version in sorted({(one.package, one.version) for one in WANTED}):
            with fetched(package, version, Path(folder)) as tar:
                for one in WANTED:
                    if (one.package, one.version) == (package, version):
                        member = tar.extractfile(f"package/{one.path}")
                        assert member is not None
                        found[one.name] = member.read()
    return found


def manifest(found: dict[str, bytes]) -> str:
    """What manifest.json says of these files."""
    listed = [
        {
            "file": one.name, "package": one.package, "version": one.version, "path": one.path,
            "sha256": hashlib.sha256(found[one.name]).hexdigest(), "licence": one.licence,
            "licence_files": list(one.texts),
        }
        for one in WANTED
    ]  # fmt: skip
    return json.dumps({"files": listed}, indent=1) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="The pages' foreign scripts.")
    parser.add_argument("--write", action="store_true", help="put them there")
    write = parser.parse_args().write
    found = files()
    wanted = {**found, "manifest.json": manifest(found).encode()}
    wrong = 0
    for name, data in wanted.items():
        path = VENDOR / name
        same = path.is_file() and path.read_bytes() == data
        if write and not same:
            path.write_bytes(data)
        wrong += not same and not write
        print(f"{name}: {'the same' if same else 'written' if write else 'differs'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
