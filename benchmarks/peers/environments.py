"""An environment of its own for each peer, made on first use.

Under the user's cache ($XDG_CACHE_HOME/karat-peers, ~/.cache/karat-peers), never in the repository,
from requirements/NAME.txt, which pins everything; a changed file makes a new environment. uv does
it, in a tenth of pip's time. torch is installed first and alone, by pip, so that nothing chooses
another build of it than the one this machine's pip is set up for.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
INSTALL_S = 1800


class InstallError(Exception):
    """A peer that cannot be had here; the message says why in a line."""


def python_of(name: str) -> str:
    """The interpreter of a peer's environment, made where it is missing.

    Raises: InstallError.
    """
    pinned = REQUIREMENTS / f"{name}.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    mark = hashlib.sha256(pinned.read_bytes()).hexdigest()[:12]
    home = cache / "karat-peers" / f"{name}-{mark}"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        print(f"installing {name} into {home} …", file=sys.stderr, flush=True)
        uv = [sys.executable, "-m", "uv", "--quiet"]
        _call(name, [*uv, "venv", "--clear", "--python", sys.executable, str(home)])
        for torch in re.findall(r"^torch==\S+$", pinned.read_text(), re.MULTILINE):
            pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq"]
            _call(name, [*pip, "--disable-pip-version-check", torch])
        install = [*uv, "pip", "install", "--compile-bytecode", "--python", str(python)]
        _call(name, [*install, "--no-deps", "-r", str(pinned)])
        (home / "ready").touch()
    return str(python)


def version_of(name: str, package: str) -> str:
    """The pinned version of a package in a peer's requirements."""
    pinned = (REQUIREMENTS / f"{name}.txt").read_text()
    found = re.search(rf"^{re.escape(package)}==([^\s;]+)", pinned, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else "?"


def _call(name: str, command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InstallError(f"{name}: no end of its installation in {INSTALL_S} s") from None
    if done.returncode:
        raise InstallError(f"{name}: cannot be installed: {done.stderr.strip()[-300:]}")
