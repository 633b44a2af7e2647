"""Packages that take seconds to import, which a test imports when it first uses them.

Each of pytest's workers collects every file; one of them runs the tests that need torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


class Later:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks at whatever stands in a file
            raise AttributeError(name)
        return getattr(import_module(self._name), name)


def later(*names: str) -> Any:
    """The modules of these names, or the one, later; a file that needs one not here is skipped."""
    for name in names:
        if not _is_here(name):
            pytest.skip(f"{name} is not installed", allow_module_level=True)
    found = [Later(name) for name in names]
    return found[0] if len(found) == 1 else found


def _is_here(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        return False
