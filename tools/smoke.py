"""Builds the wheel, installs it into clean environments, and runs a recipe with each.

    python tools/smoke.py [PYTHON …]

By default every Python from 3.11 to 3.14 that is on the path, or that pyenv has. An environment has
the wheel and what it asks for, from the package index; the recipe asks a model on loopback, so
nothing is spent. Each Python is one line; the exit status is 1 if one of them failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
KNOWN = [f"python3.{minor}" for minor in (11, 12, 13, 14)]
PROGRAM = Path(__file__).with_name("smoke_run.py")


def find(name: str) -> str | None:
    """A Python of this name that runs: pyenv leaves names on the path that do not."""
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    places = [shutil.which(name), *map(str, sorted(versions.glob(f"*/bin/{name}"), reverse=True))]
    for place in filter(None, places):
        if subprocess.run([place, "-c", ""], check=False, capture_output=True).returncode == 0:
            return place
    return None


def build(place: Path) -> Path:
    """The wheel of this checkout."""
    hatchling = "from hatchling.builders.wheel import WheelBuilder; import sys;"
    code = f"{hatchling} print(next(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2])))"
    made = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), str(place)],
        check=True,
        text=True,
        capture_output=True,
    )
    return Path(made.stdout.strip())


def tried(python: str, wheel: Path, place: Path) -> str:
    """The version of karat that ran there.

    Raises:
        CalledProcessError: it could not be installed, or did not run
    """
    env = place / "env"
    subprocess.run([python, "-m", "venv", env], check=True, capture_output=True)
    binary = env / "bin"
    pip = [binary / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, wheel], check=True, capture_output=True, text=True)
    for command in (["--help"], ["steps", "respond"], ["models"]):
        subprocess.run(
            [binary / "karat", *command], check=True, capture_output=True, text=True, cwd=place
        )
    done = subprocess.run(
        [binary / "python", PROGRAM], check=True, capture_output=True, text=True, cwd=place,
        env={"PATH": "/usr/bin:/bin", "NO_KEY": "none", "HOME": str(place)},
    )  # fmt: skip
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="*", metavar="PYTHON")
    pythons = parser.parse_args().pythons or list(filter(None, map(find, KNOWN)))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        print(f"{wheel.name}, {wheel.stat().st_size / 2**20:.1f} MB")
        for python in pythons:
            place = Path(folder) / Path(python).name
            place.mkdir()
            began = time.monotonic()
            try:
                print(f"{python}: karat {tried(python, wheel, place)} ran, "
                      f"{time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
            except subprocess.CalledProcessError as error:
                failed += 1
                print(f"{python}: failed\n{error.stderr}", flush=True)
            shutil.rmtree(place)
    for name in KNOWN:
        if not any(name in python for python in pythons):
            print(f"{name}: not on this machine")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
