"""karat push: what goes to the Hub and what never does, who reads it, what stands in the way."""

from __future__ import annotations

import json
import os
from hashlib import sha256

import given_away
import msgspec
import orjson
import pytest
import yaml
from click.testing import CliRunner
from hub import LFS_FROM, TOKEN
from rich.console import Console

from karat import RecipeError, RunError
from karat.cli import main
from karat.licensing.solved import Cause, Finding
from karat.publishing import push as module
from karat.publishing.parcel import parcel_table
from karat.publishing.push import prepare, send

pytest.importorskip("huggingface_hub")
# The library's own, where it uploads a large file without Xet.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.usefixtures("cleared"),
]
PAPERS = {"README.md", "LICENCES.md", "eu-summary.md", "croissant.json", "prov.json"}
WHY = "we are allowed to by contract"


@pytest.fixture
def blocked(monkeypatch):
    blocker = Finding(
        kind="forbidden", licence="Terms of Lab", text="No training on output.",
        causes=(Cause("generator", "lab/m", 8),),
    )  # fmt: skip
    solved = module.solve_run
    found = lambda run: msgspec.structs.replace(solved(run), blockers=(blocker,))  # noqa: E731
    monkeypatch.setattr(module, "solve_run", found)


def pushed(run, repo, hub, folder, **more):
    folder = folder / "papers-of-push"
    folder.mkdir(exist_ok=True)
    parcel = prepare(run, repo, folder, endpoint=hub.url, **more)
    return parcel, send(parcel, hub.url)


def test_rows_exports_and_papers_arrive_in_one_commit(run, hub, tmp_path):
    parcel, url = pushed(run, "me/gold", hub, tmp_path)
    assert url.startswith(f"{hub.url}/datasets/me/gold/commit/")
    assert [commit["summary"] for commit in hub.commits] == ["Run 'given-away' by karat"]
    there = hub.datasets["me/gold"]
    assert there["private"] is True
    files = there["files"]
    exports = {p.relative_to(run.path).as_posix() for p in run.export.iterdir()}
    assert set(files) == {"accepted.parquet", *exports, *PAPERS}
    for name in ("accepted.parquet", *exports):
        assert files[name] == (run.path / name).read_bytes(), name
    assert len(files["accepted.parquet"]) >= LFS_FROM  # so that one went by LFS
    assert set(hub.large.values()) == {data for data in files.values() if len(data) >= LFS_FROM}
    assert parcel.size == sum(map(len, files.values()))


def test_papers_are_of_what_is_there(run, hub, tmp_path):
    pushed(run, "gold", hub, tmp_path, what=["trl-sft"])
    files = hub.datasets["me/gold"]["files"]
    tree = json.loads(files["croissant.json"])
    assert {one["@id"] for one in tree["distribution"]} == set(files) - PAPERS
    for one in tree["distribution"]:
        assert one["sha256"] == sha256(files[one["@id"]]).hexdigest()
        assert one["contentUrl"] == f"{hub.url}/datasets/me/gold/resolve/main/{one['@id']}"
    head = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    named = {file["path"] for one in head["configs"] for file in one["data_files"]}
    assert named <= set(files)
    assert "export/trl-sft.train.jsonl" in named
    prov = json.loads(files["prov.json"])["entity"]
    assert (
        prov["file:accepted.parquet"]["k:sha256"] == sha256(files["accepted.parquet"]).hexdigest()
    )
    assert "file:export/data.train.jsonl" not in prov


