"""What tests of publishing share: a Hub on loopback, and a run to give away."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.append(str(Path(__file__).parent))  # helpers beside the tests, by name, as elsewhere

import given_away
from hub import TOKEN, Hub

from karat import Run
from karat.publishing import push


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub() as found:
        yield found


@pytest.fixture
def run(tmp_path):
    """A run to write into."""
    shutil.copytree(given_away.run_once().path, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.fixture
def cleared(monkeypatch, request):
    """Terms that stand in nobody's way, but where a test is about them."""
    if "blocked" not in request.fixturenames:
        solved = push.solve_run

        def free(run):
            return msgspec.structs.replace(solved(run), blockers=())

        monkeypatch.setattr(push, "solve_run", free)
