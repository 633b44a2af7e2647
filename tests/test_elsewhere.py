"""places.json: a run remembers where its rows are, keeps to it and shares no place with another."""

from __future__ import annotations

import json

import pytest

import karat
from karat import RecipeError, Run
from karat.elsewhere import MARK, Elsewhere, accepted_at, without_secrets
from karat.places import is_remote, place

STEPS = [{"read": {"path": "prompts.jsonl"}}, {"dedupe": {"on": "prompt", "threshold": 1.0}}]


@pytest.fixture
def recipe(make_recipe):
    return make_recipe(rows=6, steps=STEPS)


def test_rows_may_be_in_another_folder(recipe, tmp_path):
    here, there = tmp_path / "run", tmp_path / "big disk" / "rows"
    run = karat.run(recipe, here, data=there)
    assert run.data == there
    assert {path.name for path in there.iterdir()} == {
        MARK, "stages", "accepted.parquet", "dropped.parquet",
    }  # fmt: skip
    assert json.loads((there / MARK).read_bytes()) == {"run": "test"}
    assert not (here / "stages").exists()
    assert {"recipe.yaml", "report.json", "export", "journal.sqlite", "places.json"} <= {
        path.name for path in here.iterdir()
    }
    assert json.loads((here / "places.json").read_bytes()) == {"data": str(there)}
    assert Run.open(here).accepted.num_rows == 6
    assert accepted_at(here) == run.accepted_file
    again = karat.run(recipe, here)  # it need not be said again
    assert again.data == there
    assert again.report["this_run"]["stages_reused"] == 2


def test_a_run_at_home_writes_nothing_of_places(recipe, tmp_path):
    run = karat.run(recipe, tmp_path / "run")
    assert not run.places_file.exists()
    assert run.data == run.path
    assert not (run.path / MARK).exists()


def test_a_file_url_is_a_path_of_this_machine(recipe, tmp_path):
    run = karat.run(recipe, tmp_path / "run", data=f"file://{tmp_path}/other%20place")
    assert run.data == tmp_path / "other place"
    assert run.accepted_file.is_file()
    with pytest.raises(RecipeError, match="names another machine"):
        place("file://server/share")


def test_a_run_keeps_to_its_places(recipe, tmp_path):
    karat.run(recipe, tmp_path / "home")
    with pytest.raises(RecipeError, match=r"keeps its data in that folder.*leave out --data"):
        karat.run(recipe, tmp_path / "home", data=tmp_path / "there")
    assert not (tmp_path / "there").exists()
    karat.run(recipe, tmp_path / "away", data=tmp_path / "one")
    with pytest.raises(RecipeError, match=r"keeps its data at .*one, not at .*two"):
        karat.run(recipe, tmp_path / "away", data=tmp_path / "two")
    with pytest.raises(RecipeError, match="keeps its journal in that folder"):
        Run.at(tmp_path / "away", "test", journal="postgresql://me@db/runs")
    karat.run(recipe, tmp_path / "away", data=tmp_path / "one")


def test_no_two_runs_share_a_place(recipe, make_recipe, tmp_path):
    karat.run(recipe, tmp_path / "a", data=tmp_path / "rows")
    other = make_recipe(rows=6, steps=STEPS, file="other.yaml", name="another")
    with pytest.raises(RecipeError, match=r"holds the rows of the run 'test', and this one is"):
        karat.run(other, tmp_path / "b", data=tmp_path / "rows")
    assert not (tmp_path / "b" / "places.json").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letters.txt").write_text("dear")
    with pytest.raises(RecipeError, match=r"holds other files \(letters.txt"):
        karat.run(other, tmp_path / "b", data=tmp_path / "full")
    # On another machine, or with the small files lost, the same run goes on where its rows are.
    again = karat.run(recipe, tmp_path / "c", data=tmp_path / "rows")
    assert again.report["this_run"]["stages_reused"] == 2


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{", "cannot be read"), ("[]", "cannot be read"), ('{"data": 3}', "cannot be read"),
        ('{"dta": "s3://b/p"}', "cannot be read"),
        ('{"data": "https://host/rows"}', "rows are written as well as read"),
        ('{"data": "s3://"}', "names no place in the store"),
        ('{"data": "s3://key:secret@bucket/p"}', "holds a password"),
        ('{"data": "simplecache::s3://b/p"}', "cannot be used|not taken"),
        ('{"data": "nowhere://b/p"}', "nowhere://b/p"),
    ],
)  # fmt: skip
def test_places_that_cannot_be_are_told(tmp_path, said, message):
    (tmp_path / "places.json").write_text(said)
    with pytest.raises(RecipeError, match=message) as caught:
        Run(tmp_path).data  # noqa: B018
    assert "secret" not in str(caught.value)


def test_no_secret_is_written_down():
    url = "postgresql://me:hunter2@db:5432/runs?schema=a&password=hunter3&sslmode=require"
    kept = without_secrets(url)
    assert kept == "postgresql://me@db:5432/runs?schema=a&sslmode=require"
    run = Run.at(None, "none-such", data="s3://bucket/prefix/", journal=url)
    assert run.elsewhere == Elsewhere("s3://bucket/prefix", kept)
    assert "hunter" not in repr(run.elsewhere)


def test_urls_are_paths_that_travel():
    import pickle

    made = place("s3://bucket/a") / "b.parquet"
    assert is_remote(made)
    assert str(made) == "s3://bucket/a/b.parquet"
    assert pickle.loads(pickle.dumps(made)) == made
    assert (made.name, made.suffix, made.stem, str(made.parent)) == (
        "b.parquet", ".parquet", "b", "s3://bucket/a",
    )  # fmt: skip


def test_what_is_missing_is_told(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(RecipeError, match=r"pip install 'karat\[remote\]'"):
        place("s3://bucket/a")
    monkeypatch.undo()
    with pytest.raises(RecipeError, match=r"dropbox|dropboxdrivefs"):
        place("dropbox://a/b")