def test_nothing_else_of_a_run_goes_along(run, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_KEY", "lab-key-0123456789")
    pushed(run, "me/gold", hub, tmp_path)
    everything = b"".join(hub.datasets["me/gold"]["files"].values())
    secrets = [TOKEN, "lab-key-0123456789", "SQLite format 3", "cost_nano", str(run.path)]
    for secret in (*secrets, str(given_away.run_once().path.parent)):
        assert secret.encode() not in everything


def test_pushed_again_only_what_changed_is_sent(run, hub, tmp_path):
    pushed(run, "me/gold", hub, tmp_path)
    hub.asked.clear()
    pushed(run, "me/gold", hub, tmp_path)
    assert not [one for one in hub.asked if one.startswith("PUT")]
    assert not [one for one in hub.asked if "repos/create" in one]


def test_what_an_earlier_push_left_is_removed_and_what_is_others_stays(run, hub, tmp_path):
    old = {"export/trl-sft.jsonl": b"old", "export/notes.md": b"mine", "notes.md": b"mine"}
    hub.make("me/gold", True, old)
    parcel, _ = pushed(run, "me/gold", hub, tmp_path)
    assert parcel.stale == ["export/trl-sft.jsonl"]  # it is in parts now
    files = hub.datasets["me/gold"]["files"]
    assert "export/trl-sft.jsonl" not in files
    assert files["export/notes.md"] == files["notes.md"] == b"mine"


def test_a_dataset_that_moved_meanwhile_is_not_overwritten(run, hub, tmp_path):
    hub.make("me/gold", True, {})
    (tmp_path / "p").mkdir()
    parcel = prepare(run, "me/gold", tmp_path / "p", endpoint=hub.url)
    hub.datasets["me/gold"]["sha"] = "f" * 40
    with pytest.raises(RunError, match=r"somebody else changed it meanwhile.*run it again"):
        send(parcel, hub.url)
    assert not hub.datasets["me/gold"]["files"]


# --- who can read it -----------------------------------------------------------------------------


@pytest.mark.parametrize("private", [True, False])
def test_it_is_private_unless_told_otherwise(run, hub, tmp_path, private):
    pushed(run, "me/gold", hub, tmp_path, **({} if private else {"private": False}))
    assert hub.datasets["me/gold"]["private"] is private


@pytest.mark.parametrize(
    ("private", "message"), [(True, "anybody can read it"), (False, "is private")]
)
def test_a_dataset_that_others_read_is_not_taken_for_a_private_one(
    run, hub, tmp_path, private, message
):
    hub.make("me/gold", not private, {})
    with pytest.raises(RecipeError, match=message):
        pushed(run, "me/gold", hub, tmp_path, private=private)
    assert not hub.commits


# --- what stands in the way ----------------------------------------------------------------------


def test_blockers_stop_it_before_the_hub_is_asked(run, hub, tmp_path, blocked):
    with pytest.raises(RecipeError, match=r"Terms of Lab: No training on output \(generator lab/m"):
        pushed(run, "me/gold", hub, tmp_path)
    with pytest.raises(RecipeError, match="a sentence that says why"):
        pushed(run, "me/gold", hub, tmp_path, anyway="yes")
    assert not hub.asked


def test_a_reason_sets_them_aside_and_is_in_the_commit(run, hub, tmp_path, blocked):
    pushed(run, "me/gold", hub, tmp_path, anyway=WHY)
    (commit,) = hub.commits
    assert WHY in commit["description"]


def test_a_run_of_unknown_terms_is_blocked(run):
    """The solver itself: a server of one's own whose model nobody knows is not a yes."""
    from karat.licensing import solve_run

    assert solve_run(run).blockers


@pytest.mark.parametrize(
    "repo", ["", "a/b/c", "../x", "a b", "me/gold\n", "me/" + "x" * 97, "a--b"]
)
def test_what_is_no_name_is_said(run, hub, tmp_path, repo):
    with pytest.raises(RecipeError, match="is no name on the Hub"):
        pushed(run, repo, hub, tmp_path)


def test_a_run_that_accepted_nothing_or_has_no_end_is_not_pushed(run, hub, tmp_path):
    report = run.report
    report["rows"]["accepted"] = 0
    run.report_file.write_bytes(orjson.dumps(report))
    with pytest.raises(RecipeError, match="accepted no row"):
        pushed(run, "me/gold", hub, tmp_path)
    run.report_file.unlink()
    with pytest.raises(RecipeError, match="run it to the end"):
        pushed(run, "me/gold", hub, tmp_path)


# --- papers that a person wrote on ---------------------------------------------------------------


def carded(run, *more):
    done = CliRunner().invoke(main, ["card", str(run.path), *more])
    assert done.exit_code == 0, done.output
    return run.path / "papers"


def test_papers_that_were_filled_in_go_as_they_are(run, hub, tmp_path):
    papers = carded(run)
    text = (papers / "README.md").read_text().replace("[to be filled in]", "for science", 1)
    (papers / "README.md").write_text(text)
    pushed(run, "me/gold", hub, tmp_path)
    files = hub.datasets["me/gold"]["files"]
    assert files["README.md"].decode() == text
    assert (
        json.loads(files["croissant.json"])["license"]
        == (json.loads((papers / "croissant.json").read_bytes())["license"])
    )


def test_papers_of_older_rows_are_refused(run, hub, tmp_path):
    papers = carded(run)
    os.utime(papers / "README.md", (1, 1))
    with pytest.raises(RecipeError, match=r"is older than the rows.*karat card"):
        pushed(run, "me/gold", hub, tmp_path)


def test_papers_that_name_what_does_not_go_are_refused(run, hub, tmp_path):
    carded(run)
    with pytest.raises(RecipeError, match=r"README.md names export/.*would not be pushed"):
        pushed(run, "me/gold", hub, tmp_path, what=["jsonl"])


@pytest.mark.parametrize(
    "text", ["", "no front matter", "---\n[\n---\n", "---\nconfigs: [1]\n---\n"]
)
def test_papers_that_cannot_be_read_are_refused(run, hub, tmp_path, text):
    papers = carded(run)
    (papers / "README.md").write_text(text)
    with pytest.raises(RecipeError, match=r"the papers in .* cannot be read"):
        pushed(run, "me/gold", hub, tmp_path)


# --- what the Hub says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/datasets/me/gold", 401, "token is not accepted"),
        ("/api/whoami", 401, "token is not accepted"),
        ("/api/repos/create", 403, "may not write there"),
        ("/api/repos/create", 500, "does not take it now"),
        ("/large", 403, "may not write there"),
        ("/api/datasets/me/gold/commit", 400, "over quota"),
    ],
)
def test_what_the_hub_refuses_is_told_in_a_sentence_without_the_token(
    run, hub, tmp_path, path, status, message
):
    hub.faults, hub.says = {path: status}, f"over quota, {TOKEN}\n\x1b[31m"
    with pytest.raises(RunError, match=message) as caught:
        pushed(run, "gold" if "whoami" in path else "me/gold", hub, tmp_path)
    said = str(caught.value)
    assert TOKEN not in said
    assert "\n" not in said
    assert len(said) < 500
    assert not hub.commits


