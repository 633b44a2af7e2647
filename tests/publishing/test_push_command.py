"""karat push as a command: it shows what goes where, and asks before it sends."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from hub import TOKEN

from karat.cli import main

pytest.importorskip("huggingface_hub")
pytestmark = [
    # The library's own, where it uploads a large file without Xet.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.usefixtures("cleared"),
]


@pytest.fixture
def command(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", hub.url)
    return lambda *args, **more: CliRunner().invoke(main, ["push", *map(str, args)], **more)


def test_it_shows_what_goes_where_and_asks(run, hub, command):
    done = command(run.path, "gold", input="n\n")
    assert done.exit_code == 1
    assert not hub.commits
    assert "me/gold" not in hub.datasets
    for told in ("/datasets/me/gold (is made anew, private)", "export/data.train.jsonl",
                 "README.md", "in all", "Push it?"):  # fmt: skip
        assert told in done.output
    assert TOKEN not in done.output
    assert "journal" not in done.output


def test_it_pushes_when_told_to(run, hub, command):
    done = command(run.path, "me/gold", "--public", "--yes")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{hub.url}/datasets/me/gold/commit/")
    assert "public: anybody can read it" in done.stderr
    assert hub.datasets["me/gold"]["private"] is False


def test_without_a_token_it_shows_the_parcel_and_asks_for_one(run, hub, command, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    done = command(run.path, "me/gold", "--public")
    assert done.exit_code == 2
    shown, asked = done.output.split("error: ")
    for told in ("/datasets/me/gold (the Hub was not asked, public: anybody can read it)",
                 "export/data.train.jsonl", "README.md", "in all"):  # fmt: skip
        assert told in shown
    assert asked.startswith("nothing was sent: the Hub needs a token")
    assert "Push it?" not in shown
    assert not hub.commits


def test_a_mistake_is_one_line(command, tmp_path):
    done = command(tmp_path, "me/gold", "--yes")
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert done.output.count("\n") == 1
