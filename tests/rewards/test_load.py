"""Rewards by name: a new kind is a new file, and a wrong name says what there is."""

from __future__ import annotations

import pytest

from karat import RecipeError
from karat.rewards import load
from karat.rewards.load import kinds, load_reward


def test_kinds_are_the_modules_that_define_load():
    assert {"embedded", "head"} <= set(kinds())
    assert not {"asks", "base", "features", "load"} & set(kinds())


def test_a_new_file_is_a_new_kind_and_is_not_imported_to_know(tmp_path, monkeypatch):
    sources = {
        "mine": "raise SystemExit\ndef load(name, folder): ...",
        "helper": "def loading(): ...\n# def load(name, folder): ...\ntext = '\\ndef load('",
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(load, "__file__", str(tmp_path / "load.py"))
    kinds.cache_clear()
    try:
        assert kinds() == ("embedded", "mine")
    finally:
        kinds.cache_clear()


@pytest.mark.parametrize(
    "name", ["helpsteer2", "embeded/helpsteer2", "embedded/", "/x", "", "../x"]
)
def test_a_wrong_name_says_what_there_is(tmp_path, name):
    with pytest.raises(RecipeError, match=f"no reward '{name}'; (did you mean|there is)"):
        load_reward(name, tmp_path)
