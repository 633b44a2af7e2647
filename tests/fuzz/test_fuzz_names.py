"""Names that come from outside: of files in a run, of parts of a table, of runs and recipes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from fuzz_texts import examples
from hypothesis import given
from hypothesis import strategies as st

from karat import parquet
from karat.errors import RecipeError
from karat.models.services import check_url
from karat.places import place
from karat.recipefile import name_of, name_of_file
from karat.web.runs.files import is_inside
from karat.web.shelf import as_slug

PARTS = ["..", ".", "", "in.txt", "folder", "link", "away", "ring", "\0", "%2e%2e", "~", "C:\\",
         "CON", "nul.txt", "a" * 300, "é", "\udcff", "..\\..", "in.txt/", "\n"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file, and links out of it, to it and in a ring."""
    root = tmp_path_factory.mktemp("run")
    (root / "secret.txt").write_text("of somebody else")
    run = root / "run"
    (run / "folder").mkdir(parents=True)
    for path in (run / "in.txt", run / "folder" / "in.txt"):
        path.write_text("ours")
    (run / "link").symlink_to(root / "secret.txt")
    (run / "away").symlink_to(root)
    (run / "ring").symlink_to(run / "ring")
    (run / "folder" / "link").symlink_to(run / "in.txt")
    return run


@examples(120)
@given(parts=st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=5), root=st.booleans())
def test_no_name_leads_out_of_a_run(run: Path, parts: list[str], root: bool) -> None:
    path = run / ("/" * root + "/".join(parts))
    if is_inside(path, run):
        assert path.read_text() == "ours"
        assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(run))


def test_the_paths_that_are_a_runs_own_are(run: Path) -> None:
    assert is_inside(run / "folder" / ".." / "in.txt", run)
    assert is_inside(run / "folder" / "link", run)
    for name in ("link", "away/secret.txt", "../secret.txt", "ring", "folder", "\0", "gone"):
        assert not is_inside(run / name, run)


@examples(60)
@given(name=st.sampled_from(PARTS) | st.text(max_size=6))
def test_a_list_of_parts_names_files_of_its_folder_or_is_refused(run: Path, name: str) -> None:
    folder = run / "table.parquet"
    folder.mkdir(exist_ok=True)
    said = {"parts": [{"file": name, "rows": 1}], "meta": {}}
    (folder / parquet.LISTED).write_text(json.dumps(said))
    try:
        (path,) = parquet.files(folder)
    except OSError:
        return
    assert path.parent == folder
    with pytest.raises((OSError, pa.ArrowException)):
        parquet.Parts(folder).read()


@examples(60)
@given(name=st.text(max_size=12) | st.sampled_from(PARTS))
def test_a_recipes_name_is_one_folder_below_another(tmp_path: Path, name: str) -> None:
    try:
        found = name_of(name, "recipe.yaml")
    except RecipeError:
        return
    (tmp_path / found).mkdir(exist_ok=True)
    assert [path.name for path in tmp_path.iterdir() if path.name == found] == [found]
    assert (tmp_path / found).resolve().parent == tmp_path.resolve()


@examples(60)
@given(names=st.lists(st.text(max_size=6) | st.sampled_from(PARTS), max_size=4))
def test_two_runs_never_share_a_slug(names: list[str]) -> None:
    taken: dict[str, str] = {}
    for name in names:
        slug = as_slug(name, taken)
        assert slug not in taken
        assert not set(slug) & set("/\\?#%\0 ")
        taken[slug] = name


@pytest.mark.parametrize(
    "url",
    ["", "h", "//h", "ftp://h", "file:///etc", "http://", "http:///v1", "http://u:p@h/", "http://@h",
     "http://h?k=1", "http://h#a", "http://h:99999/", "http://h:a/", "http://[::1", "javascript:1",
     "http:\\\\h", "http://h\\@evil/v1?"],
)  # fmt: skip
def test_a_base_url_that_is_none_or_holds_secrets_is_refused(url: str) -> None:
    with pytest.raises(RecipeError, match="base_url"):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    ["file://host/etc", "s3://user:secret@bucket/x", "zip://a.zip::s3://b/c", "nosuch://x/y"],
)
def test_a_place_that_cannot_be_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(RecipeError) as told:
        place(url)
    assert "secret" not in str(told.value)


def test_a_file_whose_name_is_no_recipes_still_names_one() -> None:
    for stem in ("..", "a b", "a/../b", "\udcff", "x" * 50, "a..b", "é", "CON", "."):
        name = name_of_file(Path(f"{stem}.yaml"))
        assert name_of(name, "here") == name