def test_a_hub_that_is_not_there_is_told_in_a_sentence(run, hub, tmp_path):
    hub.url = "http://127.0.0.1:9"
    with pytest.raises(RunError, match=r"http://127.0.0.1:9: .*run it again"):
        pushed(run, "me/gold", hub, tmp_path)


def test_without_a_token_it_says_how_to_get_one(run, hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(RecipeError, match=r"nothing was sent: .*export HF_TOKEN.*hf auth login"):
        pushed(run, "me/gold", hub, tmp_path)


def test_what_stands_in_the_way_is_shown_with_what_would_go(run, hub, tmp_path, blocked):
    shown, folder = [], tmp_path / "p"
    folder.mkdir()
    with pytest.raises(RecipeError, match="terms stand in the way"):
        prepare(run, "gold", folder, endpoint=hub.url, stopped=shown.append)
    (parcel,) = shown
    assert {"README.md", "croissant.json"} <= {one.name for one in parcel.files}
    assert (parcel.exists, parcel.private, len(parcel.blockers)) == (None, True, 1)
    console = Console(width=200)
    with console.capture() as said:
        console.print(parcel_table(parcel))
    assert "/datasets/…/gold (the Hub was not asked, private)" in said.get()
    assert f"stands in the way: {parcel.blockers[0][:40]}" in said.get()
